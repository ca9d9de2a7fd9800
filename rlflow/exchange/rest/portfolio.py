"""What an account may read of itself: balance, orders, fills (protocol 6.4)."""

from rlflow.exchange.markets.account_publications import money_text, outcome_side, user_id
from rlflow.exchange.markets.listing import event_ticker_of
from rlflow.exchange.matching.happenings import Filled
from rlflow.exchange.matching.orders import OrderView
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import newest_first, page
from rlflow.exchange.rest.refusals import bad_parameter, not_found
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.frames import rfc3339_ms
from rlflow.units import complement, format_count, format_price

_SINGLE_COST = 2
_MOST_TICKERS = 100
_STATUSES = ("resting", "canceled", "executed")


def orders(desk: Desk, request: Request) -> Answer:
    """Return the account's orders, the newest first."""
    query = request.query
    status, ticker, period = query.choice("status", _STATUSES), query.text("ticker"), query.period()
    events = query.words("event_ticker")
    found = page(
        newest_first(desk.past.orders(request.account, request.now_ns).values()),
        query,
        keep=lambda order: (
            status in {"", order.status}
            and ticker in {"", order.ticker}
            and (not events or event_ticker_of(order.ticker) in events)
            and order.created_ns in period
        ),
    )
    return ok(orders=[_order_json(order) for order in found.items], cursor=found.cursor)


def order(desk: Desk, request: Request) -> Answer:
    """Return one order."""
    found = desk.past.orders(request.account, request.now_ns).get(request.where["order_id"])
    if found is None:
        raise not_found(f"order {request.where['order_id']}")
    return ok(order=_order_json(found))


def queue_position(desk: Desk, request: Request) -> Answer:
    """Return how many contracts are served before one order."""
    position = desk.venue.engine.queue_position(request.account, request.where["order_id"])
    return ok(queue_position_fp=format_count(position))


def queue_positions(desk: Desk, request: Request) -> Answer:
    """Return the same for everything that rests in some markets or events."""
    tickers, events = request.query.words("market_tickers"), request.query.words("event_ticker")
    if not tickers and not events:
        raise bad_parameter("market_tickers or event_ticker is required")
    engine = desk.venue.engine
    resting = (live.view for live in engine.account(request.account).all_resting())
    return ok(
        queue_positions=[
            {
                "order_id": view.order_id,
                "market_ticker": view.ticker,
                "queue_position_fp": format_count(engine.queue_position(request.account, view.order_id)),
            }
            for view in resting
            if view.ticker in tickers or event_ticker_of(view.ticker) in events
        ]
    )


def fills(desk: Desk, request: Request) -> Answer:
    """Return the account's fills, the newest first."""
    query = request.query
    tickers, order_id, period = query.words("ticker"), query.text("order_id"), query.period()
    if len(tickers) > _MOST_TICKERS:
        raise bad_parameter(f"at most {_MOST_TICKERS} tickers can be given")
    seen_ns = request.now_ns - round(desk.settings.orders_lag_s * 1e9)
    found = page(
        newest_first(desk.venue.engine.account(request.account).fills),
        query,
        keep=lambda fill: (
            (not tickers or fill.ticker in tickers)
            and order_id in {"", fill.order_id}
            and fill.at_ns in period
            and fill.at_ns <= seen_ns
        ),
    )
    return ok(fills=[_fill_json(fill) for fill in found.items], cursor=found.cursor)


def _order_json(order: OrderView) -> Json:
    side = outcome_side(order.side)
    fields: Json = {
        "order_id": order.order_id,
        "user_id": user_id(order.account),
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "status": order.status,
        "type": "limit",
        "side": side,
        "action": "buy",
        "outcome_side": side,
        "book_side": order.side,
        "yes_price_dollars": format_price(order.price),
        "no_price_dollars": format_price(complement(order.price)),
        "initial_count_fp": format_count(order.initial_count),
        "fill_count_fp": format_count(order.fill_count),
        "remaining_count_fp": format_count(order.remaining_count),
        "taker_fill_cost_dollars": money_text(order.taker_fill_cost),
        "maker_fill_cost_dollars": money_text(order.maker_fill_cost),
        "taker_fees_dollars": money_text(order.taker_fees),
        "maker_fees_dollars": money_text(order.maker_fees),
        "created_time": rfc3339_ms(order.created_ns),
        "last_update_time": rfc3339_ms(order.updated_ns),
        "self_trade_prevention_type": order.self_trade_prevention,
        "cancel_order_on_pause": order.cancel_on_pause,
        "subaccount_number": 0,
        "exchange_index": 0,
    }
    if order.expiration_ns is not None:
        fields["expiration_time"] = rfc3339_ms(order.expiration_ns)
    if order.order_group_id:
        fields["order_group_id"] = order.order_group_id
    return fields


def _fill_json(fill: Filled) -> Json:
    side = outcome_side(fill.side)
    return {
        "fill_id": fill.trade_id,
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "ticker": fill.ticker,
        "market_ticker": fill.ticker,
        "side": side,
        "action": "buy",
        "outcome_side": side,
        "book_side": fill.side,
        "count_fp": format_count(fill.count),
        "yes_price_dollars": format_price(fill.price),
        "no_price_dollars": format_price(complement(fill.price)),
        "is_taker": fill.is_taker,
        "fee_cost": money_text(fill.fee),
        "created_time": rfc3339_ms(fill.at_ns),
        "ts": fill.at_ns // 1_000_000_000,
    }


ROUTES = (
    Route("GET", "/portfolio/orders", orders),
    Route("GET", "/portfolio/orders/queue_positions", queue_positions),
    Route("GET", "/portfolio/orders/<order_id>", order, cost=_SINGLE_COST),
    Route("GET", "/portfolio/orders/<order_id>/queue_position", queue_position),
    Route("GET", "/portfolio/fills", fills),
)
