"""The last trades of a market."""

from collections import deque
from collections.abc import Iterator

import msgspec

from rlflow.units import Count, Nanos, Price, Side

# The busiest recorded market traded 1.5 times a second: half an hour of it, in 400 KiB.
_KEPT = 3_000


class TradeRecord(msgspec.Struct, gc=False, frozen=True):
    """One trade."""

    trade_id: str
    ticker: str
    yes_price: Price
    count: Count
    taker: Side
    at_ns: Nanos
    number: int
    """Over all markets, ascending."""

    @property
    def taker_book_side(self) -> str:
        """What the taker did, in the venue's words: buying YES is a bid."""
        return "bid" if self.taker == "yes" else "ask"


class TradeHistory:
    """The last trades, newest first; those before them are forgotten."""

    def __init__(self) -> None:
        self.forgotten_ns: Nanos = 0
        """When the last of those was; 0: there are none."""
        self._trades: deque[TradeRecord] = deque(maxlen=_KEPT)

    def __len__(self) -> int:
        return len(self._trades)

    def __iter__(self) -> Iterator[TradeRecord]:
        return iter(self._trades)

    def add(self, trade: TradeRecord) -> None:
        """Keep a trade."""
        if len(self._trades) == _KEPT:
            self.forgotten_ns = self._trades[-1].at_ns
        self._trades.appendleft(trade)

    def last_ns(self) -> Nanos:
        """Return when the last trade was; 0: there was none."""
        return self._trades[0].at_ns if self._trades else 0
