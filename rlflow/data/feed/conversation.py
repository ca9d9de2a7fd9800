"""Joins a Commander to an open connection: notices, wishes and time in, commands and news out."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import trio

from rlflow.errors import FeedLostError
from rlflow.kalshi.notices import Notice
from rlflow.session.records import Closed

LEAVE_S: Final = 3.0
"""For the venue to confirm that nothing is subscribed any more: what it has not ended by then counts as broken off."""


class Commander(Protocol):
    """What a conversation needs of `kalshi.commander.Commander`. `now` is Trio's clock; each call returns commands."""

    def connected(self, now: float) -> list[bytes]:
        """Say what to send first."""
        ...

    def tell(self, notice: Notice, now: float) -> list[bytes]:
        """Hear what the frames meant; raises FeedLostError if only a new connection helps."""
        ...

    def tick(self, now: float) -> list[bytes]:
        """Let time pass; raises FeedLostError if only a new connection helps."""
        ...

    def next_deadline(self) -> float | None:
        """Return when `tick` is wanted next."""
        ...

    def resnapshot(self, tickers: Sequence[str] | None, now: float) -> list[bytes]:
        """Ask for new snapshots of these books, None for all; raises ValueError for a market that is not followed."""
        ...

    def follow(self, tickers: Sequence[str], now: float) -> list[bytes]:
        """Follow these markets from now on instead of the present ones."""
        ...

    def leave(self, now: float) -> list[bytes]:
        """Leave every market for good."""
        ...

    @property
    def has_left(self) -> bool:
        """Return whether nothing is subscribed or being subscribed."""
        ...

    @property
    def missing(self) -> frozenset[str]:
        """Return the markets that the venue refused, or of which it sends no snapshot."""
        ...

    @property
    def too_many(self) -> int | None:
        """Return how many markets the venue would not let a subscription hold, None if it has not said so."""
        ...

    @property
    def sids(self) -> Mapping[str, int]:
        """Return the live subscription of each channel that has one."""
        ...


class Hearer(Protocol):
    """Who is told what a conversation comes to, besides its commander. Nothing here may wait."""

    def heard(self, notice: Notice) -> None:
        """Hear a notice, behind the commander."""
        ...

    def missed(self, tickers: tuple[str, ...]) -> None:
        """Hear that the venue sends no book of these markets; once each time that it begins."""
        ...

    def overfilled(self, attempted: int) -> None:
        """Hear that the venue would not let a subscription hold so many markets; it holds fewer until `follow`."""
        ...


class Conversation:
    """One connection's commander at work. `run` is its task; all else may be called from any other."""

    def __init__(
        self,
        commander: Commander,
        notices: trio.MemoryReceiveChannel[Notice],
        send: Callable[[bytes], Awaitable[None]],
        hearer: Hearer,
    ) -> None:
        self._commander = commander
        self._hearer = hearer
        self._notices = notices
        self._send = send
        self._waiting = trio.CancelScope()
        self._asked: list[bytes] = []
        self._wish: tuple[str, ...] | None = None
        self._missing: frozenset[str] = frozenset()
        self._too_many: int | None = None
        self._leave_by = math.inf

    def follow(self, tickers: Sequence[str]) -> None:
        """Have these markets followed instead of the present ones, as soon as the task gets to it."""
        self._wish = tuple(tickers)
        self._waiting.cancel()

    def retire(self) -> None:
        """Have every market left; then `run` returns, or after `LEAVE_S`, whether the venue has confirmed it or not."""
        self._leave_by = trio.current_time() + LEAVE_S
        self._wish = ()
        self._waiting.cancel()

    def resnapshot(self, tickers: Sequence[str] | None) -> None:
        """Have new snapshots of these books requested (None: of all), as soon as the task gets to it.

        Raises:
            ValueError: a market is not followed on this connection.
        """
        self._asked += self._commander.resnapshot(tickers, trio.current_time())
        self._waiting.cancel()

    def has(self, channel: str) -> bool:
        """Return whether the connection has a live subscription of a channel."""
        return channel in self._commander.sids

    async def run(self) -> Closed:
        """Talk until only a new connection helps, or every market is left for good, and return why.

        The channel of notices must not end before; if it does, `trio.EndOfChannel` tells of that bug.
        """
        try:
            await self._say(self._commander.connected(trio.current_time()))
            while True:
                notice = await self._next_notice()
                # Commands go out in the order in which the commander made them.
                asked, self._asked = self._asked, []
                said = asked + self._react(notice, trio.current_time())
                # Before the venue can answer: what is missing now must not be said of the book that comes.
                self._tell(notice)
                await self._say(said)
                if self._has_left():
                    return Closed("no market left")
        except FeedLostError as lost:
            return Closed(lost.cause, lost.code)

    async def _next_notice(self) -> Notice | None:
        """Wait for a notice; return None when the commander's deadline has come or somebody asked for something."""
        deadline = self._commander.next_deadline()
        self._waiting = trio.CancelScope(deadline=min(math.inf if deadline is None else deadline, self._leave_by))
        if self._asked or self._wish is not None:
            self._waiting.cancel()
        with self._waiting:
            return await self._notices.receive()
        return None

    def _react(self, notice: Notice | None, now: float) -> list[bytes]:
        said = self._commander.tick(now) if notice is None else self._commander.tell(notice, now)
        if self._wish is not None:
            wish, self._wish = self._wish, None
            said += self._commander.follow(wish, now) if self._leave_by == math.inf else self._commander.leave(now)
        return said

    def _has_left(self) -> bool:
        """Return whether every market was to be left, and is, or has had its time."""
        if self._leave_by == math.inf or self._wish is not None:
            return False
        return self._commander.has_left or self._leave_by <= trio.current_time()

    def _tell(self, notice: Notice | None) -> None:
        """Pass on what is news to others."""
        if notice is not None:
            self._hearer.heard(notice)
        missing, told = self._commander.missing, self._missing
        if missing != told:
            self._missing = missing
            if missing - told:
                self._hearer.missed(tuple(sorted(missing - told)))
        too_many, told_many = self._commander.too_many, self._too_many
        self._too_many = too_many
        if too_many is not None and too_many != told_many:
            self._hearer.overfilled(too_many)

    async def _say(self, commands: list[bytes]) -> None:
        for command in commands:
            await self._send(command)
