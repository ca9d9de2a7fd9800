"""The orders of the simulated crowd: where they rest, and when their owners want to change them.

The book knows only how much the crowd has at a level; this knows of whom. Takers and accounts change the book without
asking, so what is said here of a level is at least what the crowd has there, never less.
"""

import heapq
import itertools

import msgspec

from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.happenings import Change, CrowdHappening
from rlflow.units import Count, Nanos, Price, Side

_HASTY_NS: Nanos = 250_000_000
"""Owners with shorter plans than this are programs with timers, which wait for nobody."""
_NEVER: Nanos = 1 << 62


class CrowdOrder(msgspec.Struct, eq=False, gc=False):
    """One order; `size` is 0 while it does not rest."""

    side: Side
    price: Price
    size: Count
    behind: int = 0
    """Of a quote: cents behind the best possible bid at which it likes to be."""
    is_resized: bool = False
    """Of a quote: it takes another size when it moves."""
    is_quote: bool = False


class Crowd:
    """All orders of the crowd in one market. Each step costs a logarithm of their number, some hundred."""

    def __init__(self, book: SimulatedBook) -> None:
        self._sides = book.sides
        self._levels: dict[Side, dict[Price, list[CrowdOrder]]] = {"yes": {}, "no": {}}
        self._hasty: list[tuple[Nanos, int, CrowdOrder]] = []
        self._ends: list[tuple[Nanos, int, CrowdOrder]] = []
        self._moves: list[tuple[Nanos, int, CrowdOrder]] = []
        self._numbers = itertools.count()

    def rest(self, order: CrowdOrder) -> Change:
        """Put an order into the book, behind the others at its price."""
        side, price, size = order.side, order.price, order.size
        levels = self._levels[side]
        level = levels.get(price)
        if level is None:
            levels[price] = [order]
        else:
            level.append(order)
        self._sides[side].change(price, size)
        return Change(side, price, size)

    def withdraw(self, order: CrowdOrder) -> list[CrowdHappening]:
        """Take an order out of the book; nothing if takers have left nothing of it."""
        side, price, wanted = order.side, order.price, order.size
        resting = self._sides[side]
        left = resting.crowd(price)
        count = wanted if wanted < left else left
        self._leave(order)
        if not count:
            return []
        resting.change(price, -count)
        return [Change(side, price, -count)]

    def _leave(self, order: CrowdOrder) -> None:
        # Out of its level; it has no size afterwards.
        levels = self._levels[order.side]
        level = levels[order.price]
        level.remove(order)
        if not level:
            del levels[order.price]
        order.size = 0

    def at(self, side: Side, price: Price) -> list[CrowdOrder]:
        """Return the orders at a price, those that are served first in front; not to be changed."""
        return self._levels[side].get(price, [])

    def fit(self, side: Side, price: Price, count: Count) -> None:
        """Let a level hold no more than `count`: takers have served themselves, from the front."""
        level = self.at(side, price)
        surplus = sum(order.size for order in level) - count
        while surplus > 0:
            first = level[0]
            if first.size > surplus:
                first.size -= surplus
                return
            surplus -= first.size
            self._leave(first)

    def plan(self, order: CrowdOrder, at_ns: Nanos, stay_ns: Nanos) -> None:
        """Note when the owner wants to cancel an order, or to move a quote."""
        heap = self._hasty if stay_ns < _HASTY_NS else self._moves if order.is_quote else self._ends
        heapq.heappush(heap, (at_ns + stay_ns, next(self._numbers), order))

    @property
    def hasty_due_ns(self) -> Nanos:
        """When the next order of a hasty owner is due."""
        hasty = self._hasty
        while hasty:
            due_ns, _, order = hasty[0]
            if order.size or order.is_quote:
                return due_ns
            heapq.heappop(hasty)
        return _NEVER

    def next_hasty(self) -> CrowdOrder:
        """Take the order of the hasty owner who is due first; there must be one."""
        return heapq.heappop(self._hasty)[2]

    def next_end(self, at_ns: Nanos) -> CrowdOrder | None:
        """Take the order that is to be cancelled first, if its time has come."""
        while self._ends and self._ends[0][0] <= at_ns:
            order = heapq.heappop(self._ends)[2]
            if order.size:
                return order
        return None

    def next_move(self) -> CrowdOrder | None:
        """Take the quote that is to be moved first, whether or not its time has come."""
        return heapq.heappop(self._moves)[2] if self._moves else None
