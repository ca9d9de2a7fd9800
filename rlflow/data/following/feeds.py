"""All feeds: the markets to follow, spread over as many connections as they need, once or twice.

Each copy of the markets has connections of its own, so that two connections that bring the same market are never one.
The first connection of each copy hears the lifecycle channel and exists always; others come and go with the markets.
A market that moves to another connection is left by the first when the second has its book.
Only `run` opens and closes feeds; what ends a feed for good ends all of them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import attrs
import structlog
import trio

from rlflow.data.following.assignment import Assignment
from rlflow.data.following.following import Following
from rlflow.data.following.lanes import Feed, FeedsStatus, Lane, LaneStatus
from rlflow.data.following.moves import Moves
from rlflow.data.following.quiet_feeds import ANSWER_S, QUIET_S
from rlflow.data.following.quiet_watch import Books as QuietableBooks
from rlflow.data.following.quiet_watch import QuietWatch
from rlflow.data.orderbook_client import FeedStatus
from rlflow.errors import FeedLostError
from rlflow.kalshi.notices import BookValid, Notice
from rlflow.units import Nanos

CLOCK_LIMIT_S: Final = 10.0
"""A wall clock that was set is noticed after so long, and so is what has become quiet."""
MUTE_S: Final = QUIET_S + 2 * CLOCK_LIMIT_S + ANSWER_S
"""By then a quiet feed was asked, and has answered or is not believed."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.define(eq=False)
class _Running:
    lane: Lane
    feed: Feed
    stop: trio.Event = attrs.Factory(trio.Event)
    moves: Moves = attrs.Factory(Moves)


class Books(QuietableBooks, Protocol):
    """What is needed of the live books."""

    def retain(self, tickers: Iterable[str]) -> None:
        """Forget what was known of all other markets that have no book any more."""
        ...


class Feeds:
    """The feeds of a process. `run` is the task; the rest may be called from any other.

    Args:
        following: says which markets.
        make_feed: makes the feed of a lane; what it follows on a new connection is what the lane says then.
        books: the live books.
        capacity: markets on a connection at most.
        copies: how many connections bring the same market, 1 or 2.
        wall_ns: the wall clock.
    """

    def __init__(
        self,
        following: Following,
        make_feed: Callable[[Lane], Feed],
        books: Books,
        *,
        capacity: int,
        copies: int = 1,
        wall_ns: Callable[[], Nanos] = time.time_ns,
    ) -> None:
        self._following = following
        self._make_feed = make_feed
        self._books = books
        self._capacity = capacity
        self._copies = copies
        self._wall_ns = wall_ns
        self._assignments = [Assignment(capacity) for _ in range(copies)]
        self._running: dict[tuple[int, int], _Running] = {}
        self._quiet = QuietWatch(following, books, wall_ns)

    def statistics(self) -> FeedsStatus:
        """Return how the feeds stand."""
        lanes = tuple(self._status(one.lane, one.feed.statistics()) for one in self._running.values())
        return FeedsStatus(feeds=lanes, capacity=self._capacity, copies=self._copies)

    def _status(self, lane: Lane, feed: FeedStatus) -> LaneStatus:
        is_quiet = feed.books_silent_s is not None and feed.books_silent_s > MUTE_S
        return LaneStatus(
            name=lane.name,
            copy=lane.copy,
            markets=len(lane.tickers),
            hears_lifecycle=lane.hears_lifecycle,
            feed=feed,
            is_mute=is_quiet and bool(self._following.tradable(lane.tickers)),
        )

    def lanes_of(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the feeds that each market comes by."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self._running.values():
            for ticker in one.lane.tickers:
                found[ticker] = (*found.get(ticker, ()), one.lane.name)
        return found

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        """Ask the venue for new snapshots of these books, None for all.

        Raises:
            FeedLostError: no feed of theirs is connected; the next connections bring snapshots by themselves.
        """
        asked, reason = False, "not connected"
        for one in self._running.values():
            held = one.lane.tickers if tickers is None else [ticker for ticker in tickers if ticker in one.lane.tickers]
            if held:
                try:
                    one.feed.resnapshot(held)
                    asked = True
                except FeedLostError as lost:
                    reason = lost.cause
        if not asked:
            raise FeedLostError(reason)

    async def run(self, stop: trio.Event) -> None:
        """Follow until `stop` is set (then every feed closes properly) or the task is cancelled (then all are cut).

        Raises:
            BaseExceptionGroup: what a feed could not cure.
        """
        since_ns = self._wall_ns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_at, stop, name="feeds' stop")
            while not stop.is_set():
                self._settle(nursery)
                since_ns = self._look_after_opened(since_ns)
                self._quiet.look((one.lane, one.feed) for one in self._running.values())
                await self._following.wait_changed(CLOCK_LIMIT_S)
            for one in self._running.values():
                one.stop.set()

    async def _wake_at(self, stop: trio.Event) -> None:
        await stop.wait()
        self._following.wake()

    def _settle(self, nursery: trio.Nursery) -> None:
        """Bring the feeds in line with what is to be followed now."""
        tickers = self._following.followed()
        for copy, assignment in enumerate(self._assignments):
            assignment.assign(tickers, self._capacity)
            connections = assignment.connections
            for number, markets in connections.items():
                self._hold(nursery, copy, number, (*markets, *self._moving(copy, number, connections)))
            for key in [key for key in self._running if key[0] == copy and key[1] not in connections]:
                _retire(self._running.pop(key))
        self._books.retain(tickers)

    def _moving(self, copy: int, number: int, connections: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
        """Return the markets that a connection is to hold until others bring them."""
        one = self._running.get((copy, number))
        if one is None:
            return ()
        others = {ticker for other, markets in connections.items() if other != number for ticker in markets}
        moved = [ticker for ticker in one.lane.tickers if ticker in others]
        return one.moves.still_held(moved, trio.current_time())

    def _hear(self, copy: int, number: int, notice: Notice) -> None:
        if isinstance(notice, BookValid):
            arrived = [
                one.moves.arrived(notice.ticker)
                for key, one in self._running.items()
                if key[0] == copy and key[1] != number
            ]
            if any(arrived):
                self._following.wake()
        elif number == 0:
            self._following.hear(notice)

    def _hold(self, nursery: trio.Nursery, copy: int, number: int, markets: tuple[str, ...]) -> None:
        """Let a feed, a new one if need be, follow these markets."""
        one = self._running.get((copy, number))
        if one is None:
            one = self._running[copy, number] = self._open(copy, number, markets)
            nursery.start_soon(one.feed.run, one.stop, name=one.lane.name)
        elif one.lane.tickers != markets:
            one.lane.tickers = markets
            one.feed.follow(markets)

    def _open(self, copy: int, number: int, markets: tuple[str, ...]) -> _Running:
        lane = Lane(
            name=f"feed {number + 1}{'b' if copy else ''}",
            copy=copy,
            hears_lifecycle=number == 0,
            heard=partial(self._hear, copy, number),
            overfilled=self._take_fewer,
            tickers=markets,
        )
        return _Running(lane, self._make_feed(lane))

    def _take_fewer(self, attempted: int) -> None:
        """Let a connection have half of what was too many, unless so many are not asked for any more."""
        if attempted <= self._capacity:
            # Half of the capacity might still be more than was refused, and then nothing would change.
            self._capacity = max(attempted // 2, 1)
            _log.warning("connections too full", attempted=attempted, capacity=self._capacity)
            self._following.wake()

    def _look_after_opened(self, since_ns: Nanos) -> Nanos:
        """Ask for the books of markets that have just opened and have none: before, the venue may have had none."""
        now_ns = self._wall_ns()
        lacking = [ticker for ticker in self._following.opened_since(since_ns) if not self._books.is_valid(ticker)]
        if lacking:
            with suppress(FeedLostError):
                self.resnapshot(lacking)
        return now_ns


def _retire(one: _Running) -> None:
    """Let a feed end that has no market any more."""
    try:
        one.feed.retire()
    except FeedLostError:
        one.stop.set()
