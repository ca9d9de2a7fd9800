"""One market's orders of accounts: resting, trading, ending, and what must be set aside for them.

Whatever is done here has been allowed before (`order_checks`); the methods write it into the book, the accounts and the
proceedings of the action under way.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

from rlflow.exchange.matching.accounts import Account, LiveOrder
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.collateral import Claim, Terms, required
from rlflow.exchange.matching.crossing import Plan, plan
from rlflow.exchange.matching.fills import Match, fill
from rlflow.exchange.matching.happenings import Change, Deal
from rlflow.exchange.matching.identifiers import Identifiers
from rlflow.exchange.matching.level_queue import Portion
from rlflow.exchange.matching.orders import BookSide, OrderView, Reason, SelfTradePrevention, own_price, resting_side
from rlflow.exchange.matching.proceedings import Action, Proceedings
from rlflow.fees import FeeModel
from rlflow.units import Count, Money, Nanos, Price, Side, complement, opposite

Trading: TypeAlias = Literal["open", "paused", "closed"]
"""`paused`: nothing new, cancels work. `closed`: nothing works."""

# Who causes a change finds the own `client_order_id` in the delta (protocol 4.1); these are the venue's doing.
_VENUES: frozenset[Reason] = frozenset(("ExpiryCancel", "CloseCancel", "HaltCancel"))


class OrderDesk:
    """The orders of one market; the book may change beside it only through the crowd."""

    def __init__(
        self, book: SimulatedBook, fees: FeeModel, identifiers: Identifiers, trading: Trading = "open"
    ) -> None:
        self.book = book
        self.fees = fees
        """May be replaced at any time; what is set aside follows with each account's next action."""
        self.trading: Trading = trading
        self.live: dict[str, LiveOrder] = {}
        """The resting orders, by order id."""
        self._identifiers = identifiers

    @property
    def ticker(self) -> str:
        """The market's name."""
        return self.book.ticker

    # Looking ahead

    def plan(
        self, account: Account, side: BookSide, price: Price, count: Count, prevention: SelfTradePrevention
    ) -> Plan:
        """Return whom such an order of the account would meet now."""
        return plan(
            self.book.sides[opposite(resting_side(side))],
            complement(own_price(side, price)),
            count,
            is_own=lambda order_id: account.has_resting(order_id, self.ticker),
            prevention=prevention,
        )

    def shortfall(self, account: Account, claim: Claim, *, without: LiveOrder | None = None) -> Money:
        """Return by how much the account cannot pay for such an order in advance, 0 if it can.

        What sets nothing more aside than now is always affordable.
        """
        others = [order.claim for order in account.resting(self.ticker) if order is not without]
        needed = self._required(account, [*others, claim])
        present = account.set_aside(self.ticker)
        return max(needed - present - max(account.available, 0), 0)

    def _required(self, account: Account, claims: Iterable[Claim]) -> Money:
        return required(account.position(self.ticker).count, claims, Terms(self.fees, account.unit))

    # Trades

    def take(self, order: LiveOrder, found: Plan, done: Proceedings, now_ns: Nanos) -> None:
        """Carry out an order's plan."""
        for order_id in found.own:
            self.end(self.live[order_id], "SelfTradeCancel", done, now_ns)
        maker = opposite(order.view.resting_side)
        for meeting in found.meetings:
            self.book.sides[maker].take(meeting.price, meeting.count)
            done.changes.append(Change(maker, meeting.price, -meeting.count, order.view))
            trade_id = self._identifiers.next_trade_id()
            done.deals.append(Deal(maker, meeting.price, meeting.count, trade_id, has_account=True))
            match = Match(complement(meeting.price), meeting.count, trade_id, is_taker=True, at_ns=now_ns)
            self._fill(order, match, done)
            self._serve(meeting.order_id, attrs.evolve(match, price=meeting.price, is_taker=False), done)

    def divide(self, deal: Deal, portions: Iterable[Portion], done: Proceedings, now_ns: Nanos) -> list[Deal]:
        """Divide a trade of a taker of the crowd by those whom it met, and fill the accounts' orders among them."""
        deals = []
        for portion in portions:
            trade_id = self._identifiers.next_trade_id()
            deals.append(Deal(deal.maker, deal.price, portion.count, trade_id, has_account=bool(portion.order_id)))
            match = Match(deal.price, portion.count, trade_id, is_taker=False, at_ns=now_ns)
            self._serve(portion.order_id, match, done)
        assert sum(part.count for part in deals) == deal.count, f"{deal} is not what was taken"
        return deals

    def _serve(self, order_id: str, match: Match, done: Proceedings) -> None:
        if order_id:
            order = self.live[order_id]
            self._fill(order, match, done)
            if order.view.remaining_count == 0:
                self._forget(order)

    def _fill(self, order: LiveOrder, match: Match, done: Proceedings) -> None:
        done.fills.append(fill(order, match, self.fees))
        done.add_order(order)

    # Resting and ending

    def rest(self, order: LiveOrder, done: Proceedings) -> None:
        """Put what remains of an order into the book, behind everything at its price."""
        view = order.view
        self.book.sides[view.resting_side].place(view.resting_price, view.order_id, view.remaining_count)
        done.changes.append(Change(view.resting_side, view.resting_price, view.remaining_count, view))
        self.live[view.order_id] = order
        order.account.add_resting(order)
        done.add_order(order)

    def settle_rest(self, order: LiveOrder, end: Reason | None, done: Proceedings, now_ns: Nanos) -> None:
        """Let what remains after trading rest, or go for the reason given; the order may be whole already."""
        if not order.view.remaining_count:
            done.add_order(order)
        elif end is None:
            self.rest(order, done)
        else:
            self._cancel(order, end, done, now_ns)

    def shrink(self, order: LiveOrder, count: Count, reason: Reason, done: Proceedings, now_ns: Nanos) -> None:
        """Take so much from a resting order, which keeps its place; all of it ends it."""
        remaining = order.view.remaining_count - count
        if not remaining:
            self.end(order, reason, done, now_ns)
            return
        if count:
            self._leave_level(order.view, count, reason, done)
        self.restate(order, attrs.evolve(order.view, remaining_count=remaining, reason=reason), done, now_ns)

    def requeue(self, order: LiveOrder, view: OrderView, done: Proceedings, now_ns: Nanos) -> None:
        """Take an order out and bring it back as another one, which may trade; with `post_only` it may not."""
        found = self.plan(order.account, view.side, view.price, view.remaining_count, view.self_trade_prevention)
        self._leave_level(order.view, order.view.remaining_count, "Amend", done)
        self._forget(order)
        self.restate(order, view, done, now_ns)
        if view.post_only and found.crosses:
            self._cancel(order, "PostOnlyCrossCancel", done, now_ns)
            return
        self.take(order, found, done, now_ns)
        self.settle_rest(order, "SelfTradeCancel" if found.is_cut else None, done, now_ns)

    def end(self, order: LiveOrder, reason: Reason, done: Proceedings, now_ns: Nanos) -> None:
        """Cancel a resting order."""
        self._leave_level(order.view, order.view.remaining_count, reason, done)
        self._forget(order)
        self._cancel(order, reason, done, now_ns)

    def end_all(self, orders: Iterable[LiveOrder], reason: Reason, now_ns: Nanos) -> Action:
        """Cancel resting orders in one action."""
        done = Proceedings(self.ticker)
        for order in list(orders):
            self.end(order, reason, done, now_ns)
        return self.conclude(done)

    def wipe(self, now_ns: Nanos) -> Action:
        """Remove everything from the book in one action, a level at a time."""
        done = Proceedings(self.ticker)
        for side, resting in self.book.sides.items():
            done.changes += (Change(side, price, -count) for price, count in resting.ladder())
            resting.clear()
        for order in list(self.live.values()):
            self._forget(order)
            self._cancel(order, "HaltCancel", done, now_ns)
        return self.conclude(done)

    def restate(self, order: LiveOrder, view: OrderView, done: Proceedings, now_ns: Nanos) -> None:
        """Give an order a new state."""
        order.view = attrs.evolve(view, updated_ns=now_ns)
        done.add_order(order)

    def _cancel(self, order: LiveOrder, reason: Reason, done: Proceedings, now_ns: Nanos) -> None:
        # The order is not in the book, or not any more.
        view = attrs.evolve(order.view, remaining_count=0, status="canceled", reason=reason)
        self.restate(order, view, done, now_ns)

    def _leave_level(self, view: OrderView, count: Count, reason: Reason, done: Proceedings) -> None:
        side: Side = view.resting_side
        self.book.sides[side].reduce(view.resting_price, view.order_id, count)
        cause = None if reason in _VENUES else view
        done.changes.append(Change(side, view.resting_price, -count, cause))

    def _forget(self, order: LiveOrder) -> None:
        del self.live[order.view.order_id]
        order.account.remove_resting(order)

    def conclude(self, done: Proceedings) -> Action:
        """Set aside what the accounts' orders require now, and return the action."""
        for account in done.accounts.values():
            claims = [order.claim for order in account.resting(self.ticker)]
            account.change_set_aside(self.ticker, self._required(account, claims))
        return done.action()
