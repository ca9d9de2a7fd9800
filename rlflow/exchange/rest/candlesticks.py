"""Candlesticks, of one market or many (protocol 6.2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self

import attrs

from rlflow.exchange.markets.candles import Candle, Range
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.markets import listed
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.query import Query
from rlflow.exchange.rest.refusals import bad_parameter, not_found
from rlflow.exchange.rest.routes import Route
from rlflow.units import Price, format_count, format_price

_MINUTES = ("1", "60", "1440")
_MOST_MARKETS = 100
_MOST_CANDLES = 10_000
_MINUTE_S = 60


@attrs.frozen
class Wanted:
    """Which candles a query asks for."""

    start_s: int
    end_s: int
    minutes: int
    has_latest: bool

    @property
    def length_s(self) -> int:
        """How long one is."""
        return self.minutes * _MINUTE_S

    @property
    def count(self) -> int:
        """How many there can be."""
        return max(0, self.end_s - self.start_s) // self.length_s + 1

    @classmethod
    def from_query(cls, query: Query) -> Self:
        """Read it; RefusedError if something is missing."""
        minutes = int(query.choice("period_interval", _MINUTES) or 0)
        if not minutes:
            raise bad_parameter("period_interval is required")
        has_latest = bool(query.flag("include_latest_before_start"))
        return cls(query.required("start_ts"), query.required("end_ts"), minutes, has_latest)


def of_market(desk: Desk, request: Request) -> Answer:
    """Return one market's candles; those of a period in which nothing changed are left out."""
    listing = listed(desk, request.where["ticker"])
    if listing.sheet.series_ticker != request.where["series"]:
        raise not_found(f"market {listing.ticker} in series {request.where['series']}")
    [found] = _of_all(desk, (listing.ticker,), request.query)
    return ok(ticker=listing.ticker, candlesticks=found)


def of_markets(desk: Desk, request: Request) -> Answer:
    """Return the candles of several markets; those that are not listed are left out."""
    tickers = request.query.some_words("market_tickers", _MOST_MARKETS)
    known = [ticker for ticker in dict.fromkeys(tickers) if ticker in desk.venue.listings]
    found = zip(known, _of_all(desk, known, request.query), strict=True)
    return ok(markets=[{"market_ticker": ticker, "candlesticks": candles} for ticker, candles in found])


def _of_all(desk: Desk, tickers: Sequence[str], query: Query) -> list[list[Json]]:
    wanted = Wanted.from_query(query)
    if wanted.count * len(tickers) > _MOST_CANDLES:
        raise bad_parameter(f"at most {_MOST_CANDLES} candlesticks can be asked for")
    return [list(_candlesticks(desk.venue.candles(ticker, wanted.minutes), wanted)) for ticker in tickers]


def _candlesticks(candles: Iterable[Candle], wanted: Wanted) -> Iterator[Json]:
    """Yield the candles that end between both times; before them, if wanted, how the last one before them closed."""
    latest: Callable[[], Json] | None = None
    found: list[Json] = []
    previous: Price | None = None
    first_end_s = -(-wanted.start_s // wanted.length_s) * wanted.length_s
    for candle in candles:
        end_s = (candle.number + 1) * wanted.length_s
        last = previous if candle.price is None else candle.price.close
        if end_s < wanted.start_s:
            latest = partial(_still, candle, last, first_end_s)
        elif end_s <= wanted.end_s:
            found.append(_candle_json(candle, end_s, previous))
        previous = last
    if latest is not None and wanted.has_latest:
        yield latest()
    yield from found


def _candle_json(candle: Candle, end_s: int, previous: Price | None) -> Json:
    price = candle.price
    return {
        "end_period_ts": end_s,
        "yes_bid": _range_json(candle.bid),
        "yes_ask": _range_json(candle.ask),
        "price": {
            **_range_json(price),
            "mean_dollars": _text(candle.mean),
            "previous_dollars": _text(previous),
            "min_dollars": _text(None if price is None else price.low),
            "max_dollars": _text(None if price is None else price.high),
        },
        "volume_fp": format_count(candle.volume),
        "open_interest_fp": format_count(candle.open_interest),
    }


def _still(candle: Candle, previous: Price | None, end_s: int) -> Json:
    """Return a period in which nothing happened since an earlier candle."""
    still = Candle(candle.number, Range.at(candle.bid.close), Range.at(candle.ask.close))
    still.open_interest = candle.open_interest
    return _candle_json(still, end_s, previous)


def _range_json(prices: Range | None) -> dict[str, str | None]:
    names = ("open", "low", "high", "close")
    return {f"{name}_dollars": None if prices is None else format_price(getattr(prices, name)) for name in names}


def _text(price: Price | None) -> str | None:
    return None if price is None else format_price(price)


ROUTES = (
    Route("GET", "/series/<series>/markets/<ticker>/candlesticks", of_market, is_public=True),
    Route("GET", "/markets/candlesticks", of_markets, is_public=True),
)
