"""What one account alone is told: its fills, its orders, its positions (protocol 5.4 to 5.6)."""

import functools
from typing import Any

import msgspec

from rlflow.exchange.markets.publications import Times
from rlflow.exchange.matching.happenings import Filled, OrderChanged, PositionChanged
from rlflow.exchange.matching.orders import BookSide, OrderView
from rlflow.exchange.matching.positions import PositionView
from rlflow.exchange.wire import frames
from rlflow.exchange.wire.items import Item
from rlflow.units import Money, Nanos, format_count, format_price

_MILLISECOND_NS = 1_000_000
_SECOND_NS = 1_000_000_000


def money_text(amount: Money) -> str:
    """Return an amount in dollars with six decimals, as the venue writes it: -17500 -> "-0.017500"."""
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{size // 1_000_000}.{size % 1_000_000:06d}"


@functools.lru_cache(maxsize=1024)
def user_id(account: str) -> str:
    """Return the id by which messages name an account."""
    return frames.market_id(f"account {account}")


def outcome_side(side: BookSide) -> str:
    """Return which outcome an order of this side buys."""
    return "yes" if side == "bid" else "no"


def about_account(happening: Filled | OrderChanged | PositionChanged, times: Times) -> Item:
    """Return the publication for the account that it concerns."""
    match happening:
        case Filled():
            return _item("fill", "fill", happening, _fill(happening), times)
        case OrderChanged(order=order):
            return _item("user_orders", "user_order", order, _order(order), times)
        case PositionChanged(position=position):
            return _item("market_positions", "market_position", position, _position(position), times)


def _item(channel: str, kind: str, about: Filled | OrderView | PositionView, msg: dict[str, Any], times: Times) -> Item:
    tail = f',"msg":{msgspec.json.encode(msg).decode()},{times.sending}'
    return Item(channel, about.ticker, f'{{"type":"{kind}",'.encode(), tail.encode(), account=about.account)


def _fill(fill: Filled) -> dict[str, Any]:
    side = outcome_side(fill.side)
    msg = {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "market_ticker": fill.ticker,
        "exchange_index": 0,
        "is_taker": fill.is_taker,
        "side": side,
        "purchased_side": side,
        "action": "buy",
        "yes_price_dollars": format_price(fill.price),
        "count_fp": format_count(fill.count),
        "fee_cost": money_text(fill.fee),
        "post_position_fp": format_count(fill.post_position),
        "outcome_side": side,
        "book_side": fill.side,
        "ts": fill.at_ns // _SECOND_NS,
        "ts_ms": fill.at_ns // _MILLISECOND_NS,
    }
    return msg | ({"client_order_id": fill.client_order_id} if fill.client_order_id else {})


def _order(order: OrderView) -> dict[str, Any]:
    side = outcome_side(order.side)
    msg = {
        "order_id": order.order_id,
        "user_id": user_id(order.account),
        "ticker": order.ticker,
        "exchange_index": 0,
        "status": order.status,
        "side": side,
        "is_yes": side == "yes",
        "outcome_side": side,
        "book_side": order.side,
        "yes_price_dollars": format_price(order.price),
        "initial_count_fp": format_count(order.initial_count),
        "fill_count_fp": format_count(order.fill_count),
        "remaining_count_fp": format_count(order.remaining_count),
        "taker_fill_cost_dollars": money_text(order.taker_fill_cost),
        "maker_fill_cost_dollars": money_text(order.maker_fill_cost),
        "taker_fees_dollars": money_text(order.taker_fees),
        "maker_fees_dollars": money_text(order.maker_fees),
        "client_order_id": order.client_order_id,
        "created_time": frames.rfc3339_ms(order.created_ns),
        "created_ts_ms": order.created_ns // _MILLISECOND_NS,
        "last_updated_ts_ms": order.updated_ns // _MILLISECOND_NS,
        "self_trade_prevention_type": order.self_trade_prevention,
    }
    return msg | _optional(order)


def _optional(order: OrderView) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if order.expiration_ns is not None:
        fields |= _expiration(order.expiration_ns)
    if order.order_group_id:
        fields["order_group_id"] = order.order_group_id
    if order.reason:
        fields["last_update_reason"] = order.reason
    return fields


def _expiration(at_ns: Nanos) -> dict[str, Any]:
    return {"expiration_time": frames.rfc3339_ms(at_ns), "expiration_ts_ms": at_ns // _MILLISECOND_NS}


def _position(position: PositionView) -> dict[str, Any]:
    return {
        "user_id": user_id(position.account),
        "market_ticker": position.ticker,
        "position_fp": format_count(position.count),
        "position_cost_dollars": money_text(position.cost),
        "realized_pnl_dollars": money_text(position.realized_pnl),
        "fees_paid_dollars": money_text(position.fees_paid),
        "position_fee_cost_dollars": money_text(position.open_fees),
        "volume_fp": format_count(position.volume),
    }
