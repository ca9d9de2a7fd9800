"""The book of a simulated market: two ladders of resting bids, on the market's price grid.

A level is one number as long as only the crowd stands there. The first order of an account turns it into a queue, and
it stays one until the last such order has gone, so that the crowd alone costs nothing more.
"""

from bisect import bisect_left, insort

import msgspec

from rlflow.exchange.matching.grid import Grid, named_grid
from rlflow.exchange.matching.level_queue import LevelQueue, Portion
from rlflow.exchange.wire.items import Image, Ladder
from rlflow.units import ONE_DOLLAR, PRICE_PER_CENT, Count, Price, Side

LINEAR_CENT = "linear_cent"


class RestingSide:
    """The bids of one side; prices ascend, so the best is the last. A change moves a list of some forty entries."""

    def __init__(self) -> None:
        self.prices: list[Price] = []
        self.sizes: dict[Price, Count] = {}
        self.best: Price = 0
        """The highest bid, 0 when there is none."""
        self._queues: dict[Price, LevelQueue] = {}

    def __len__(self) -> int:
        return len(self.prices)

    # The crowd

    def change(self, price: Price, delta: Count) -> None:
        """Let the crowd add to a level, at its back, or withdraw from it; not more than `crowd` says it has there."""
        if self._queues:
            self._queue_crowd(price, delta)
        old = self.sizes.get(price, 0)
        new = old + delta
        assert new >= 0, f"{old} {delta:+} at {price}"
        prices = self.prices
        if new == 0:
            del self.sizes[price]
            del prices[bisect_left(prices, price)]
            self.best = prices[-1] if prices else 0
            return
        self.sizes[price] = new
        if old == 0:
            insort(prices, price)
            self.best = prices[-1]

    def crowd(self, price: Price) -> Count:
        """Return what the crowd may withdraw from a level."""
        queue = self._queues.get(price)
        return self.sizes.get(price, 0) if queue is None else queue.crowd

    def _queue_crowd(self, price: Price, delta: Count) -> None:
        queue = self._queues.get(price)
        if queue is None:
            return
        if delta > 0:
            queue.append("", delta)
        else:
            queue.withdraw(-delta)

    def _resize(self, price: Price, delta: Count) -> None:
        # The queue is right already. `change` has it all in one place because the crowd alone calls it, very often.
        queues, self._queues = self._queues, {}
        self.change(price, delta)
        self._queues = queues

    # Orders of accounts

    def place(self, price: Price, order_id: str, count: Count) -> None:
        """Put an account's order behind everything at its level."""
        queue = self._queues.setdefault(price, LevelQueue(self.sizes.get(price, 0)))
        queue.append(order_id, count)
        self._resize(price, count)

    def reduce(self, price: Price, order_id: str, count: Count) -> None:
        """Take so much from an account's order, which keeps its place; all of it removes it."""
        self._queues[price].reduce(order_id, count)
        self._drop_queue(price)
        self._resize(price, -count)

    def take(self, price: Price, count: Count) -> list[Portion]:
        """Serve a taker from the front of a level and return whom it met, in order; not more than there is."""
        self._resize(price, -count)
        queue = self._queues.get(price)
        if queue is None:
            return [Portion("", count)]
        taken = queue.take(count)
        self._drop_queue(price)
        return taken

    def portions(self, price: Price) -> list[Portion]:
        """Return a level's queue, front first; not to be changed."""
        queue = self._queues.get(price)
        return [Portion("", self.sizes[price])] if queue is None else queue.portions

    def ahead(self, price: Price, order_id: str) -> Count:
        """Return how much is served before an account's order that rests there."""
        return self._queues[price].ahead(order_id)

    def has_orders(self, price: Price) -> bool:
        """Return whether an account has an order at the level."""
        return price in self._queues

    def _drop_queue(self, price: Price) -> None:
        if not self._queues[price].has_orders:
            del self._queues[price]

    def clear(self) -> None:
        """Remove everything, orders of accounts too."""
        self.prices.clear()
        self.sizes.clear()
        self._queues.clear()
        self.best = 0

    def ladder(self) -> Ladder:
        """Return all levels, ascending."""
        return tuple((price, self.sizes[price]) for price in self.prices)


class Level(msgspec.Struct, frozen=True):
    """Where bids of one side and price stand."""

    side: Side
    price: Price


class SimulatedBook:
    """One market's bids and the clock of its last change."""

    def __init__(self, ticker: str, market_id: str, grid: Grid | None = None) -> None:
        self.ticker = ticker
        self.ticker_json = msgspec.json.encode(ticker).decode()
        """As it stands in a frame, quoted."""
        self.market_id = market_id
        self.names_json = f'"market_ticker":{self.ticker_json},"market_id":"{market_id}"'
        """As they begin a frame's body."""
        self.clock = 0
        self.sides: dict[Side, RestingSide] = {"yes": RestingSide(), "no": RestingSide()}
        self.grid = grid or named_grid(LINEAR_CENT)
        """A market's structure may change while it trades; resting orders stay where they are."""
        self.taken: dict[Level, list[Portion]] = {}
        """What takers of the crowd got from levels with orders of accounts, until the engine settles it."""

    @property
    def spread(self) -> Price:
        """What a contract costs more to buy than it brings; at least a cent between two actions."""
        return ONE_DOLLAR - self.sides["yes"].best - self.sides["no"].best

    def highest_bid(self, side: Side) -> Price:
        """Return the best price at which the crowd bids: a cent away from the other side; 0 if there is no room."""
        highest = ONE_DOLLAR - PRICE_PER_CENT - self.sides["no" if side == "yes" else "yes"].best
        grid = self.grid
        return grid.floor(highest) if highest >= grid.lowest else 0

    def on_grid(self, price: Price) -> Price:
        """Return the nearest price at or below that the market allows, at least one tick."""
        return self.grid.floor(price)

    def crowd(self, side: Side, price: Price) -> Count:
        """Return what the crowd may withdraw from a level."""
        return self.sides[side].crowd(price)

    def take(self, maker: Side, price: Price, count: Count) -> None:
        """Serve a taker of the crowd from the front of a level, whoever stands there.

        The caller publishes the trade and the change; what accounts lost waits in `taken` for the engine.
        """
        resting = self.sides[maker]
        if resting.has_orders(price):
            self.taken.setdefault(Level(maker, price), []).extend(resting.take(price, count))
        else:
            resting.change(price, -count)

    def image(self) -> Image:
        """Return the whole book as it is now."""
        yes, no = self.sides["yes"].ladder(), self.sides["no"].ladder()
        return Image(self.ticker, self.market_id, self.clock, yes, no)
