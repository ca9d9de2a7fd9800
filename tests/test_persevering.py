"""Work that is done again and again: what passes is waited for, what does not goes up."""

import itertools

import pytest
import trio
import trio.testing

from rlflow.data.backoff import Backoff
from rlflow.data.persevering import persevere
from rlflow.errors import StoreError, VenueAwayError


async def test_waits_grow_with_failures_and_begin_anew_behind_a_success(autojump_clock: trio.testing.MockClock) -> None:
    outcomes = iter([False, False, False, True, False, False])
    begun: list[float] = []
    notes: list[str | None] = []

    async def attempt() -> None:
        begun.append(trio.current_time())
        if not next(outcomes, True):
            raise VenueAwayError("away")

    async def rest() -> None:
        await trio.sleep(100)

    with trio.move_on_after(250):
        await persevere(attempt, rest, notes.append, lambda: Backoff(uniform=lambda _low, high: high))
    waits = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert waits == pytest.approx([0.5, 1.0, 2.0, 100, 0.5, 1.0, 100])
    assert [note is None for note in notes] == [False, False, False, True, False, False, True, True]


async def test_an_error_that_does_not_pass_goes_up() -> None:
    async def attempt() -> None:
        raise StoreError("not ours")

    with pytest.raises(StoreError):
        await persevere(attempt, trio.sleep_forever, lambda _note: None, Backoff)
