"""Why an order or its change is refused, in the venue's codes (protocol 6.3 and 7); nothing is changed here."""

from rlflow.exchange.matching.accounts import Account, LiveOrder
from rlflow.exchange.matching.collateral import Claim
from rlflow.exchange.matching.crossing import Plan
from rlflow.exchange.matching.order_desk import OrderDesk
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest
from rlflow.exchange.matching.positions import closing_count
from rlflow.units import MAX_COUNT, Count, Nanos, Price, format_price


def refuse(code: str, message: str, status: int = 400) -> OrderRefusedError:
    """Return the error to raise."""
    return OrderRefusedError(status, code, message)


def check_open(desk: OrderDesk) -> None:
    """Raise unless the market takes new orders."""
    if desk.trading != "open":
        raise refuse("MARKET_INACTIVE", f"{desk.ticker} is {desk.trading}")


def check_cancelable(order: LiveOrder, desk: OrderDesk, ticker: str) -> None:
    """Raise if another market was named, or if it takes no cancels either, as after its close (protocol 8.1)."""
    if ticker and ticker != order.view.ticker:
        raise refuse("order_ticker_mismatch", f"the order is in {order.view.ticker}, not in {ticker}")
    if desk.trading == "closed":
        raise refuse("MARKET_INACTIVE", f"{desk.ticker} is closed")


def check_request(request: OrderRequest, desk: OrderDesk, account: Account, now_ns: Nanos) -> None:
    """Raise for what is wrong with a new order before it meets the book."""
    check_open(desk)
    _check_price(request.price, desk)
    _check_count(request.count)
    _check_expiration(request.expiration_ns, now_ns)
    rests = request.time_in_force == "good_till_canceled"
    if request.expiration_ns is not None and not rests:
        raise refuse("invalid_order", "expiration_time needs good_till_canceled")
    if request.post_only and not rests:
        raise refuse("invalid_order", "post_only needs good_till_canceled")
    if request.reduce_only and request.time_in_force != "immediate_or_cancel":
        raise refuse("invalid_order", "reduce_only needs immediate_or_cancel")
    _check_client_order_id(request.client_order_id, account)


def check_amend(request: AmendRequest, order: LiveOrder, desk: OrderDesk, now_ns: Nanos) -> None:
    """Raise for what is wrong with an amend before its order meets the book anew."""
    view = order.view
    check_open(desk)
    if request.ticker != view.ticker:
        raise refuse("order_ticker_mismatch", f"the order is in {view.ticker}, not in {request.ticker}")
    if request.side != view.side:
        raise refuse("order_side_mismatch", f"the order is a {view.side}, not a {request.side}")
    if request.client_order_id and request.client_order_id != view.client_order_id:
        raise refuse("order_id_and_client_order_id_mismatch", "the order has another client_order_id")
    _check_price(request.price, desk)
    _check_count(request.count)
    if request.count <= view.fill_count:
        raise refuse("invalid_order_size", "count includes what has filled and must leave a remainder")
    _check_expiration(request.expiration_ns or None, now_ns)
    if request.updated_client_order_id != view.client_order_id:
        _check_client_order_id(request.updated_client_order_id, order.account)


def check_crossing(request: OrderRequest, found: Plan, wanted: Count) -> None:
    """Raise for an order that must not trade and would, or that must trade whole and cannot.

    One that meets the account's own orders and dies there is no such failure: it ends as a partial one (protocol 7).
    """
    if request.post_only and found.crosses:
        raise refuse("invalid_order", "post only cross")
    if request.time_in_force == "fill_or_kill" and found.count < wanted and not found.is_cut:
        raise refuse("fill_or_kill_insufficient_resting_volume", "not enough rests at this price or better", 409)


def check_funds(desk: OrderDesk, account: Account, claim: Claim, *, without: LiveOrder | None = None) -> None:
    """Raise if the account cannot pay in advance; `without` is the order that this one replaces."""
    if desk.shortfall(account, claim, without=without):
        raise refuse("available_balance_too_low", "the balance does not cover the order and its fees")


def decrease_count(request: DecreaseRequest, order: LiveOrder) -> Count:
    """Return by how much an order shrinks; raises for a size that makes no sense."""
    remaining = order.view.remaining_count
    match request:
        case DecreaseRequest(reduce_by=int(reduce_by), reduce_to=None) if reduce_by > 0:
            return min(reduce_by, remaining)
        case DecreaseRequest(reduce_by=None, reduce_to=int(reduce_to)) if 0 <= reduce_to <= remaining:
            return remaining - reduce_to
    raise refuse("invalid_order_size", "give either reduce_by above 0 or reduce_to, not above what remains")


def wanted_count(request: OrderRequest, desk: OrderDesk, account: Account) -> Count:
    """Return how much a new order may trade: with `reduce_only` no more than would close the position."""
    if not request.reduce_only:
        return request.count
    return closing_count(account.position(desk.ticker).count, request.side, request.count)


def _check_price(price: Price, desk: OrderDesk) -> None:
    if not desk.book.grid.allows(price):
        raise refuse("invalid_price", f"{format_price(price)} is not on the market's price grid")


def _check_count(count: Count) -> None:
    if not 0 < count <= MAX_COUNT:
        raise refuse("invalid_order_size", "the smallest order is 0.01 contracts")


def _check_expiration(expiration_ns: Nanos | None, now_ns: Nanos) -> None:
    if expiration_ns is not None and expiration_ns <= now_ns:
        raise refuse("invalid_order", "expiration_time is past")


def _check_client_order_id(client_order_id: str, account: Account) -> None:
    if client_order_id and account.has_used(client_order_id):
        raise refuse("order_already_exists", f"client_order_id {client_order_id} was used before", 409)
