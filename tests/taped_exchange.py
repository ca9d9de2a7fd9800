"""`rlflow` with a crowd that costs next to nothing: what it did once is published over and over.

Run as a script: everything else is as it is, the conversations and the socket too. For measuring whoever listens on a
machine on which a crowd that acts at full speed would take the processor away from him. `--rate max` is needed.

Each round begins with a snapshot of every book as it was then, which nobody asked for. Between the rounds the venue
itself knows only how the last one ended, so a client that subscribes, or asks for a snapshot, in the middle of a round
gets a book that does not fit until the next one.
"""

from collections.abc import Callable, Sequence

import trio

from rlflow.exchange import server
from rlflow.exchange.audience import Audience
from rlflow.exchange.markets.venue import Venue
from rlflow.exchange.sources import Alarm
from rlflow.exchange.wire import frames
from rlflow.exchange.wire.items import ORDERBOOK, Item
from rlflow.units import Nanos

TAPED = (__file__,)
MESSAGES = 100_000
_AT_ONCE = 200
_HEAD = b'{"type":"orderbook_snapshot",'


def record(venue: Venue, at_ns: Nanos, messages: int = MESSAGES) -> list[Sequence[Item]]:
    """Return some snapshots and so many messages of the crowd, in portions; the venue has moved on by then."""
    first = [_snapshot(venue, ticker, at_ns) for ticker in venue.listings]
    acted: list[Item] = []
    while len(acted) < messages:
        acted += venue.act(at_ns)
    return [first, *(acted[start : start + _AT_ONCE] for start in range(0, len(acted), _AT_ONCE))]


def _snapshot(venue: Venue, ticker: str, at_ns: Nanos) -> Item:
    whole = frames.snapshot(venue.image(ticker), sid=0, seq=0, now_ms=at_ns // 1_000_000)
    return Item(ORDERBOOK, ticker, _HEAD, whole.removeprefix(_HEAD + b'"sid":0,"seq":0'))


async def run_tape(
    venue: Venue,
    audience: Audience,
    alarm: Alarm,
    *,
    now_ns: Callable[[], Nanos],
) -> None:
    """Publish the same again and again, as fast as the slowest listener reads, for ever."""
    tape = record(venue, now_ns())
    while True:
        await audience.wait_holding(frozenset(venue.listings))
        for items in tape:
            audience.publish(items)
            await trio.lowlevel.checkpoint()
            await audience.wait_room()


if __name__ == "__main__":
    from rlflow.__main__ import main

    server.run_crowd_unlimited = run_tape  # type: ignore[attr-defined]
    main()
