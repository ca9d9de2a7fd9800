"""What a fill does to the order that has it and to the account behind it."""

import attrs

from rlflow.exchange.matching.accounts import LiveOrder
from rlflow.exchange.matching.happenings import Filled
from rlflow.exchange.matching.orders import OrderView, own_price
from rlflow.exchange.matching.positions import closing_count
from rlflow.fees import FeeModel
from rlflow.units import ONE_DOLLAR, Count, Money, Nanos, Price


@attrs.frozen
class Match:
    """One order's part in one trade."""

    price: Price
    """What it pays for one contract of its side."""
    count: Count
    trade_id: str
    is_taker: bool
    at_ns: Nanos


def fill(order: LiveOrder, match: Match, fees: FeeModel) -> Filled:
    """Let an order's account buy, and return the record of it; pairs of YES and NO become a dollar each."""
    account, view = order.account, order.view
    cost = match.price * match.count
    fee = order.rounding.charge(cost, fees.trade_fee(match.price, match.count, is_taker=match.is_taker)).total
    before = account.position(view.ticker)
    closed = closing_count(before.count, view.side, match.count)
    yes_price = own_price(view.side, match.price)
    position = before.after_fill(view.side, yes_price, match.count, fee, match.at_ns)
    account.cash += closed * ONE_DOLLAR - cost - fee
    account.positions[view.ticker] = position
    order.view = _after_fill(view, match, cost, fee)
    account.record(order)
    record = Filled(
        match.trade_id,
        view.order_id,
        view.client_order_id,
        account.key_id,
        view.ticker,
        view.side,
        yes_price,
        match.count,
        fee,
        match.is_taker,
        position.count,
        match.at_ns,
    )
    account.fills.append(record)
    return record


def _after_fill(view: OrderView, match: Match, cost: Money, fee: Money) -> OrderView:
    taken = match.is_taker
    remaining = view.remaining_count - match.count
    return attrs.evolve(
        view,
        remaining_count=remaining,
        fill_count=view.fill_count + match.count,
        status="resting" if remaining else "executed",
        reason="Trade",
        taker_fill_cost=view.taker_fill_cost + (cost if taken else 0),
        maker_fill_cost=view.maker_fill_cost + (0 if taken else cost),
        taker_fees=view.taker_fees + (fee if taken else 0),
        maker_fees=view.maker_fees + (0 if taken else fee),
        updated_ns=match.at_ns,
    )
