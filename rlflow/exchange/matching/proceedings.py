"""What one action has brought about so far, and in which order it is published (protocol 9.3)."""

from collections.abc import Iterator

import attrs

from rlflow.exchange.matching.accounts import Account, LiveOrder
from rlflow.exchange.matching.happenings import Change, Deal, Filled, Happening, OrderChanged, PositionChanged


@attrs.frozen
class Action:
    """What one action changed in one market: it gets one clock and one time."""

    ticker: str
    happenings: list[Happening]
    """In the order of publication; may be empty."""

    @property
    def changes_book(self) -> bool:
        """Whether it is one of the changes that the clock counts; an order that comes and goes at once is none."""
        return any(isinstance(happening, Change) for happening in self.happenings)


@attrs.define(eq=False)
class Proceedings:
    """Collects the happenings of an action; of an order or a position only the last state is told."""

    ticker: str
    changes: list[Change] = attrs.Factory(list)
    deals: list[Deal] = attrs.Factory(list)
    fills: list[Filled] = attrs.Factory(list)
    orders: dict[str, OrderChanged] = attrs.Factory(dict)
    accounts: dict[str, Account] = attrs.Factory(dict)
    """Those whose orders or position changed."""
    settled: list[PositionChanged] = attrs.Factory(list)

    def add_order(self, order: LiveOrder) -> None:
        """Tell an order's state; the last one counts."""
        order.account.record(order)
        self.orders[order.view.order_id] = OrderChanged(order.view)
        self.accounts[order.account.key_id] = order.account

    def about_accounts(self) -> Iterator[Happening]:
        """Yield what the accounts are told: fills, then orders, then positions."""
        yield from self.fills
        yield from self.orders.values()
        for key_id in dict.fromkeys(fill.account for fill in self.fills):
            yield PositionChanged(self.accounts[key_id].position(self.ticker))
        yield from self.settled

    def action(self) -> Action:
        """Return the whole: deltas, trades, then the accounts'."""
        return Action(self.ticker, [*self.changes, *self.deals, *self.about_accounts()])
