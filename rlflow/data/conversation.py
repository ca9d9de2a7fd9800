"""Joins a Commander to an open connection: notices and time in, commands out."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from rlflow.errors import FeedLostError
from rlflow.kalshi.notices import Notice
from rlflow.session.records import Closed


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


class Conversation:
    """One connection's commander at work. `run` is its task; `resnapshot` may be called from any other."""

    def __init__(
        self,
        commander: Commander,
        notices: trio.MemoryReceiveChannel[Notice],
        send: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._commander = commander
        self._notices = notices
        self._send = send
        self._waiting = trio.CancelScope()
        self._asked: list[bytes] = []

    def resnapshot(self, tickers: Sequence[str] | None) -> None:
        """Have new snapshots of these books requested (None: of all), as soon as the task gets to it.

        Raises:
            ValueError: a market is not followed on this connection.
        """
        self._asked += self._commander.resnapshot(tickers, trio.current_time())
        self._waiting.cancel()

    async def run(self) -> Closed:
        """Talk until only a new connection helps, and return why.

        The channel of notices must not end before; if it does, `trio.EndOfChannel` tells of that bug.
        """
        try:
            await self._say(self._commander.connected(trio.current_time()))
            while True:
                notice = await self._next_notice()
                # Commands go out in the order in which the commander made them.
                asked, self._asked = self._asked, []
                await self._say(asked + self._react(notice, trio.current_time()))
        except FeedLostError as lost:
            return Closed(lost.cause, lost.code)

    async def _next_notice(self) -> Notice | None:
        """Wait for a notice; return None when the commander's deadline has come or somebody asked for something."""
        deadline = self._commander.next_deadline()
        self._waiting = trio.CancelScope(deadline=math.inf if deadline is None else deadline)
        if self._asked:
            self._waiting.cancel()
        with self._waiting:
            return await self._notices.receive()
        return None

    def _react(self, notice: Notice | None, now: float) -> list[bytes]:
        return self._commander.tick(now) if notice is None else self._commander.tell(notice, now)

    async def _say(self, commands: list[bytes]) -> None:
        for command in commands:
            await self._send(command)
