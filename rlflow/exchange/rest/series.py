"""Series, events, and the changes of their fees (protocol 6.2 and 7)."""

from collections.abc import Iterable
from fractions import Fraction

from rlflow.exchange.markets.listing import FILTER_WORDS, EventSheet, FeeChange, Listing, SeriesSheet
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.markets import shown
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import Page, page
from rlflow.exchange.rest.refusals import not_found
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.frames import rfc3339_ms

_MOST_EVENTS = 200


def one_series(desk: Desk, request: Request) -> Answer:
    """Return one series."""
    sheet = desk.venue.series.get(request.where["ticker"])
    if sheet is None:
        raise not_found(f"series {request.where['ticker']}")
    return ok(series=_series_json(sheet))


def all_series(desk: Desk, request: Request) -> Answer:
    """Return all series, or those of a category or with one of some tags."""
    category, tags = request.query.text("category"), set(request.query.words("tags"))
    return ok(
        series=[
            _series_json(sheet)
            for sheet in desk.venue.series.values()
            if category in {"", sheet.category} and (not tags or tags & {*sheet.tags})
        ]
    )


def fee_changes(desk: Desk, request: Request) -> Answer:
    """Return the changes of fees to come, on demand those that have happened too."""
    ticker, has_past = request.query.text("series_ticker"), request.query.flag("show_historical")
    return ok(
        series_fee_change_arr=[
            _change_json(change)
            for change in desk.venue.fee_changes()
            if ticker in {"", change.series_ticker} and (has_past or change.scheduled_ns > request.now_ns)
        ]
    )


def events(desk: Desk, request: Request) -> Answer:
    """Return the events that a query asks for, a page at a time."""
    query = request.query
    status = query.choice("status", frozenset(FILTER_WORDS.values()))
    series, tickers, updated = query.text("series_ticker"), query.words("tickers"), query.period("updated")
    closing = query.period("close")
    has_markets = bool(query.flag("with_nested_markets"))
    markets = _by_event(desk)

    def is_wanted(event: EventSheet) -> bool:
        return (
            series in {"", event.series_ticker}
            and (not tickers or event.ticker in tickers)
            and (not updated.is_bounded or event.updated_ns in updated)
            and any(
                status in {"", each.filter_word} and each.sheet.close_ns in closing
                for each in markets.get(event.ticker, ())
            )
        )

    numbered = ((each.number, each) for each in desk.venue.events().values())
    found = page(numbered, query, keep=is_wanted, most=_MOST_EVENTS)
    shown_events = [
        _event_json(each) | ({"markets": _shown(desk, markets.get(each.ticker, ()))} if has_markets else {})
        for each in found.items
    ]
    return ok(events=shown_events, cursor=found.cursor)


def combos(_desk: Desk, request: Request) -> Answer:
    """Return the events of combos, of which there are none here."""
    found: Page[object] = page((), request.query, most=_MOST_EVENTS)
    return ok(events=found.items, cursor=found.cursor)


def event(desk: Desk, request: Request) -> Answer:
    """Return one event; its markets stand beside it, or in it if that is asked for."""
    sheet = desk.venue.events().get(request.where["ticker"])
    if sheet is None:
        raise not_found(f"event {request.where['ticker']}")
    markets = _shown(desk, _by_event(desk).get(sheet.ticker, ()))
    if request.query.flag("with_nested_markets"):
        return ok(event={**_event_json(sheet), "markets": markets})
    return ok(event=_event_json(sheet), markets=markets)


def event_fee_changes(desk: Desk, request: Request) -> Answer:
    """Return the fees of events that differ from their series'; they change at once here, never by announcement."""
    ticker = request.query.text("event_ticker")
    changed = (each for each in desk.venue.events().values() if each.has_own_fees)
    return ok(event_fee_changes=[_override_json(each) for each in changed if ticker in {"", each.ticker}], cursor="")


def _by_event(desk: Desk) -> dict[str, list[Listing]]:
    markets: dict[str, list[Listing]] = {}
    for listing in desk.venue.listings.values():
        markets.setdefault(listing.sheet.event_ticker, []).append(listing)
    return markets


def _shown(desk: Desk, listings: Iterable[Listing]) -> list[Json]:
    return [shown(desk, listing) for listing in listings]


def _series_json(sheet: SeriesSheet) -> Json:
    return {
        "ticker": sheet.ticker,
        "frequency": sheet.frequency,
        "title": sheet.title,
        "category": sheet.category,
        "categories": [sheet.category],
        "tags": list(sheet.tags),
        "fee_type": sheet.fee_type,
        "fee_multiplier": _number(sheet.fee_multiplier),
        "exchange_index": 0,
    }


def _change_json(change: FeeChange) -> Json:
    return {
        "id": change.id,
        "series_ticker": change.series_ticker,
        "fee_type": change.fee_type,
        "fee_multiplier": _number(change.fee_multiplier),
        "scheduled_ts": rfc3339_ms(change.scheduled_ns),
    }


def _override_json(sheet: EventSheet) -> Json:
    multiplier = sheet.fee_multiplier_override
    return {
        "id": f"{sheet.ticker}-fees",
        "event_ticker": sheet.ticker,
        "series_ticker": sheet.series_ticker,
        "fee_type_override": sheet.fee_type_override,
        "fee_multiplier_override": None if multiplier is None else _number(multiplier),
        "scheduled_ts": rfc3339_ms(sheet.updated_ns),
    }


def _event_json(sheet: EventSheet) -> Json:
    fields: Json = {
        "event_ticker": sheet.ticker,
        "series_ticker": sheet.series_ticker,
        "title": sheet.title,
        "sub_title": sheet.sub_title,
        "collateral_return_type": sheet.collateral_return_type,
        "mutually_exclusive": sheet.mutually_exclusive,
        "last_updated_ts": rfc3339_ms(sheet.updated_ns),
        "exchange_index": 0,
    }
    if sheet.strike_ns is not None:
        fields["strike_date"] = rfc3339_ms(sheet.strike_ns)
    if sheet.strike_period:
        fields["strike_period"] = sheet.strike_period
    if sheet.fee_type_override is not None:
        fields["fee_type_override"] = sheet.fee_type_override
    if sheet.fee_multiplier_override is not None:
        fields["fee_multiplier_override"] = _number(sheet.fee_multiplier_override)
    return fields


def _number(value: Fraction) -> int | float:
    """Return a multiplier as the JSON number people expect: 1 and 0.5."""
    return int(value) if value.denominator == 1 else float(value)


ROUTES = (
    Route("GET", "/series", all_series, is_public=True),
    Route("GET", "/series/fee_changes", fee_changes, is_public=True),
    Route("GET", "/series/<ticker>", one_series, is_public=True),
    Route("GET", "/events", events, is_public=True),
    Route("GET", "/events/fee_changes", event_fee_changes, is_public=True),
    Route("GET", "/events/multivariate", combos, is_public=True),
    Route("GET", "/events/<ticker>", event, is_public=True),
)
