"""What an account has: balance, positions, and what settled ones brought (protocol 6.4)."""

from collections.abc import Callable, Iterable

from rlflow.exchange.markets.account_publications import money_text
from rlflow.exchange.markets.listing import event_ticker_of
from rlflow.exchange.matching.accounts import MONEY_PER_CENT, Settlement
from rlflow.exchange.matching.positions import PositionView
from rlflow.exchange.rest.buckets import Kind
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import newest_first, page
from rlflow.exchange.rest.refusals import bad_parameter
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.frames import rfc3339_ms
from rlflow.units import PRICE_PER_CENT, Money, complement, format_count

_FILTERS: dict[str, Callable[[PositionView], int]] = {
    "position": lambda position: position.count,
    "total_traded": lambda position: position.traded,
}


def balance(desk: Desk, request: Request) -> Answer:
    """Return what is available, in whole cents rounded down, and what the positions would bring at the best bids."""
    held = desk.past.holdings(request.account, request.now_ns)
    value = sum(_bid_value(desk, position) for position in held.positions.values())
    return ok(
        balance=held.balance_cents,
        balance_dollars=money_text(held.available),
        portfolio_value=value // MONEY_PER_CENT,
        updated_ts=request.now_ns // 1_000_000_000,
    )


def positions(desk: Desk, request: Request) -> Answer:
    """Return the account's positions in markets, and those added up by event."""
    query = request.query
    wanted = query.choice("settlement_status", ("unsettled", "settled", "all"), "unsettled")
    ticker, event = query.text("ticker"), query.text("event_ticker")
    filters = [_filter(word) for word in query.words("count_filter")]
    held = desk.past.holdings(request.account, request.now_ns)
    found = page(
        enumerate(held.positions.values()),
        query,
        keep=lambda position: (
            ticker in {"", position.ticker}
            and event in {"", event_ticker_of(position.ticker)}
            and all(value(position) for value in filters)
            and wanted in {"all", "settled" if _is_settled(desk, position.ticker) else "unsettled"}
        ),
    )
    return ok(
        market_positions=[_position_json(position) for position in found.items],
        event_positions=_event_positions(found.items),
        cursor=found.cursor,
    )


def settlements(desk: Desk, request: Request) -> Answer:
    """Return what settled positions brought, the newest first."""
    query = request.query
    ticker, event, period = query.text("ticker"), query.text("event_ticker"), query.period()
    seen_ns = request.now_ns - round(desk.settings.orders_lag_s * 1e9)
    found = page(
        newest_first(desk.venue.engine.account(request.account).settlements),
        query,
        keep=lambda settlement: (
            ticker in {"", settlement.ticker}
            and event in {"", event_ticker_of(settlement.ticker)}
            and settlement.at_ns in period
            and settlement.at_ns <= seen_ns
        ),
    )
    return ok(settlements=[_settlement_json(each) for each in found.items], cursor=found.cursor)


def _filter(word: str) -> Callable[[PositionView], int]:
    if word not in _FILTERS:
        raise bad_parameter(f"count_filter knows {', '.join(_FILTERS)}, not {word[:40]!r}")
    return _FILTERS[word]


def _is_settled(desk: Desk, ticker: str) -> bool:
    listing = desk.venue.listings.get(ticker)
    return listing is None or listing.filter_word == "settled"


def _bid_value(desk: Desk, position: PositionView) -> Money:
    """Return what selling the position would bring if the best bid took it all."""
    if not position.count:
        return 0
    top = desk.venue.top(position.ticker)
    return position.count * top.bid if position.count > 0 else -position.count * complement(top.ask)


def _position_json(position: PositionView) -> Json:
    return {
        "ticker": position.ticker,
        "position_fp": format_count(position.count),
        "market_exposure_dollars": money_text(position.cost),
        "total_traded_dollars": money_text(position.traded),
        "realized_pnl_dollars": money_text(position.realized_pnl),
        "fees_paid_dollars": money_text(position.fees_paid),
        "last_updated_ts": rfc3339_ms(position.updated_ns),
        "exchange_index": 0,
    }


def _event_positions(markets: Iterable[PositionView]) -> list[Json]:
    by_event: dict[str, list[PositionView]] = {}
    for position in markets:
        by_event.setdefault(event_ticker_of(position.ticker), []).append(position)
    return [
        {
            "event_ticker": event,
            "total_cost_dollars": money_text(sum(each.traded for each in held)),
            "total_cost_shares_fp": format_count(sum(each.volume for each in held)),
            "event_exposure_dollars": money_text(sum(each.cost for each in held)),
            "realized_pnl_dollars": money_text(sum(each.realized_pnl for each in held)),
            "fees_paid_dollars": money_text(sum(each.fees_paid for each in held)),
        }
        for event, held in by_event.items()
    ]


def _settlement_json(settlement: Settlement) -> Json:
    position = settlement.position
    yes, no = max(position.count, 0), max(-position.count, 0)
    return {
        "ticker": settlement.ticker,
        "event_ticker": event_ticker_of(settlement.ticker),
        "market_result": settlement.result,
        "yes_count_fp": format_count(yes),
        "no_count_fp": format_count(no),
        "yes_total_cost_dollars": money_text(position.cost if yes else 0),
        "no_total_cost_dollars": money_text(position.cost if no else 0),
        "revenue": settlement.revenue // MONEY_PER_CENT,
        "value": settlement.value // PRICE_PER_CENT,
        "fee_cost": money_text(position.fees_paid),
        "settled_time": rfc3339_ms(settlement.at_ns),
    }


ROUTES = (
    Route("GET", "/portfolio/balance", balance, kind=Kind.BALANCE),
    Route("GET", "/portfolio/positions", positions),
    Route("GET", "/portfolio/settlements", settlements),
)
