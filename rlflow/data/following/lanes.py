"""What a feed is for, what it can do, and how it stands."""

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

from rlflow.data.orderbook_client import FeedStatus
from rlflow.kalshi.notices import Notice


class Feed(Protocol):
    """One connection at a time, that records; see `orderbook_client.OrderbookClient`."""

    async def run(self, stop: trio.Event) -> None:
        """Record until `stop` is set."""
        ...

    def follow(self, tickers: Sequence[str]) -> None:
        """Have the open connection follow these markets."""
        ...

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        """Ask for new snapshots; FeedLostError while not connected."""
        ...

    def retire(self) -> None:
        """Leave every market, and have `run` end then; FeedLostError while not connected."""
        ...

    def distrust(self, cause: str, tickers: Sequence[str] | None = None) -> None:
        """Write down that these books of the open connection (None: all) are not trusted until their next snapshot."""
        ...

    def statistics(self) -> FeedStatus:
        """Return how it stands."""
        ...


@attrs.define(eq=False)
class Lane:
    """What a feed is for."""

    name: str
    copy: int
    """0, or 1 for the second connection of the same markets."""
    hears_lifecycle: bool
    heard: Callable[[Notice], None]
    overfilled: Callable[[int], None]
    tickers: tuple[str, ...] = ()
    """The markets that it is to follow now."""


@attrs.frozen(kw_only=True)
class LaneStatus:
    """One connection, or the attempt at one."""

    name: str
    copy: int
    markets: int
    hears_lifecycle: bool
    feed: FeedStatus
    is_mute: bool = False
    """Whether it has said nothing about books for so long that asking must have failed, though some can be traded."""


@attrs.frozen(kw_only=True)
class FeedsStatus:
    """How all feeds stand."""

    feeds: tuple[LaneStatus, ...]
    capacity: int
    """Markets on a connection at most; half of what the venue has said is too much for a subscription."""
    copies: int

    @property
    def is_connected(self) -> bool:
        """Whether every feed is connected."""
        return bool(self.feeds) and all(lane.feed.is_connected for lane in self.feeds)

    @property
    def is_hearing_lifecycle(self) -> bool:
        """Whether any feed has the channel that tells of new markets."""
        return any(lane.feed.is_hearing_lifecycle for lane in self.feeds)

    @property
    def reconnects(self) -> int:
        """Connections after the first of each feed."""
        return sum(max(lane.feed.connections - 1, 0) for lane in self.feeds)
