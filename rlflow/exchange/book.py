"""The book of a simulated market: two ladders of resting bids, on the market's tick grid."""

from bisect import bisect_left, insort

import msgspec

from rlflow.exchange.items import Image, Ladder
from rlflow.units import ONE_DOLLAR, PRICE_PER_CENT, Count, Price, Side, opposite

TENTH_CENT: Price = 10
# `tapered_deci_cent`: tenths of a cent below 0.10 and above 0.90 dollars, whole cents between (protocol 4.6).
TAPER: Price = 1_000


class RestingSide:
    """The bids of one side; prices ascend, so the best is the last. A change moves a list of some forty entries."""

    def __init__(self) -> None:
        self.prices: list[Price] = []
        self.sizes: dict[Price, Count] = {}
        self.total: Count = 0

    def __len__(self) -> int:
        return len(self.prices)

    @property
    def best(self) -> Price:
        """The highest bid, 0 when there is none."""
        return self.prices[-1] if self.prices else 0

    def behind_best(self, levels: int) -> Price:
        """Return the price so many levels behind the best, the last one if there are not that many."""
        return self.prices[max(-1 - levels, -len(self.prices))]

    def change(self, price: Price, delta: Count) -> None:
        """Add `delta` to the level; it must not become negative."""
        old = self.sizes.get(price, 0)
        new = old + delta
        assert new >= 0, f"{old} {delta:+} at {price}"
        self.total += delta
        if new == 0:
            del self.sizes[price]
            del self.prices[bisect_left(self.prices, price)]
            return
        self.sizes[price] = new
        if old == 0:
            insort(self.prices, price)

    def ladder(self) -> Ladder:
        """Return all levels, ascending."""
        return tuple((price, self.sizes[price]) for price in self.prices)


class SimulatedBook:
    """One market's bids and the clock of its last change."""

    def __init__(self, ticker: str, market_id: str, *, is_tapered: bool = False) -> None:
        self.ticker = ticker
        self.ticker_json = msgspec.json.encode(ticker).decode()
        """As it stands in a frame, quoted."""
        self.market_id = market_id
        self.clock = 0
        self.sides: dict[Side, RestingSide] = {"yes": RestingSide(), "no": RestingSide()}
        self._is_tapered = is_tapered

    @property
    def spread(self) -> Price:
        """What a contract costs more to buy than it brings; at least a cent between two actions."""
        return ONE_DOLLAR - self.sides["yes"].best - self.sides["no"].best

    @property
    def doubled_mid(self) -> Price:
        """Twice the middle between the best YES bid and the best YES ask."""
        return self.sides["yes"].best + ONE_DOLLAR - self.sides["no"].best

    def highest_bid(self, side: Side) -> Price:
        """Return the best price that a new bid may have without meeting the other side."""
        return ONE_DOLLAR - PRICE_PER_CENT - self.sides[opposite(side)].best

    def on_grid(self, price: Price) -> Price:
        """Return the nearest price at or below that the market allows, at least one tick."""
        fine = self._is_tapered and not TAPER <= price <= ONE_DOLLAR - TAPER
        tick = TENTH_CENT if fine else PRICE_PER_CENT
        return max(price - price % tick, TENTH_CENT if self._is_tapered else PRICE_PER_CENT)

    def image(self) -> Image:
        """Return the whole book as it is now."""
        yes, no = self.sides["yes"].ladder(), self.sides["no"].ladder()
        return Image(self.ticker, self.market_id, self.clock, yes, no)
