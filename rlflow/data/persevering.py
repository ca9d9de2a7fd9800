"""Work beside the recording that is done again and again, whatever venue and database are like meanwhile."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from rlflow.data.backoff import Backoff
from rlflow.errors import AnswerRejectedError, DatabaseAwayError, RestRefusedError, VenueAwayError

# A refusal too: what it was about is asked for again with everything else.
PASSING = (VenueAwayError, RestRefusedError, AnswerRejectedError, DatabaseAwayError)


async def persevere(
    attempt: Callable[[], Awaitable[None]],
    rest: Callable[[], Awaitable[None]],
    note: Callable[[str | None], None],
    make_backoff: Callable[[], Backoff],
) -> NoReturn:
    """Attempt until cancelled, resting behind each success, backing off behind each failure that may pass.

    Args:
        attempt: One round of the work; other errors than `PASSING` go up.
        rest: Waits for the next round.
        note: Told after each attempt why it failed, None if it went well.
        make_backoff: Made anew by each success.
    """
    backoff = make_backoff()
    while True:
        began_s = trio.current_time()
        try:
            await attempt()
        except PASSING as error:
            note(str(error))
            await trio.sleep(backoff.after(trio.current_time() - began_s))
        else:
            note(None)
            backoff = make_backoff()
            await rest()
