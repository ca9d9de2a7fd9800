"""Orders of accounts: what is asked for, what stands, and why something was refused (protocol 6.3 and 7)."""

from typing import Literal, TypeAlias

import attrs

from rlflow.errors import PeerError
from rlflow.units import Count, Money, Nanos, Price, Side, complement

BookSide: TypeAlias = Literal["bid", "ask"]
"""`bid` buys YES at the price; `ask` sells YES at it, which is buying NO at its complement."""
TimeInForce: TypeAlias = Literal["good_till_canceled", "immediate_or_cancel", "fill_or_kill"]
SelfTradePrevention: TypeAlias = Literal["taker_at_cross", "maker"]
"""What dies when an order meets one of its own account: its own rest, or the resting one."""
OrderStatus: TypeAlias = Literal["resting", "canceled", "executed"]
Reason: TypeAlias = Literal[
    "",
    "Decrease",
    "Amend",
    "SelfTradeCancel",
    "ExpiryCancel",
    "CloseCancel",
    "HaltCancel",
    "Trade",
    "PostOnlyCrossCancel",
    "ReduceOnlyCancel",
]
"""`last_update_reason` of protocol 5.5; empty for a new order and for a cancel by its owner."""


class OrderRefusedError(PeerError):
    """An order or a change of one was refused and nothing happened; `status` is the HTTP status to answer with."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(f"{status} {code}: {message}")


@attrs.frozen
class OrderRequest:
    """A new limit order; the engine checks everything that depends on the market or the account."""

    ticker: str
    side: BookSide
    price: Price
    """Always the YES price."""
    count: Count
    time_in_force: TimeInForce = "good_till_canceled"
    self_trade_prevention: SelfTradePrevention = "taker_at_cross"
    client_order_id: str = ""
    """Empty: none. Never again accepted from the same account."""
    expiration_ns: Nanos | None = None
    """Only with `good_till_canceled`."""
    post_only: bool = False
    reduce_only: bool = False
    """Only with `immediate_or_cancel`; what would open or turn the position is cut off."""
    cancel_on_pause: bool = False
    order_group_id: str = ""


@attrs.frozen
class AmendRequest:
    """What a resting order is to become; what does not fit the order that it names is refused."""

    ticker: str
    side: BookSide
    price: Price
    count: Count
    """What has filled plus the wanted remainder."""
    client_order_id: str = ""
    updated_client_order_id: str = ""
    expiration_ns: Nanos | None = None
    """None leaves it, 0 removes it."""


@attrs.frozen
class DecreaseRequest:
    """How much smaller a resting order is to become; exactly one of both counts."""

    reduce_by: Count | None = None
    """More than remains means all of it."""
    reduce_to: Count | None = None
    ticker: str = ""
    """Of the order's market, if given."""


@attrs.frozen
class OrderView:
    """An order at a moment: the whole state, as the venue's messages carry it."""

    order_id: str
    account: str
    ticker: str
    client_order_id: str
    side: BookSide
    price: Price
    """The YES price."""
    initial_count: Count
    remaining_count: Count
    """What rests; 0 once canceled."""
    created_ns: Nanos
    updated_ns: Nanos
    self_trade_prevention: SelfTradePrevention
    fill_count: Count = 0
    status: OrderStatus = "resting"
    reason: Reason = ""
    """Of the last change."""
    taker_fill_cost: Money = 0
    """What its contracts cost: the YES price for a bid, the NO price for an ask, as far as it took."""
    maker_fill_cost: Money = 0
    taker_fees: Money = 0
    maker_fees: Money = 0
    expiration_ns: Nanos | None = None
    post_only: bool = False
    cancel_on_pause: bool = False
    order_group_id: str = ""

    @property
    def resting_side(self) -> Side:
        """The ladder it stands on."""
        return resting_side(self.side)

    @property
    def resting_price(self) -> Price:
        """Its price on that ladder, which is what one contract costs its owner."""
        return own_price(self.side, self.price)


def amended(view: OrderView, request: AmendRequest) -> OrderView:
    """Return the order as an amend wants it, before it meets the book again."""
    return attrs.evolve(
        view,
        price=request.price,
        initial_count=request.count,
        remaining_count=request.count - view.fill_count,
        client_order_id=request.updated_client_order_id or view.client_order_id,
        expiration_ns=view.expiration_ns if request.expiration_ns is None else request.expiration_ns or None,
        reason="Amend",
    )


def resting_side(side: BookSide) -> Side:
    """Return the ladder on which an order of this side rests."""
    return "yes" if side == "bid" else "no"


def own_price(side: BookSide, yes_price: Price) -> Price:
    """Return what one contract costs at a YES price; the same function turns it back."""
    return yes_price if side == "bid" else complement(yes_price)
