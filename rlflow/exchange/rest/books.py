"""Order books by REST: without clock, number or time, so never to be spliced into a stream (protocol 6.2)."""

from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.markets import listed
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.items import Image, Ladder
from rlflow.units import format_count, format_price

_MOST_BOOKS = 100


def orderbook(desk: Desk, request: Request) -> Answer:
    """Return one market's book."""
    depth = request.query.bounded("depth", 0, 0, 100)
    listing = listed(desk, request.where["ticker"])
    return ok(orderbook_fp=_book_json(desk.venue.image(listing.ticker), depth))


def orderbooks(desk: Desk, request: Request) -> Answer:
    """Return the books of several markets; those that are not listed are left out."""
    tickers = request.query.some_words("tickers", _MOST_BOOKS)
    known = (ticker for ticker in dict.fromkeys(tickers) if ticker in desk.venue.listings)
    return ok(
        orderbooks=[{"ticker": ticker, "orderbook_fp": _book_json(desk.venue.image(ticker), 0)} for ticker in known]
    )


def _book_json(image: Image | None, depth: int) -> Json:
    book = image or Image("")
    return {"yes_dollars": _levels(book.yes, depth), "no_dollars": _levels(book.no, depth)}


def _levels(ladder: Ladder, depth: int) -> list[tuple[str, str]]:
    """Return the best levels, all with depth 0, in the order that was observed: ascending, the best one last."""
    return [(format_price(price), format_count(count)) for price, count in sorted(ladder)[-depth:]]


ROUTES = (
    Route("GET", "/markets/orderbooks", orderbooks, is_public=True),
    Route("GET", "/markets/<ticker>/orderbook", orderbook, is_public=True),
)
