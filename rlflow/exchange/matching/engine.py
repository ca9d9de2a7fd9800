"""The matching engine: accounts, their orders in every market, price-time priority, fees, settlement (protocol 7).

Pure: times are arguments and ids come from the seed. A verb is one action per market. It raises `OrderRefusedError` and
has changed nothing, or says what it changed, in the order of publication: deltas, trades, fills, orders, positions. The
caller bumps the clock, publishes, and drives the crowd; the crowd's order flow works on the same books by itself and
tells the engine of its trades alone (`crowd_trade`).

Invariants: no book is crossed after an action; an account's cash less what is set aside for its orders never falls
below 0 while fees stay as they are; money only moves between the accounts, the crowd and the venue.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

import attrs

from rlflow.exchange.matching import order_checks as checks
from rlflow.exchange.matching.accounts import Account, LiveOrder
from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.book import Level, SimulatedBook
from rlflow.exchange.matching.collateral import Claim
from rlflow.exchange.matching.crossing import Plan
from rlflow.exchange.matching.happenings import CrowdHappening, Deal, Happening, PositionChanged
from rlflow.exchange.matching.identifiers import Identifiers
from rlflow.exchange.matching.order_desk import OrderDesk, Trading
from rlflow.exchange.matching.orders import (
    AmendRequest,
    BookSide,
    DecreaseRequest,
    OrderRequest,
    OrderView,
    Reason,
    amended,
    own_price,
    resting_side,
)
from rlflow.exchange.matching.proceedings import Action, Proceedings
from rlflow.fees import DIRECT_MEMBER_UNIT, FeeModel, RoundingAccumulator
from rlflow.units import Count, Money, Nanos, Price

DEFAULT_DEPOSIT: Money = 10_000_000_000
"""Ten thousand dollars."""


class Engine:
    """All accounts and all markets' orders of one venue."""

    def __init__(self, seed: int = 1, *, deposit: Money = DEFAULT_DEPOSIT, unit: Money = DIRECT_MEMBER_UNIT) -> None:
        self.identifiers = Identifiers(seed)
        """Names the trades of the crowd among itself, too."""
        self.accounts: dict[str, Account] = {}
        self._deposit = deposit
        self._unit = unit
        self._desks: dict[str, OrderDesk] = {}
        self._deadlines: list[_Deadline] = []

    # Markets and accounts

    def add_market(self, book: SimulatedBook, fees: FeeModel, trading: Trading = "open") -> None:
        """Take orders in a market from now on, as far as `trading` lets it."""
        self._desks[book.ticker] = OrderDesk(book, fees, self.identifiers, trading)

    def remove_market(self, ticker: str) -> None:
        """Forget a market without orders; accounts keep their records of it."""
        assert not self._desks[ticker].live, f"{ticker} has orders"
        del self._desks[ticker]

    def set_fees(self, ticker: str, fees: FeeModel) -> None:
        """Charge the fills to come by another model; what is set aside follows with each account's next action."""
        self._desks[ticker].fees = fees

    def set_trading(self, ticker: str, trading: Trading) -> None:
        """Open, pause or close a market; resting orders stay. `pause` and `close_market` also cancel."""
        self._desks[ticker].trading = trading

    def account(self, key_id: str) -> Account:
        """Return the account of an API key; at first sight it is new and has the deposit."""
        return self.accounts.setdefault(key_id, Account(key_id, self._deposit, self._unit))

    # Verbs of an account

    def place(self, key_id: str, request: OrderRequest, now_ns: Nanos) -> Answer:
        """Place an order: it trades what it can, and the rest of it rests or goes, by its time in force."""
        desk, account = self._desk(request.ticker), self.account(key_id)
        checks.check_request(request, desk, account, now_ns)
        wanted = checks.wanted_count(request, desk, account)
        found = desk.plan(account, request.side, request.price, wanted, request.self_trade_prevention)
        checks.check_crossing(request, found, wanted)
        checks.check_funds(desk, account, _claim(request.side, request.price, wanted))
        order, done = self._accept(account, request, now_ns), Proceedings(desk.ticker)
        desk.take(order, found, done, now_ns)
        desk.settle_rest(order, _end_of_rest(request, found, wanted), done, now_ns)
        self._note_deadline(order)
        return Answer(order.view, desk.conclude(done))

    def cancel(self, key_id: str, order_id: str, now_ns: Nanos, *, ticker: str = "") -> Answer:
        """Cancel a resting order; a `ticker` that is not its own is refused."""
        order = self._resting(key_id, order_id)
        desk = self._desks[order.view.ticker]
        checks.check_cancelable(order, desk, ticker)
        done, reduced = Proceedings(desk.ticker), order.view.remaining_count
        desk.end(order, "", done, now_ns)
        return Answer(order.view, desk.conclude(done), reduced)

    def cancel_all(self, key_id: str, now_ns: Nanos) -> list[Action]:
        """Cancel everything that rests in markets that take cancels."""
        orders = self.account(key_id).all_resting()
        return self._end_all((o for o in orders if self._desks[o.view.ticker].trading != "closed"), "", now_ns)

    def decrease(self, key_id: str, order_id: str, request: DecreaseRequest, now_ns: Nanos) -> Answer:
        """Make a resting order smaller; it keeps its place, and ends when nothing remains."""
        order = self._resting(key_id, order_id)
        desk = self._desks[order.view.ticker]
        checks.check_cancelable(order, desk, request.ticker)
        reduced = checks.decrease_count(request, order)
        done = Proceedings(desk.ticker)
        desk.shrink(order, reduced, "Decrease", done, now_ns)
        return Answer(order.view, desk.conclude(done), reduced)

    def amend(self, key_id: str, order_id: str, request: AmendRequest, now_ns: Nanos) -> Answer:
        """Change a resting order; it keeps its place unless its price changes or it grows, and may trade at once."""
        order = self._resting(key_id, order_id)
        view, desk, done = order.view, self._desks[order.view.ticker], Proceedings(order.view.ticker)
        checks.check_amend(request, order, desk, now_ns)
        remaining = request.count - view.fill_count
        if request.price == view.price and remaining <= view.remaining_count:
            desk.shrink(order, view.remaining_count - remaining, "Amend", done, now_ns)
            desk.restate(order, amended(order.view, request), done, now_ns)
        else:
            checks.check_funds(desk, order.account, _claim(view.side, request.price, remaining), without=order)
            desk.requeue(order, amended(view, request), done, now_ns)
        self._note_deadline(order)
        return Answer(order.view, desk.conclude(done))

    def queue_position(self, key_id: str, order_id: str) -> Count:
        """Return how many contracts are served before a resting order; 404 if it does not rest."""
        view = self._resting(key_id, order_id).view
        return self._desks[view.ticker].book.sides[view.resting_side].ahead(view.resting_price, order_id)

    # The crowd

    def crowd_trade(self, ticker: str, happenings: Sequence[CrowdHappening], now_ns: Nanos) -> list[Happening]:
        """Return an action of the crowd with what it did to accounts.

        Call it whenever `book.taken` is not empty: trades are divided by whom they met, and the fills follow.
        """
        desk = self._desks[ticker]
        taken, desk.book.taken = desk.book.taken, {}
        done = Proceedings(ticker)
        crowd: list[Happening] = []
        for happening in happenings:
            portions = taken.pop(Level(happening.maker, happening.price), None) if isinstance(happening, Deal) else None
            if isinstance(happening, Deal) and portions:
                crowd.extend(desk.divide(happening, portions, done, now_ns))
            else:
                crowd.append(happening)
        assert not taken, f"taken without a trade: {taken}"
        return [*crowd, *desk.conclude(done).happenings]

    # What the venue does

    def expire(self, now_ns: Nanos) -> list[Action]:
        """Cancel the orders whose time has come; costs nothing as long as there is none."""
        due: dict[str, LiveOrder] = {}
        while self._deadlines and self._deadlines[0].at_ns <= now_ns:
            order = heappop(self._deadlines).order
            is_due = order.view.expiration_ns is not None and order.view.expiration_ns <= now_ns
            if is_due and order.view.status == "resting":
                due[order.view.order_id] = order
        return self._end_all(due.values(), "ExpiryCancel", now_ns)

    def pause(self, ticker: str, now_ns: Nanos) -> Action:
        """Take nothing new in a market; cancels work, and orders that asked for it are canceled."""
        desk = self._desks[ticker]
        desk.trading = "paused"
        return desk.end_all((order for order in desk.live.values() if order.view.cancel_on_pause), "HaltCancel", now_ns)

    def halt(self, now_ns: Nanos) -> list[Action]:
        """Cancel the orders that asked for it wherever they rest, as when trading stops everywhere."""
        resting = (order for account in self.accounts.values() for order in account.all_resting())
        return self._end_all((order for order in resting if order.view.cancel_on_pause), "HaltCancel", now_ns)

    def close_market(self, ticker: str, now_ns: Nanos) -> Action:
        """Close a market and cancel what accounts have in it; the crowd's orders are left to the caller."""
        desk = self._desks[ticker]
        desk.trading = "closed"
        return desk.end_all(desk.live.values(), "CloseCancel", now_ns)

    def wipe(self, ticker: str, now_ns: Nanos) -> Action:
        """Remove every order, the crowd's too, as the venue does when it lifts a pause (protocol 8.1)."""
        return self._desks[ticker].wipe(now_ns)

    def settle(self, ticker: str, value: Price, result: str, now_ns: Nanos) -> Action:
        """Pay every position in a closed market out: `value` to a YES contract, its complement to a NO contract."""
        desk = self._desks[ticker]
        assert not desk.live, f"{ticker} has orders"
        done = Proceedings(ticker)
        for account in self.accounts.values():
            if account.settle(ticker, value, result, now_ns) is not None:
                done.settled.append(PositionChanged(account.position(ticker)))
        return done.action()

    def _end_all(self, orders: Iterable[LiveOrder], reason: Reason, now_ns: Nanos) -> list[Action]:
        by_ticker: dict[str, list[LiveOrder]] = {}
        for order in orders:
            by_ticker.setdefault(order.view.ticker, []).append(order)
        return [self._desks[ticker].end_all(ended, reason, now_ns) for ticker, ended in by_ticker.items()]

    # Orders

    def _desk(self, ticker: str) -> OrderDesk:
        desk = self._desks.get(ticker)
        if desk is None:
            raise checks.refuse("not_found", f"no market {ticker}", 404)
        return desk

    def _resting(self, key_id: str, order_id: str) -> LiveOrder:
        view = self.account(key_id).orders.get(order_id)
        desk = None if view is None else self._desks.get(view.ticker)
        order = None if desk is None else desk.live.get(order_id)
        if order is None:
            raise checks.refuse("not_found", f"no resting order {order_id}", 404)
        return order

    def _accept(self, account: Account, request: OrderRequest, now_ns: Nanos) -> LiveOrder:
        view = OrderView(
            order_id=self.identifiers.next_order_id(),
            account=account.key_id,
            ticker=request.ticker,
            client_order_id=request.client_order_id,
            side=request.side,
            price=request.price,
            initial_count=request.count,
            remaining_count=request.count,
            created_ns=now_ns,
            updated_ns=now_ns,
            self_trade_prevention=request.self_trade_prevention,
            expiration_ns=request.expiration_ns,
            post_only=request.post_only,
            cancel_on_pause=request.cancel_on_pause,
            order_group_id=request.order_group_id,
        )
        return LiveOrder(view, account, RoundingAccumulator(account.unit))

    def _note_deadline(self, order: LiveOrder) -> None:
        if order.view.expiration_ns is not None and order.view.status == "resting":
            heappush(self._deadlines, _Deadline(order.view.expiration_ns, order))


@attrs.frozen(order=True)
class _Deadline:
    """When an order may have to go; one that has ended or was amended meanwhile stays."""

    at_ns: Nanos
    order: LiveOrder = attrs.field(order=False, eq=False)


def _claim(side: BookSide, price: Price, count: Count) -> Claim:
    return Claim(resting_side(side), own_price(side, price), count, is_taker=True)


def _end_of_rest(request: OrderRequest, found: Plan, wanted: Count) -> Reason | None:
    """Return why the rest of a new order does not come to rest, None if it does."""
    if found.is_cut:
        return "SelfTradeCancel"
    if wanted < request.count:
        return "ReduceOnlyCancel"
    return None if request.time_in_force == "good_till_canceled" else ""
