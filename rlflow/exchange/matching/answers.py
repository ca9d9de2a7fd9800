"""What the engine answers to a verb about one order."""

from collections.abc import Iterator

import attrs

from rlflow.exchange.matching.happenings import Filled
from rlflow.exchange.matching.orders import OrderView
from rlflow.exchange.matching.proceedings import Action
from rlflow.units import ONE_CONTRACT, Count, Money


@attrs.frozen
class Answer:
    """The order afterwards, and what happened on the way."""

    order: OrderView
    action: Action
    reduced_by: Count = 0
    """By a cancel or a decrease."""

    @property
    def fill_count(self) -> Count:
        """How much this verb itself traded."""
        return sum(fill.count for fill in self._fills())

    @property
    def average_fill_price(self) -> Money | None:
        """The YES price of a contract in micro-dollars, rounded half up; None if nothing traded."""
        return self._per_contract(sum(fill.price * fill.count for fill in self._fills()))

    @property
    def average_fee_paid(self) -> Money | None:
        """The fee of a contract in micro-dollars, rounded half up; None if nothing traded."""
        return self._per_contract(sum(fill.fee for fill in self._fills()))

    def _fills(self) -> Iterator[Filled]:
        for happening in self.action.happenings:
            if isinstance(happening, Filled) and happening.order_id == self.order.order_id:
                yield happening

    def _per_contract(self, total: Money) -> Money | None:
        count = self.fill_count
        return (2 * total * ONE_CONTRACT + count) // (2 * count) if count else None
