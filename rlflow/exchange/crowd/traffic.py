"""The order flow of all open markets: whose turn it is, and how far away the next action is.

Every market's flow runs in a time of its own, which goes faster the busier the market is to be. All of them are slices
of one `traffic time`, which stands still while nobody acts; how fast it runs against the clock follows from the rate.
"""

import heapq
import math

import attrs
import msgspec

from rlflow.exchange.crowd.activity import LIVELY, NATURAL, Tempo
from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.crowd.order_flow import OrderFlow
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.happenings import Change, CrowdHappening
from rlflow.units import Nanos, Price

NATURAL_RATE = 66.7
"""Messages in a second of a flow's own time, on average: 65.2 changes and 1.5 trades in the recordings."""
# Without the silences it is more; measured over some minutes of several seeds.
_RATES = {NATURAL: NATURAL_RATE, LIVELY: 75.0}


@attrs.define(eq=False)
class _Lane:
    """One open market; `pace` seconds of its flow pass in a second of traffic time."""

    book: SimulatedBook
    flow: OrderFlow
    weight: float
    pace: float
    began: float
    """The traffic time at which it opened."""
    is_open: bool = True

    @property
    def due(self) -> float:
        """The traffic time of its next action, in nanoseconds."""
        return self.began + self.flow.next_due_ns / self.pace


class Turn(msgspec.Struct, gc=False):
    """One action of the crowd in one market."""

    book: SimulatedBook
    happenings: list[CrowdHappening]
    """May be empty."""


class Traffic:
    """The flows. The same seed, and the same markets opened between the same turns, give the same turns."""

    def __init__(self, seed: int, rate: float) -> None:
        """Start with no market; `rate` is the mean number of messages a second of all together, or infinite."""
        self._seed = seed
        self._rate = rate
        self._lanes: dict[str, _Lane] = {}
        self._heap: list[tuple[float, int, _Lane]] = []
        self._opened = 0
        self._now = 0.0
        self._load = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no market is open."""
        return not self._lanes

    def open(
        self,
        book: SimulatedBook,
        fair: Price,
        *,
        weight: float = 1.0,
        closes_in_ns: Nanos | None = None,
        tempo: Tempo = NATURAL,
    ) -> list[Change]:
        """Let a market with an empty book begin; return its first orders, which stand in the book already.

        Args:
            book: Empty.
            fair: Where its price begins.
            weight: How busy it is, compared to the others.
            closes_in_ns: When its question will be decided, from now on; None: never.
            tempo: How its activity varies.
        """
        self._opened += 1
        self._load += weight
        pace = weight * NATURAL_RATE / _RATES.get(tempo, NATURAL_RATE)
        draws = Draws(f"rlflow {self._seed} {self._opened} {book.ticker}")
        closes_ns = None if closes_in_ns is None else self._flow_time(closes_in_ns, pace)
        flow = OrderFlow(book, draws, fair, began_ns=0, closes_ns=closes_ns, tempo=tempo)
        lane = self._lanes[book.ticker] = _Lane(book, flow, weight, pace, self._now)
        self._push(lane)
        return [
            Change(side, price, size) for side, resting in book.sides.items() for price, size in resting.ladder()[::-1]
        ]

    def _flow_time(self, span_ns: Nanos, pace: float) -> Nanos | None:
        """Return how far a market's flow gets in a span of the clock, None if nobody can say."""
        return None if math.isinf(self._rate) else max(round(span_ns * self._speed * pace), 1)

    @property
    def _speed(self) -> float:
        """Seconds of traffic time in a second of the clock."""
        return self._rate / (NATURAL_RATE * self._load)

    def close(self, ticker: str) -> Price | None:
        """Let a market's crowd go, leaving its orders where they are; return its last fair price, None if not open."""
        lane = self._lanes.pop(ticker, None)
        if lane is None:
            return None
        lane.is_open = False
        self._load = self._load - lane.weight if self._lanes else 0.0
        return lane.flow.fair

    def _push(self, lane: _Lane) -> None:
        self._opened += 1
        heapq.heappush(self._heap, (lane.due, self._opened, lane))

    def gap_s(self) -> float:
        """Return how long after the last action the next is due, in seconds; infinite while no market is open."""
        while self._heap and not self._heap[0][2].is_open:
            heapq.heappop(self._heap)
        if not self._heap:
            return math.inf
        return max(self._heap[0][0] - self._now, 0.0) * 1e-9 / self._speed

    def turn(self) -> Turn | None:
        """Carry out the next action; None if no market is open."""
        heap = self._heap
        while heap:
            due, _, lane = heap[0]
            if lane.is_open:
                self._now = due if due > self._now else self._now
                happenings = lane.flow.act(lane.flow.next_due_ns)
                self._opened += 1
                heapq.heapreplace(heap, (lane.due, self._opened, lane))
                return Turn(lane.book, happenings)
            heapq.heappop(heap)
        return None
