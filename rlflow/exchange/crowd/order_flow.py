"""What happens in one simulated market: actions of a made-up crowd that keep its book plausible.

How a driver uses it: it carries out `flow.act(at_ns)` when `flow.next_due_ns` has come, and gets what the action
changed. Time is the driver's: any nanoseconds that do not go back, from `began_ns` on; a driver that lets them run
faster or slower than the clock scales everything, rates, silences and lifetimes alike. An action that comes late
should be given the time at which it was due, unless the time in between is to be forgotten. `Tempo` says how busy the
market is; NATURAL is the recorded one's 65 deltas a second.

Every order has an owner's plan: plain orders a lifetime, quotes the time until they are moved. `Activity` says when
something happens, and then what is most overdue happens first, so that orders follow their plans only as far as the
activity allows. `FairPrice` says where the best bids may be; what stands beyond gives way or is traded.
"""

from rlflow.exchange.crowd import flow_tables as tables
from rlflow.exchange.crowd.activity import NATURAL, Activity, Tempo
from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.crowd.fair_price import FairPrice
from rlflow.exchange.crowd.resting_orders import Crowd, CrowdOrder
from rlflow.exchange.crowd.takers import Takers
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.happenings import CrowdHappening
from rlflow.units import ONE_DOLLAR, PRICE_PER_CENT, Count, Nanos, Price, Side, opposite

# These numbers are fitted by hand, so that all figures of tests/market_targets.py are met: `just calibrate`.
_QUOTES = 6
"""Of each side; moved every second or so."""
_MOVE = 0.18
"""The share of quotes in the actions; what is left are trades, and plain orders that come and go."""
_FLICKER = 0.4
"""Of the plain orders near the best."""
_IMPROVE = 0.78
"""Of the orders near the best, where a better bid is sensible."""
_STANDING = 0.05
"""Of the new orders, where there are few levels."""
_TOGETHER = 0.04
"""Of the moves of quotes, two in one action."""
_BRIEF = 0.94
"""Of the orders that improve on the best: they stay for no longer than those far behind."""
_FIRST = 0.3
"""Of the quotes that move while a better bid is sensible: they go there."""
_STRAY, _LOST = 3, 20
"""Cents behind where it likes to be that a quote goes, and from which it comes straight back."""
_YIELD, _HIT = 0.8, 0.2
"""Of the actions with something beyond the fair price that remove it; of these, trades."""
_FEW_CENTS: Price = 700
"""Who wants to bid below a cent bids this near the best."""
_FLOOR: Price = 300
"""Up to here nearly every level has an order for good; above, it depends on the market."""
# A step over a cent's border counts from here on, so that a price on the border does not flutter.
_BORDER: Price = 150


class OrderFlow:
    """Acts on one book; between two actions it is neither crossed nor locked."""

    def __init__(
        self,
        book: SimulatedBook,
        draws: Draws,
        fair: Price,
        *,
        began_ns: Nanos = 0,
        closes_ns: Nanos | None = None,
        tempo: Tempo = NATURAL,
    ) -> None:
        self.book = book
        self._sides = book.sides
        self._draws = draws
        self._fair = FairPrice(draws.branch("fair price"), fair, began_ns, closes_ns)
        self._cent = fair // PRICE_PER_CENT * PRICE_PER_CENT
        self._limits = self._sensible()
        """The best bid of each side that the crowd thinks sensible; 0 where it should not bid."""
        self._activity = Activity(draws.branch("activity"), began_ns, tempo)
        self._crowd = Crowd(book)
        self._takers = Takers(book, self._crowd, draws, began_ns)
        self._density = 0.256 + 0.39 * draws.random()
        self._fill("yes", began_ns)
        self._fill("no", began_ns)
        self._busy_ns = self._activity.next_ns(began_ns)
        self._hasty_ns = self._crowd.hasty_due_ns
        self.next_due_ns = min(self._busy_ns, self._hasty_ns)
        """When the next action is due."""

    @property
    def fair(self) -> Price:
        """Where the crowd thinks the price of YES belongs; at the close of a market that has one, 0 or 10,000."""
        return self._fair.price

    def act(self, at_ns: Nanos) -> list[CrowdHappening]:
        """Carry out one action and return what it changed, in the order of publication.

        Nothing only if accounts' orders leave the crowd no room on either side.
        """
        crowd = self._crowd
        if self._hasty_ns <= at_ns and self._hasty_ns <= self._busy_ns:
            order = crowd.next_hasty()
            done = self._move(order, at_ns) if order.is_quote else crowd.withdraw(order)
        else:
            self._busy_ns = self._activity.next_ns(at_ns)
            if self._fair.step(at_ns):
                self._follow_fair()
            done = self._give_way(at_ns) or self._act(self._draws.random(), at_ns)
        if not done:
            done = self._add(at_ns)
        hasty_ns = self._hasty_ns = crowd.hasty_due_ns
        self.next_due_ns = hasty_ns if hasty_ns < self._busy_ns else self._busy_ns
        return done

    def _act(self, kind: float, at_ns: Nanos) -> list[CrowdHappening]:
        trade = _MOVE + self._takers.likelihood(at_ns)
        if kind < _MOVE:
            return self._requote(at_ns)
        if kind < trade:
            return self._takers.trade("yes" if self._draws.chance(0.5) else "no", at_ns)
        if self._draws.chance(0.75):
            order = self._crowd.next_end(at_ns)
            if order is not None:
                return self._crowd.withdraw(order)
        return []

    # Where bids may be

    def _follow_fair(self) -> None:
        price = self._fair.price
        if not self._cent - _BORDER + PRICE_PER_CENT < price < self._cent + _BORDER:
            self._cent = min(price - price % PRICE_PER_CENT, ONE_DOLLAR - PRICE_PER_CENT)
            self._limits = self._sensible()

    def _sensible(self) -> dict[Side, Price]:
        return {"yes": self._cent, "no": ONE_DOLLAR - PRICE_PER_CENT - self._cent}

    def _highest(self, side: Side) -> Price:
        """Return the best bid that is sensible and possible, 0 if there is none."""
        limit, possible = self._limits[side], self.book.highest_bid(side)
        return limit if limit < possible else possible

    def _price(self, highest: Price, cents: int) -> Price:
        """Return an allowed price so far behind the highest, 0 if that is 0."""
        if not highest:
            return 0
        price = highest - cents * PRICE_PER_CENT
        if cents:
            # Matters only where the market ticks in tenths of a cent.
            price += int(self._draws.random() * 10) * 10
        if price < PRICE_PER_CENT:
            price = highest - int(self._draws.random() * min(highest, _FEW_CENTS))
        return self.book.grid.floor(price)

    def _give_way(self, at_ns: Nanos) -> list[CrowdHappening]:
        """Remove something that stands beyond the fair price, mostly, if there is something."""
        limits = self._limits
        for side, resting in self._sides.items():
            best = resting.best
            if best > limits[side] and self._draws.chance(_YIELD):
                orders = self._crowd.at(side, best)
                if not orders or self._draws.chance(_HIT):
                    return self._takers.trade(side, at_ns)
                first = orders[-1]
                return self._shift(first) if first.is_quote else self._crowd.withdraw(first)
        return []

    # Plain orders

    def _add(self, at_ns: Nanos) -> list[CrowdHappening]:
        draws = self._draws
        side: Side = "yes" if draws.random() < 0.5 else "no"
        highest = self._highest(side)
        if not highest:
            side = opposite(side)
            highest = self._highest(side)
            if not highest:
                return []
        if draws.random() < _STANDING and len(self._sides[side]) < self._density * self._limits[side] / PRICE_PER_CENT:
            return self._stand(side, highest)
        behind = draws.pick(tables.PLACED_BEHIND)
        price = self._placed_price(side, behind, highest)
        size, life = self._plan(behind)
        if price > self._sides[side].best and draws.chance(_BRIEF):
            life = draws.within(tables.FAR_LIVES)
        order = CrowdOrder(side, price, size)
        self._crowd.plan(order, at_ns, life)
        return [self._crowd.rest(order)]

    def _plan(self, behind: int) -> tuple[Count, Nanos]:
        """Return the size and the lifetime of an order so many cents behind the best."""
        draws = self._draws
        if behind > tables.MID:
            return draws.pick(tables.FAR_SIZES), draws.within(tables.FAR_LIVES)
        if behind > tables.NEAR:
            return draws.pick(tables.MID_SIZES), draws.within(tables.MID_LIVES)
        if draws.chance(_FLICKER):
            return tables.FLICKER, draws.within(tables.FLICKER_LIVES)
        size = draws.pick(tables.NEAR_SIZES)
        return size, draws.within(tables.PLAIN_LIVES if size < tables.BLOCK else tables.BLOCK_LIVES)

    def _placed_price(self, side: Side, behind: int, highest: Price) -> Price:
        """Return where an order goes that its owner wants so far behind the best: better if there is room above."""
        best = self._sides[side].best
        room = (highest - best) // PRICE_PER_CENT
        if room > 0 and best:
            behind = 0 if behind <= tables.MID and self._draws.chance(_IMPROVE) else behind + room
        return self._price(highest, behind)

    def _stand(self, side: Side, highest: Price) -> list[CrowdHappening]:
        """Place an order for good, anywhere behind the best."""
        price = self.book.on_grid(int(self._draws.random() * highest))
        order = CrowdOrder(side, price, self._draws.pick(tables.STANDING_SIZES))
        return [self._crowd.rest(order)]

    # Quotes

    def _requote(self, at_ns: Nanos) -> list[CrowdHappening]:
        """Move the quote that should move first, now and then two at once."""
        done: list[CrowdHappening] = []
        for _ in range(2 if self._draws.chance(_TOGETHER) else 1):
            quote = self._crowd.next_move()
            if quote is not None:
                done += self._move(quote, at_ns)
        return done

    def _move(self, quote: CrowdOrder, at_ns: Nanos) -> list[CrowdHappening]:
        """Move a quote whose time has come, and plan its next move."""
        done = self._shift(quote)
        behind = self._highest(quote.side) - quote.price
        stays = tables.NEAR_STAYS if behind <= tables.NEAR * PRICE_PER_CENT else tables.FAR_STAYS
        self._crowd.plan(quote, at_ns, self._draws.within(stays))
        return done

    def _shift(self, quote: CrowdOrder) -> list[CrowdHappening]:
        """Put a quote elsewhere; back into the book if a taker took it."""
        draws, old, size = self._draws, quote.price, quote.size
        if quote.is_resized or not size:
            size_after = draws.pick(tables.RESIZED_SIZES if quote.is_resized else tables.QUOTE_SIZES)
        else:
            size_after = size
        removed = self._crowd.withdraw(quote) if size else []
        quote.price = self._next_price(quote, old)
        if not quote.price:
            return removed
        quote.size = size_after
        return [*removed, self._crowd.rest(quote)]

    def _next_price(self, quote: CrowdOrder, old: Price) -> Price:
        """Return a price some steps away, rather towards where the quote likes to be; 0 if there is no room."""
        draws, side = self._draws, quote.side
        highest = self._highest(side)
        behind = (highest - old) // PRICE_PER_CENT
        if not 0 <= behind <= quote.behind + _LOST:
            return self._price(highest, quote.behind)
        has_room = highest >= self._sides[side].best + PRICE_PER_CENT
        if has_room and quote.behind <= tables.MID and draws.chance(_FIRST):
            return highest
        step = draws.pick(tables.STEPS)
        is_nearer = draws.random() < (0.5 if behind == quote.behind else 0.7 if behind > quote.behind else 0.3)
        after = min(abs(behind - step if is_nearer else behind + step), quote.behind + _STRAY)
        return self._price(highest, after if after != behind else behind + 1)

    # The book at the start

    def _fill(self, side: Side, began_ns: Nanos) -> None:
        draws = self._draws
        for price in range(PRICE_PER_CENT, self._limits[side] + 1, PRICE_PER_CENT):
            is_floor = price <= _FLOOR
            if draws.chance(0.7 if is_floor else self._density):
                size = draws.pick(tables.FLOOR_SIZES if is_floor else tables.STANDING_SIZES)
                self._crowd.rest(CrowdOrder(side, price, size))
        for number in range(_QUOTES):
            behind = draws.pick(tables.QUOTED_BEHIND)
            quote = CrowdOrder(side, 0, 0, behind, is_resized=number % 3 == 0, is_quote=True)
            self._move(quote, began_ns)
