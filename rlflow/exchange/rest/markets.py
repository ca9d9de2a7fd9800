"""Markets, one or many (protocol 6.2)."""

from collections.abc import Callable

from rlflow.exchange.markets.listing import FILTER_WORDS, Listing
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json, market_json
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import page
from rlflow.exchange.rest.query import Query
from rlflow.exchange.rest.refusals import bad_parameter, not_found
from rlflow.exchange.rest.routes import Route
from rlflow.units import Nanos

Keep = Callable[[Listing], bool]

# Which statuses go with which family of times, none always; and which time of a market each is about.
_FAMILIES: dict[str, tuple[frozenset[str], Callable[[Listing], Nanos | None]]] = {
    "created": (frozenset({"unopened", "open"}), lambda listing: listing.created_ns),
    "close": (frozenset({"closed"}), lambda listing: listing.sheet.close_ns),
    "settled": (frozenset({"settled"}), lambda listing: listing.settled_ns),
    "updated": (frozenset(), lambda listing: listing.updated_ns),
}


def markets(desk: Desk, request: Request) -> Answer:
    """Return the markets that a query asks for, a page at a time."""
    query = request.query
    status = query.choice("status", frozenset(FILTER_WORDS.values()))
    tests = (*_named(query), _of_status(status, desk, request.now_ns), *_of_time(query, status))
    found = page(
        ((listing.number, listing) for listing in desk.venue.listings.values()),
        query,
        keep=lambda listing: all(test(listing) for test in tests),
    )
    return ok(markets=[shown(desk, listing) for listing in found.items], cursor=found.cursor)


def market(desk: Desk, request: Request) -> Answer:
    """Return one market."""
    return ok(market=shown(desk, listed(desk, request.where["ticker"])))


def listed(desk: Desk, ticker: str) -> Listing:
    """Return a market; RefusedError if there is none of this name."""
    listing = desk.venue.listings.get(ticker)
    if listing is None:
        raise not_found(f"market {ticker}")
    return listing


def shown(desk: Desk, listing: Listing) -> Json:
    """Return a market as it is shown everywhere."""
    return market_json(listing, desk.venue.top(listing.ticker))


def _named(query: Query) -> tuple[Keep, ...]:
    """Return the tests for names; there are no combos here."""
    tickers, event, series = query.words("tickers"), query.text("event_ticker"), query.text("series_ticker")
    has_only_combos = query.choice("mve_filter", {"only", "exclude"}) == "only"
    return (
        lambda listing: not tickers or listing.ticker in tickers,
        lambda listing: event in {"", listing.sheet.event_ticker},
        lambda listing: series in {"", listing.sheet.series_ticker},
        lambda _: not has_only_combos,
    )


def _of_status(status: str, desk: Desk, now_ns: Nanos) -> Keep:
    if status != "open":
        return lambda listing: status in {"", listing.filter_word}
    seen_ns = now_ns - round(desk.settings.open_list_lag_s * 1e9)
    return lambda listing: listing.filter_word == "open" and listing.sheet.open_ns <= seen_ns


def _of_time(query: Query, status: str) -> tuple[Keep, ...]:
    """Return the test for times, of which one family at most can be asked for."""
    families = [name for name in _FAMILIES if query.period(name).is_bounded]
    if not families:
        return ()
    if len(families) > 1:
        raise bad_parameter(f"only one of the time filters {', '.join(families)} can be given")
    family = families[0]
    statuses, time_of = _FAMILIES[family]
    if status not in statuses | {""}:
        raise bad_parameter(f"the time filter {family} does not go with status {status}")
    if family == "updated":
        _check_alone(query)
    period = query.period(family)
    return (lambda listing: (at_ns := time_of(listing)) is not None and at_ns in period,)


def _check_alone(query: Query) -> None:
    """Refuse what does not go with `min_updated_ts`."""
    if query.text("mve_filter") != "exclude" or any(map(query.text, ("tickers", "event_ticker"))):
        raise bad_parameter("min_updated_ts goes with mve_filter=exclude and series_ticker alone")


ROUTES = (
    Route("GET", "/markets", markets, is_public=True),
    Route("GET", "/markets/<ticker>", market, is_public=True),
)
