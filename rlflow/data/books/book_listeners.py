"""Who is told what the live books do: the feed of a capture everything, readers of books the newest state."""

from collections import deque
from collections.abc import Callable, Set

import attrs
import trio

from rlflow.kalshi.notices import Notice
from rlflow.orderbook import BookView


class BookSubscription:
    """The newest views of the books that changed since the last look; never more than one view a market.

    The next view of a market may be of another capture, with a lower `frame_no`: that is no step back.
    """

    def __init__(self, settled_view: Callable[[str], BookView | None]) -> None:
        self._settled_view = settled_view
        self._changed: set[str] = set()
        self._wakeup = trio.Event()

    def notify(self, tickers: set[str]) -> None:
        """Remember that these books changed."""
        self._changed |= tickers
        self._wakeup.set()

    def forget(self, tickers: Set[str]) -> None:
        """Do not wait for views of these any more."""
        self._changed -= tickers

    async def receive(self) -> dict[str, BookView]:
        """Wait for a change and return the changed books' views by ticker. Crossed, unsettled books are held back."""
        while True:
            await self._wakeup.wait()
            self._wakeup = trio.Event()
            ready = {ticker: view for ticker in self._changed if (view := self._settled_view(ticker)) is not None}
            self._changed -= ready.keys()
            if ready:
                return ready


@attrs.frozen
class Listener:
    """A feed that is told of its capture, in order and completely."""

    send: trio.MemorySendChannel[Notice]
    waiting: deque[Notice] = attrs.Factory(deque)
    """What the channel could not take yet. The feed reads within a loop turn, so this is short and seldom."""

    def tell(self, notices: list[Notice]) -> None:
        """Pass on what waits and these; a feed that has ended hears nothing any more."""
        self.waiting.extend(notices)
        try:
            while self.waiting:
                self.send.send_nowait(self.waiting[0])
                self.waiting.popleft()
        except trio.WouldBlock:
            pass
        except trio.BrokenResourceError:
            self.waiting.clear()
