"""One subscription of a connection: its markets, its numbers, its conventions."""

import attrs

from rlflow.exchange.wire.channels import BENCHMARKS, PYTH, SEQUENCED
from rlflow.exchange.wire.items import Item
from rlflow.exchange.wire.numbering import Numbering


@attrs.define(eq=False)
class Subscription:
    """One channel on one connection."""

    sid: int
    channel: str
    tickers: set[str] | None
    """None: all markets."""
    use_yes_price: bool = False
    skips_ticker_ack: bool = False
    account: str = ""
    """The API key id of the connection."""
    market_ids: set[str] = attrs.field(factory=set)
    """Those by which some of the markets were asked for; channel ticker only."""
    sources: set[str] = attrs.field(factory=set)
    """Index ids or underlying tickers, "all" among them; on the channels of other people's prices only."""
    numbering: Numbering = attrs.field(factory=Numbering)
    queued: int = 0
    """Its frames that wait in the outbox."""
    is_sequenced: bool = attrs.field(init=False)
    """Whether its frames carry seq, answers to commands included."""

    def __attrs_post_init__(self) -> None:
        self.is_sequenced = self.channel in SEQUENCED

    def covers(self, item: Item) -> bool:
        """Return whether the item goes to this subscription."""
        if item.account and item.account != self.account:
            return False
        if self.tickers is None or item.ticker in self.tickers:
            return True
        return not item.ticker and self.tickers.issuperset(item.markets)

    def frame(self, item: Item) -> bytes:
        """Return the item as this subscription's next frame."""
        tail = item.yes_priced_tail() if self.use_yes_price else item.tail
        if item.causer and item.causer == self.account:
            tail = item.owned_tail(tail)
        if not self.is_sequenced:
            return b'%b"sid":%d%b' % (item.head, self.sid, tail)
        return b'%b"sid":%d,"seq":%d%b' % (item.head, self.sid, self.numbering.follow(item.recorded_seq), tail)

    def next_seq(self) -> int | None:
        """Return the number of a frame that is no publication, None on a channel without numbers."""
        return self.numbering.insert() if self.is_sequenced else None

    def add(self, tickers: tuple[str, ...] | None, market_ids: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Add markets (None: all), some of them named by id, and return those that were not held before."""
        if tickers is None:
            self.tickers = None
            self.market_ids.clear()
        if self.tickers is None or tickers is None:
            return ()
        self.market_ids.update(market_ids)
        new = tuple(ticker for ticker in tickers if ticker not in self.tickers)
        self.tickers.update(new)
        return new

    def count_with(self, tickers: tuple[str, ...] | None) -> int:
        """Return how many markets it would hold after adding these."""
        return 0 if self.tickers is None else len(self.tickers.union(tickers or ()))

    def acknowledgement(self) -> dict[str, list[str]] | None:
        """Return the body of its `ok`: the full set of markets, unless it is "all" or not wanted."""
        if self.channel in BENCHMARKS or self.channel == PYTH:
            return {"index_ids" if self.channel in BENCHMARKS else "underlying_tickers": sorted(self.sources)}
        if self.skips_ticker_ack or self.tickers is None:
            return None
        ids = {"market_ids": sorted(self.market_ids)} if self.market_ids else {}
        return {"market_tickers": sorted(self.tickers), **ids}
