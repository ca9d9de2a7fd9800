"""What the live endpoints do not reach back to, which the venue keeps apart (protocol 6.4).

Here nothing is kept apart: what is no longer known is forgotten, so that all these pages are empty.
"""

from collections.abc import Callable

from rlflow.exchange.rest.candlesticks import Wanted
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.markets import listed
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import Page, page
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire import frames

# The venue keeps some three months for its live endpoints.
_LIVE_WINDOW_NS = 90 * 86_400 * 1_000_000_000


def cutoff(desk: Desk, request: Request) -> Answer:
    """Return from when on the live endpoints know everything; what an account has is never forgotten."""
    horizon, begin_ns = desk.venue.horizon(), request.now_ns - _LIVE_WINDOW_NS
    return ok(
        market_settled_ts=frames.rfc3339_ms(max(begin_ns, horizon.settled_ns)),
        trades_created_ts=frames.rfc3339_ms(max(begin_ns, horizon.traded_ns)),
        orders_updated_ts=frames.rfc3339_ms(begin_ns),
        market_positions_last_updated_ts=frames.rfc3339_ms(begin_ns),
    )


def candlesticks(desk: Desk, request: Request) -> Answer:
    """Return no candles of a market."""
    Wanted.from_query(request.query)
    return ok(ticker=listed(desk, request.where["ticker"]).ticker, candlesticks=[])


def nothing(*lists: str) -> Callable[[Desk, Request], Answer]:
    """Return what answers by an empty page of these lists."""

    def answer(_desk: Desk, request: Request) -> Answer:
        found: Page[object] = page((), request.query)
        return ok(**dict.fromkeys(lists, found.items), cursor=found.cursor)

    return answer


ROUTES = (
    Route("GET", "/historical/cutoff", cutoff, is_public=True),
    Route("GET", "/historical/markets", nothing("markets"), is_public=True),
    Route("GET", "/historical/markets/<ticker>/candlesticks", candlesticks, is_public=True),
    Route("GET", "/historical/trades", nothing("trades"), is_public=True),
    Route("GET", "/historical/fills", nothing("fills")),
    Route("GET", "/historical/orders", nothing("orders")),
    Route("GET", "/historical/positions", nothing("market_positions", "event_positions")),
)
