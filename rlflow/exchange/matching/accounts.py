"""Accounts of the simulated venue: cash, positions, and the record of everything they ever did."""

from collections.abc import Iterator

import attrs

from rlflow.exchange.matching.collateral import Claim
from rlflow.exchange.matching.happenings import Filled
from rlflow.exchange.matching.orders import OrderView
from rlflow.exchange.matching.positions import PositionView
from rlflow.fees import DIRECT_MEMBER_UNIT, RoundingAccumulator
from rlflow.units import ONE_DOLLAR, Money, Nanos, Price

MONEY_PER_CENT: Money = 10_000


@attrs.frozen
class Settlement:
    """What a position brought when its market settled."""

    ticker: str
    result: str
    """yes, no or scalar."""
    value: Price
    """What a YES contract paid."""
    position: PositionView
    """As it was before."""
    revenue: Money
    """The payout, whole cents."""
    at_ns: Nanos


@attrs.define(eq=False)
class LiveOrder:
    """An order from its acceptance to its end; the view is replaced, never changed."""

    view: OrderView
    account: "Account"
    rounding: RoundingAccumulator

    @property
    def claim(self) -> Claim:
        """What it may still buy while it rests."""
        view = self.view
        return Claim(view.resting_side, view.resting_price, view.remaining_count, held=self.rounding.held)


@attrs.define(eq=False)
class Account:
    """One account, named by its API key id; the engine alone changes it. Lists and dicts are oldest first."""

    key_id: str
    cash: Money
    """Everything that is not in positions, what is set aside for resting orders included."""
    unit: Money = DIRECT_MEMBER_UNIT
    """Its balance is a multiple of it after every fill."""
    positions: dict[str, PositionView] = attrs.Factory(dict)
    """By ticker, flat ones too once there was a fill."""
    orders: dict[str, OrderView] = attrs.Factory(dict)
    """Every order ever accepted, by order id."""
    fills: list[Filled] = attrs.Factory(list)
    settlements: list[Settlement] = attrs.Factory(list)
    _client_order_ids: set[str] = attrs.Factory(set)
    _resting: dict[str, dict[str, LiveOrder]] = attrs.Factory(dict)
    _set_aside: dict[str, Money] = attrs.Factory(dict)
    _total_set_aside: Money = 0

    @property
    def available(self) -> Money:
        """What new orders may cost."""
        return self.cash - self._total_set_aside

    @property
    def balance_cents(self) -> int:
        """`balance` of protocol 6.4: what is available in whole cents, rounded down."""
        return self.available // MONEY_PER_CENT

    def position(self, ticker: str) -> PositionView:
        """Return the position in a market, a flat one if there never was any."""
        return self.positions.get(ticker) or PositionView(self.key_id, ticker)

    def has_used(self, client_order_id: str) -> bool:
        """Return whether an order ever had this id."""
        return client_order_id in self._client_order_ids

    def record(self, order: LiveOrder) -> None:
        """Keep an order's present state, and its client's id for ever."""
        view = order.view
        self.orders[view.order_id] = view
        if view.client_order_id:
            self._client_order_ids.add(view.client_order_id)

    # Resting orders

    def resting(self, ticker: str) -> Iterator[LiveOrder]:
        """Iterate over the orders that rest in a market, those of equal price in the order of the queue."""
        return iter(self._resting.get(ticker, {}).values())

    def all_resting(self) -> list[LiveOrder]:
        """Return the orders that rest anywhere."""
        return [order for orders in self._resting.values() for order in orders.values()]

    def has_resting(self, order_id: str, ticker: str) -> bool:
        """Return whether that order rests in the market."""
        return order_id in self._resting.get(ticker, {})

    def add_resting(self, order: LiveOrder) -> None:
        """Note that an order rests, behind the others."""
        self._resting.setdefault(order.view.ticker, {})[order.view.order_id] = order

    def remove_resting(self, order: LiveOrder) -> None:
        """Note that an order rests no more."""
        orders = self._resting[order.view.ticker]
        del orders[order.view.order_id]
        if not orders:
            del self._resting[order.view.ticker]

    def set_aside(self, ticker: str) -> Money:
        """Return what is set aside for the orders of a market."""
        return self._set_aside.get(ticker, 0)

    def change_set_aside(self, ticker: str, amount: Money) -> None:
        """Set aside so much for the orders of a market."""
        self._total_set_aside += amount - self._set_aside.pop(ticker, 0)
        if amount:
            self._set_aside[ticker] = amount

    # Money

    def settle(self, ticker: str, value: Price, result: str, at_ns: Nanos) -> Settlement | None:
        """Pay out the position in a market, rounded down to whole cents; None if it is flat."""
        position = self.position(ticker)
        if position.count == 0:
            return None
        each = value if position.count > 0 else ONE_DOLLAR - value
        revenue = abs(position.count) * each // MONEY_PER_CENT * MONEY_PER_CENT
        settlement = Settlement(ticker, result, value, position, revenue, at_ns)
        self.cash += revenue
        self.positions[ticker] = position.after_settlement(revenue, at_ns)
        self.settlements.append(settlement)
        return settlement
