"""A venue whose markets neither open nor close: what REST can say of a replay, which has nothing but books."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from rlflow.exchange.markets.candles import Candle
from rlflow.exchange.markets.listing import (
    EventSheet,
    FeeChange,
    Horizon,
    Listing,
    MarketSheet,
    SeriesSheet,
    event_ticker_of,
)
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.grid import named_grid
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRequest
from rlflow.exchange.wire.items import Image, Top
from rlflow.units import Nanos

_YEAR_NS: Nanos = 365 * 86_400 * 1_000_000_000


class StillVenue:
    """Markets known by name alone, open since `now_ns` and for a year; series and events are guessed from the names."""

    is_exchange_active = True
    is_trading = False

    def __init__(self, tickers: Iterable[str], image: Callable[[str], Image | None], *, now_ns: Nanos) -> None:
        self.listings: Mapping[str, Listing] = {
            ticker: Listing(_sheet(ticker, now_ns), now_ns, now_ns, status="active", number=number)
            for number, ticker in enumerate(sorted(tickers))
        }
        self.image = image
        self.engine = Engine()
        self._now_ns = now_ns

    @cached_property
    def series(self) -> Mapping[str, SeriesSheet]:
        """The first part of every ticker."""
        tickers = dict.fromkeys(listing.sheet.series_ticker for listing in self.listings.values())
        return {ticker: SeriesSheet(ticker, title=ticker, category="Recordings") for ticker in tickers}

    def events(self) -> Mapping[str, EventSheet]:
        """Return the events: all but the last part of every ticker."""
        series = {each.sheet.event_ticker: each.sheet.series_ticker for each in self.listings.values()}
        return {
            ticker: EventSheet(ticker, series[ticker], ticker, updated_ns=self._now_ns, number=number)
            for number, ticker in enumerate(series)
        }

    def fee_changes(self) -> Sequence[FeeChange]:
        """Return nothing."""
        return ()

    def horizon(self) -> Horizon:
        """Return that nothing was ever forgotten."""
        return Horizon()

    def top(self, ticker: str) -> Top:
        """Return the best prices of a market's book; none while the recording has not given it."""
        return Top.of(self.image(ticker) or Image(ticker))

    def trades(self, ticker: str) -> Iterable[TradeRecord]:  # noqa: ARG002  # part of the protocol
        """Return nothing: the recorded trades are in the stream."""
        return ()

    def candles(self, ticker: str, minutes: int) -> Iterable[Candle]:  # noqa: ARG002  # part of the protocol
        """Return nothing."""
        return ()

    # No market takes orders, so there are none: the engine refuses everything.

    def place(self, account: str, request: OrderRequest, at_ns: Nanos) -> Answer:
        """Refuse."""
        return self.engine.place(account, request, at_ns)

    def cancel(self, account: str, order_id: str, at_ns: Nanos, *, ticker: str = "") -> Answer:
        """Refuse."""
        return self.engine.cancel(account, order_id, at_ns, ticker=ticker)

    def cancel_all(self, account: str, at_ns: Nanos) -> None:
        """Do nothing."""
        self.engine.cancel_all(account, at_ns)

    def decrease(self, account: str, order_id: str, request: DecreaseRequest, at_ns: Nanos) -> Answer:
        """Refuse."""
        return self.engine.decrease(account, order_id, request, at_ns)

    def amend(self, account: str, order_id: str, request: AmendRequest, at_ns: Nanos) -> Answer:
        """Refuse."""
        return self.engine.amend(account, order_id, request, at_ns)


def _sheet(ticker: str, now_ns: Nanos) -> MarketSheet:
    return MarketSheet(
        ticker,
        event_ticker_of(ticker),
        ticker.partition("-")[0],
        title=ticker,
        open_ns=now_ns,
        close_ns=now_ns + _YEAR_NS,
        # The recording does not tell the ticks; the finest are true of every price.
        grid=named_grid("center_centi_edge_centi_cent"),
    )
