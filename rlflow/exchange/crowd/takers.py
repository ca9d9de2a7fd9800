"""The part of the simulated crowd that trades at once, with whoever rests."""

from rlflow.exchange.crowd import flow_tables as tables
from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.crowd.resting_orders import Crowd, CrowdOrder
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.happenings import Change, CrowdHappening, Deal
from rlflow.units import Count, Nanos, Price, Side, complement, opposite

_TRADE, _MOST_TRADES = 0.045e-9, 0.15
"""A trade is the likelier the longer there was none: by so much a nanosecond, up to so much."""
_HEAT, _COOLING = 0.002, 0.99
"""A trade makes another one likely at once."""
_MAKERS = (1, 3, 3, 3, 3, 3, 3, 3)
"""How many orders of a level give a taker trades of their own, at most."""


class Takers:
    """Sweep the best levels of one book."""

    def __init__(self, book: SimulatedBook, crowd: Crowd, draws: Draws, began_ns: Nanos) -> None:
        self._book = book
        self._crowd = crowd
        self._draws = draws
        self._heat, self._traded_ns = 0.0, began_ns

    def likelihood(self, at_ns: Nanos) -> float:
        """Return the share of trades among the actions now; to be asked once an action, for it cools down."""
        self._heat *= _COOLING
        return self._heat + min((at_ns - self._traded_ns) * _TRADE, _MOST_TRADES)

    def trade(self, maker: Side, at_ns: Nanos) -> list[CrowdHappening]:
        """Let a taker sweep the best levels of a side; nothing if it is empty."""
        deals = self._sweep(maker, self._draws.pick(tables.TAKER_SIZES))
        if not deals:
            return []
        self._heat, self._traded_ns = _HEAT, at_ns
        rest = self._rest_of_taker(opposite(maker), deals, at_ns)
        taken: dict[Price, Count] = {}
        for deal in deals:
            taken[deal.price] = taken.get(deal.price, 0) + deal.count
        for price, count in taken.items():
            self._book.take(maker, price, count)
            self._crowd.fit(maker, price, self._book.crowd(maker, price))
        changes = [*rest, *(Change(maker, price, -count) for price, count in taken.items())]
        # One in twenty trades is published before the changes that it made (5.4 % in the recordings).
        return [*deals, *changes] if self._draws.chance(0.05) else [*changes, *deals]

    def _sweep(self, maker: Side, budget: Count) -> list[Deal]:
        """Return what an order of this size takes from the best three levels, best first, at their prices."""
        resting = self._book.sides[maker]
        deals: list[Deal] = []
        for price in resting.prices[:-4:-1]:
            count = min(budget, resting.sizes[price])
            deals += self._portions(maker, price, count)
            budget -= count
            if not budget:
                break
        return deals

    def _portions(self, maker: Side, price: Price, count: Count) -> list[Deal]:
        """Return a deal with each order that is met; only one where an account's order may be among them."""
        deals: list[Deal] = []
        if not self._book.sides[maker].has_orders(price):
            most = self._draws.pick(_MAKERS) - 1
            for order in self._crowd.at(maker, price)[:most]:
                if order.size >= count:
                    break
                deals.append(Deal(maker, price, order.size))
                count -= order.size
        return [*deals, Deal(maker, price, count)]

    def _rest_of_taker(self, taker: Side, deals: list[Deal], at_ns: Nanos) -> list[Change]:
        """Return the rest of an order that took whole levels, now and then, resting at its own limit.

        The venue publishes it before the levels that it took: until they go, the book is locked or crossed.
        """
        maker, limit = opposite(taker), deals[-1].price
        last_level = sum(deal.count for deal in deals if deal.price == limit)
        if last_level < self._book.sides[maker].sizes[limit] or not self._draws.chance(0.5):
            return []
        order = CrowdOrder(taker, complement(limit), self._draws.pick(tables.MID_SIZES))
        self._crowd.plan(order, at_ns, self._draws.within(tables.PLAIN_LIVES))
        return [self._crowd.rest(order)]
