"""What happens in one simulated market: actions of made-up traders that keep its book plausible.

The mix is the recorded one: a third new or larger orders, a third smaller ones, a third moved from one price to
another, and now and then a trade, which takes the other side's best orders. A slow random walk (`fair`) says where the
traders think the price belongs; trades and better bids pull the book towards it.
"""

from rlflow.exchange.book import RestingSide, SimulatedBook
from rlflow.exchange.draws import IMPROVE, Draws
from rlflow.exchange.happenings import Change, CrowdHappening, Deal
from rlflow.units import PRICE_PER_CENT, Count, Price, Side, complement, opposite

FEWEST_LEVELS, MOST_LEVELS = 20, 40
# Contracts are taken away faster than they come above this, so that sizes do not grow for ever.
FULL_SIDE: Count = 8_000_00
# Keeps room for FEWEST_LEVELS whole cents on both sides.
LOWEST_FAIR: Price = 3_800

_ADD, _REDUCE, _REPRICE = 0.333, 0.666, 0.973
# The rest are trades: 2.5 % of all messages then.


class OrderFlow:
    """Acts on one book; between two actions it is neither crossed nor locked."""

    def __init__(self, book: SimulatedBook, draws: Draws, fair: Price) -> None:
        self.book = book
        self._draws = draws
        self._fair = fair
        self._fill("yes", fair - PRICE_PER_CENT)
        self._fill("no", complement(fair) - PRICE_PER_CENT)

    def act(self) -> list[CrowdHappening]:
        """Carry out one action and return what it changed, in the order of publication; never nothing."""
        draws = self._draws
        if draws.chance(0.02):
            self._move_fair()
        side = self._any_side()
        kind = draws.random()
        if kind < _ADD:
            return self._add(side)
        if kind < _REDUCE:
            return self._reduce(side)
        if kind < _REPRICE:
            return self._reprice(side)
        return self._trade()

    def _any_side(self) -> Side:
        return "yes" if self._draws.chance(0.5) else "no"

    def _pulled_side(self, strength: float) -> Side:
        """Return the side whose buyers would move the price towards where it belongs, mostly."""
        rising: Side = "yes" if self.book.doubled_mid < 2 * self._fair else "no"
        return rising if self._draws.chance(strength) else opposite(rising)

    def _move_fair(self) -> None:
        step = PRICE_PER_CENT if self._draws.chance(0.5) else -PRICE_PER_CENT
        self._fair = min(max(self._fair + step, LOWEST_FAIR), complement(LOWEST_FAIR))

    def _fill(self, side: Side, best: Price) -> None:
        for behind in range(26 + int(self._draws.random() * 6)):
            self.book.sides[side].change(best - behind * PRICE_PER_CENT, self._draws.size())

    def _apply(self, *changes: Change) -> list[CrowdHappening]:
        for change in changes:
            self.book.sides[change.side].change(change.price, change.delta)
        return list(changes)

    # New orders

    def _add(self, side: Side) -> list[CrowdHappening]:
        distance = self._draws.distance()
        if distance == IMPROVE or (self.book.spread > 2 * PRICE_PER_CENT and self._draws.chance(0.3)):
            improved = self._improve()
            if improved is not None:
                return self._apply(improved)
        resting = self.book.sides[side]
        price = self._price_behind(side, max(distance, 0))
        if price not in resting.sizes and len(resting) >= MOST_LEVELS:
            price = resting.behind_best(max(distance, 0))
        size = self._draws.size()
        if resting.total > FULL_SIDE:
            size = min(size, self._draws.size())
        return self._apply(Change(side, price, size))

    def _improve(self) -> Change | None:
        side = self._pulled_side(0.9)
        resting = self.book.sides[side]
        price = self.book.on_grid(resting.best + PRICE_PER_CENT)
        if price > self.book.highest_bid(side) or len(resting) >= MOST_LEVELS:
            return None
        return Change(side, price, self._draws.size())

    def _price_behind(self, side: Side, cents: int) -> Price:
        """Return an allowed price about so far behind the best, a free one where the side has few levels."""
        resting = self.book.sides[side]
        price = self.book.on_grid(resting.best - cents * PRICE_PER_CENT + self._below_a_cent(cents))
        attempts = 6 if len(resting) < FEWEST_LEVELS + 4 else 0
        while attempts and price in resting.sizes:
            attempts -= 1
            price = self.book.on_grid(resting.best - int(1 + self._draws.random() * 45) * PRICE_PER_CENT)
        return min(price, self.book.highest_bid(side))

    def _below_a_cent(self, cents: int) -> Price:
        # Matters only where the market ticks in tenths of a cent; never at the best itself.
        return int(self._draws.random() * 10) * 10 if cents else 0

    # Orders that shrink, vanish or move

    def _reduce(self, side: Side) -> list[CrowdHappening]:
        resting = self.book.sides[side]
        price = resting.behind_best(max(self._draws.distance(), 0))
        size = self._removable(resting, price, self._draws.size())
        return self._apply(Change(side, price, -size)) if size else self._add(side)

    def _removable(self, resting: RestingSide, price: Price, wanted: Count) -> Count:
        """Return how much can leave a level, 0 if nothing: the side keeps its fewest levels."""
        size = resting.crowd(price)
        if resting.total > FULL_SIDE:
            wanted = max(wanted, size // 2)
        if wanted < size:
            return wanted
        return size if len(resting) > FEWEST_LEVELS else size // 2

    def _reprice(self, side: Side) -> list[CrowdHappening]:
        resting = self.book.sides[side]
        old = resting.behind_best(max(self._draws.distance(), 0))
        new = self.book.on_grid(old + self._draws.pick((-3, -2, -1, 1, 2, 3)) * PRICE_PER_CENT)
        wanted = resting.sizes[old] if self._draws.chance(0.6) else self._draws.size()
        size = self._removable(resting, old, wanted)
        grows = new not in resting.sizes and size < resting.sizes[old]
        if not size or new == old or new > self.book.highest_bid(side) or (grows and len(resting) >= MOST_LEVELS):
            return self._add(side)
        return self._apply(Change(side, old, -size), Change(side, new, size))

    # Trades

    def _trade(self) -> list[CrowdHappening]:
        taker = self._pulled_side(0.75)
        maker = opposite(taker)
        is_urgent = self._draws.chance(0.1)
        deals = self._sweep(maker, self._best_two(maker) if is_urgent else self._draws.trade_size())
        if not deals:
            return self._add(maker)
        rest = self._rest_of_taker(taker, deals[-1]) if is_urgent or self._draws.chance(0.2) else []
        for deal in deals:
            self.book.take(maker, deal.price, deal.count)
        changes = [*self._apply(*rest), *(Change(maker, deal.price, -deal.count) for deal in deals)]
        # One in twenty trades is published before the changes that it made (5.4 % in the recordings).
        return [*deals, *changes] if self._draws.chance(0.05) else [*changes, *deals]

    def _best_two(self, side: Side) -> Count:
        resting = self.book.sides[side]
        return sum(resting.sizes[price] for price in resting.prices[-2:])

    def _sweep(self, maker: Side, budget: Count) -> list[Deal]:
        """Return what an order of this size takes from the best three levels, best first, at their prices."""
        resting = self.book.sides[maker]
        spare = len(resting) - FEWEST_LEVELS
        deals: list[Deal] = []
        for price in reversed(resting.prices[-3:]):
            size = resting.sizes[price]
            count = min(budget, size if spare > 0 else size - 1)
            if count > 0:
                deals.append(Deal(maker, price, count))
            if count < size:
                break
            budget -= count
            spare -= 1
        return deals

    def _rest_of_taker(self, taker: Side, last: Deal) -> list[Change]:
        """Return the rest of an order that took whole levels, now resting at its own limit.

        The venue publishes it before the levels that it took: until they go, the book is locked or crossed.
        """
        resting = self.book.sides[taker]
        if last.count < self.book.sides[last.maker].sizes[last.price] or len(resting) >= MOST_LEVELS:
            return []
        return [Change(taker, complement(last.price), self._draws.size())]
