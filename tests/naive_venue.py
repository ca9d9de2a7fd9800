"""A venue that is easy to read and slow: one list of orders in order of arrival, money in exact fractions.

The matching engine is compared with it step by step. It shares no code with it but units and request types, and knows
one market only. The crowd is the account "".
"""

import copy
import math
from collections.abc import Iterator
from fractions import Fraction

import attrs

from rlflow.exchange.matching.orders import AmendRequest, OrderRequest

DOLLAR = 10_000
CROWD = ""
TAKER_RATES = {"quadratic": "0.07", "quadratic_with_maker_fees": "0.07", "flat": "0"}
MAKER_RATES = {"quadratic": "0", "quadratic_with_maker_fees": "0.0175", "flat": "0"}


class Refused(Exception):  # noqa: N818  # what it says is the code
    """The venue would not do it."""


@attrs.define(eq=False)
class Order:
    owner: str
    side: str
    """`yes` or `no`: what it buys."""
    price: int
    """Of what it buys."""
    count: int
    """What remains of it."""
    prevention: str = "taker_at_cross"
    name: str = ""
    filled: int = 0
    status: str = "resting"
    reason: str = ""
    fees: Fraction = Fraction(0)
    accumulator: Fraction = Fraction(0)
    expires: int | None = None
    post_only: bool = False
    on_pause: bool = False

    def end(self, reason: str) -> None:
        self.count, self.status, self.reason = 0, "canceled", reason


@attrs.define
class Holder:
    cash: Fraction = Fraction(0)
    yes: int = 0
    """Net contracts, in hundredths."""
    fees: Fraction = Fraction(0)


@attrs.define
class NaiveVenue:
    """Dollars are fractions, counts hundredths of a contract."""

    fee_type: str
    multiplier: Fraction
    unit: Fraction
    deposit: Fraction
    orders: list[Order] = attrs.Factory(list)
    """What rests, in order of arrival."""
    known: dict[str, Order] = attrs.Factory(dict)
    holders: dict[str, Holder] = attrs.Factory(dict)
    client_ids: set[tuple[str, str]] = attrs.Factory(set)

    def holder(self, owner: str) -> Holder:
        return self.holders.setdefault(owner, Holder(Fraction(0) if owner == CROWD else self.deposit))

    # The book

    def levels(self) -> dict[tuple[str, int], int]:
        sizes: dict[tuple[str, int], int] = {}
        for order in self.orders:
            sizes[order.side, order.price] = sizes.get((order.side, order.price), 0) + order.count
        return sizes

    def crowd_at(self, side: str, price: int) -> int:
        return sum(o.count for o in self.orders if (o.owner, o.side, o.price) == (CROWD, side, price))

    def ahead(self, name: str) -> int:
        order = self.known[name]
        before = self.orders[: self.orders.index(order)]
        return sum(o.count for o in before if (o.side, o.price) == (order.side, order.price))

    def resting(self, owner: str) -> list[Order]:
        return [order for order in self.orders if order.owner == owner]

    # Trading

    def trade(self, taker: Order) -> str:
        """Trade one order against the book; return the reason if it dies at an order of its owner."""
        while taker.count:
            facing = [o for o in self.orders if o.side != taker.side and o.price + taker.price >= DOLLAR]
            if not facing:
                return ""
            maker = max(facing, key=lambda order: order.price)  # the first of the best
            if maker.owner == taker.owner != CROWD:
                if taker.prevention == "taker_at_cross":
                    return "SelfTradeCancel"
                self.remove(maker, "SelfTradeCancel")
                continue
            count = min(maker.count, taker.count)
            self.fill(taker, DOLLAR - maker.price, count, TAKER_RATES)
            self.fill(maker, maker.price, count, MAKER_RATES)
            if not maker.count:
                self.orders.remove(maker)
        return ""

    def fill(self, order: Order, price: int, count: int, rates: dict[str, str]) -> None:
        holder = self.holder(order.owner)
        before = abs(holder.yes)
        holder.yes += count if order.side == "yes" else -count
        pairs = (before + count - abs(holder.yes)) // 2
        p, contracts = Fraction(price, DOLLAR), Fraction(count, 100)
        holder.cash += Fraction(pairs, 100)
        order.count, order.filled, order.reason = order.count - count, order.filled + count, "Trade"
        order.status = "resting" if order.count else "executed"
        if order.owner == CROWD:
            holder.cash -= p * contracts
            return
        model = self.multiplier * Fraction(rates[self.fee_type]) * contracts * p * (1 - p)
        trade_fee = Fraction(math.ceil(model * 10**6), 10**6)
        change = -p * contracts - trade_fee
        floored = math.floor(change / self.unit) * self.unit
        order.accumulator += change - floored
        rebate = math.floor(order.accumulator / self.unit) * self.unit
        order.accumulator -= rebate
        holder.cash += floored + rebate
        charged = -p * contracts - floored - rebate
        order.fees += charged
        holder.fees += charged

    def remove(self, order: Order, reason: str) -> None:
        self.orders.remove(order)
        order.end(reason)

    # What must be paid for in advance, one hundredth of a contract after the other

    def needs(self, owner: str, extra: Order | None = None, *, without: Order | None = None) -> Fraction:
        resting = [(order, False) for order in self.resting(owner) if order is not without]
        orders = resting + ([(extra, True)] if extra else [])
        total = Fraction(0)
        for side in ("yes", "no"):
            held = self.holder(owner).yes if side == "no" else -self.holder(owner).yes
            mine = sorted((pair for pair in orders if pair[0].side == side), key=lambda pair: -pair[0].price)
            for order, takes in mine:
                opening = 0
                for _ in range(order.count):
                    opening += held <= 0
                    held -= 1
                total += self.cost(order, opening, TAKER_RATES if takes else MAKER_RATES)
        return total

    def cost(self, order: Order, count: int, rates: dict[str, str]) -> Fraction:
        p, contracts = Fraction(order.price, DOLLAR), Fraction(count, 100)
        fee = math.ceil(self.multiplier * Fraction(rates[self.fee_type]) * contracts * p * (1 - p) * 10**6)
        fee += count if fee else 0
        return math.ceil((p * contracts + Fraction(fee, 10**6) - order.accumulator) / self.unit) * self.unit

    def check_funds(self, order: Order, *, without: Order | None = None) -> None:
        before = self.needs(order.owner)
        after = self.needs(order.owner, order, without=without)
        if after > before and self.holder(order.owner).cash < after:
            raise Refused("available_balance_too_low")

    # Verbs

    def place(self, owner: str, request: OrderRequest, name: str) -> None:
        self.check_client_id(owner, request.client_order_id)
        order = Order(owner, *_bid(request), request.count, request.self_trade_prevention, name)
        order.expires, order.post_only = request.expiration_ns, request.post_only
        order.on_pause = request.cancel_on_pause
        cut = 0
        if request.reduce_only:
            held = self.holder(owner).yes if order.side == "no" else -self.holder(owner).yes
            cut = order.count - min(order.count, max(held, 0))
            order.count -= cut
        if request.post_only and self.faces(order):
            raise Refused("invalid_order")
        if request.time_in_force == "fill_or_kill" and not self.would_end(order):
            raise Refused("fill_or_kill_insufficient_resting_volume")
        self.check_funds(order)
        self.known[name] = order
        self.client_ids.add((owner, request.client_order_id))
        died = self.trade(order)
        if died or cut:
            if order.count or cut:
                order.end(died or "ReduceOnlyCancel")
        elif order.count and request.time_in_force == "good_till_canceled":
            self.orders.append(order)
        elif order.count:
            order.end("")

    def faces(self, order: Order) -> bool:
        return any(o.side != order.side and o.price + order.price >= DOLLAR for o in self.orders)

    def would_end(self, order: Order) -> bool:
        """Return whether an order would fill whole or die at one of its owner's, trying it on a copy."""
        trial = NaiveVenue(self.fee_type, self.multiplier, self.unit, self.deposit)
        trial.orders = [copy.copy(resting) for resting in self.orders]
        taker = copy.copy(order)
        return bool(trial.trade(taker)) or not taker.count

    def check_client_id(self, owner: str, client_id: str) -> None:
        if client_id and (owner, client_id) in self.client_ids:
            raise Refused("order_already_exists")

    def shrink(self, name: str, remaining: int, reason: str) -> None:
        order = self.known[name]
        order.count, order.reason = remaining, reason
        if not remaining:
            self.remove(order, reason)

    def amend(self, name: str, request: AmendRequest) -> None:
        order = self.known[name]
        if request.count <= order.filled:
            raise Refused("invalid_order_size")
        self.check_client_id(order.owner, request.updated_client_order_id)
        _, price = _bid(request)
        remaining = request.count - order.filled
        if price == order.price and remaining <= order.count:
            order.count, order.reason = remaining, "Amend"
        else:
            self.check_funds(Order(order.owner, order.side, price, remaining), without=order)
            self.orders.remove(order)
            order.price, order.count, order.reason = price, remaining, "Amend"
            self.bring_back(order)
        self.client_ids.add((order.owner, request.updated_client_order_id))
        if request.expiration_ns is not None:
            order.expires = request.expiration_ns or None

    def bring_back(self, order: Order) -> None:
        if order.post_only and self.faces(order):
            order.end("PostOnlyCrossCancel")
            return
        died = self.trade(order)
        if died:
            order.end(died)
        elif order.count:
            self.orders.append(order)

    def crowd_withdraws(self, side: str, price: int, count: int) -> None:
        for order in [o for o in reversed(self.orders) if (o.owner, o.side, o.price) == (CROWD, side, price)]:
            part = min(order.count, count)
            order.count -= part
            count -= part
            if not order.count:
                self.orders.remove(order)

    def expire(self, now: int) -> None:
        for order in self.expiring(now):
            self.remove(order, "ExpiryCancel")

    def expiring(self, now: int) -> list[Order]:
        return [order for order in self.orders if order.expires is not None and order.expires <= now]

    def end_all(self, reason: str, *, on_pause: bool = False) -> None:
        for order in [o for o in self.orders if o.owner != CROWD and (o.on_pause or not on_pause)]:
            self.remove(order, reason)

    def settle(self, value: int) -> None:
        for owner, holder in self.holders.items():
            each = value if holder.yes > 0 else DOLLAR - value
            payout = Fraction(abs(holder.yes) * each, 10**6)
            if owner != CROWD:
                payout = Fraction(math.floor(payout * 100), 100)
            holder.cash += payout
            holder.yes = 0

    # What must hold

    def money(self) -> Fraction:
        """All cash, fees taken, and a dollar for each pair of contracts that stand open."""
        open_pairs = sum(holder.yes for holder in self.holders.values() if holder.yes > 0)
        return sum((h.cash + h.fees for h in self.holders.values()), Fraction(open_pairs, 100))

    def deposits(self) -> Fraction:
        return self.deposit * sum(owner != CROWD for owner in self.holders)

    def accounts(self) -> Iterator[tuple[str, Holder]]:
        return ((owner, holder) for owner, holder in self.holders.items() if owner != CROWD)


def _bid(request: OrderRequest | AmendRequest) -> tuple[str, int]:
    return ("yes", request.price) if request.side == "bid" else ("no", DOLLAR - request.price)
