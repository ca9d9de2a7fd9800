"""What an action changes in a market, in the order of publication: deltas, trades, fills, orders, positions.

The crowd's order flow makes `Change` and `Deal` alone; the others belong to one account each.
"""

import msgspec

from rlflow.exchange.matching.orders import BookSide, OrderView, Reason
from rlflow.exchange.matching.positions import PositionView
from rlflow.units import Count, Money, Nanos, Price, Side


class Change(msgspec.Struct, gc=False):
    """One level's change."""

    side: Side
    price: Price
    delta: Count
    order: OrderView | None = None
    """The order whose owner caused it, None for the crowd and for what the venue does by itself."""


class Deal(msgspec.Struct, gc=False):
    """One trade, against the resting orders of `maker` at their price."""

    maker: Side
    price: Price
    count: Count
    trade_id: str = ""
    """Empty: nobody's fill refers to it, and whoever publishes it names it."""
    has_account: bool = False
    """Whether an account is on either side of it, not the crowd on both."""


class Filled(msgspec.Struct, frozen=True):
    """One account's part in a trade, and the record of it."""

    trade_id: str
    order_id: str
    client_order_id: str
    account: str
    ticker: str
    side: BookSide
    price: Price
    """The YES price."""
    count: Count
    fee: Money
    """All of it: trade fee, rounding, less what the order's accumulator paid back; that may make it negative."""
    is_taker: bool
    post_position: Count
    """The signed net position afterwards; positive is YES."""
    at_ns: Nanos


class OrderChanged(msgspec.Struct, frozen=True):
    """An order is new, changed or gone."""

    order: OrderView

    @property
    def reason(self) -> Reason:
        """Why, as `last_update_reason` says it."""
        return self.order.reason


class PositionChanged(msgspec.Struct, frozen=True):
    """An account's position in a market after fills or settlement."""

    position: PositionView


CrowdHappening = Change | Deal
Happening = Change | Deal | Filled | OrderChanged | PositionChanged
