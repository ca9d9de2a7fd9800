"""When something happens in a simulated market: random, in bursts, with long silences, as in recorded ones.

The intensity of actions is doubly stochastic: a level for the market's whole life, a slow part with a memory of half a
minute and a quick one with a memory of a fifth of a second, all lognormal. In the time that this intensity makes, the
gaps between actions are lognormal too, so that actions come in volleys of a few milliseconds. A homogeneous Poisson
stream has a variance of counts per second equal to their mean; the recorded one, and this one, a hundred times that.
"""

import functools
import math

import attrs

from rlflow.exchange.crowd.draws import NORMAL_QUANTILES, Draws
from rlflow.units import Nanos

_CELL_NS: Nanos = 50_000_000
"""The intensity is constant for so long."""
# Actions of one engine are so far apart at least, on average.
_LEAST_NS = 300_000


@attrs.frozen
class Tempo:
    """How a market's activity varies. The numbers are standard deviations of logarithms, and seconds."""

    actions_per_s: float = 22.5
    """The mean, without echoes and without those of hasty owners: a third of all."""
    life: float = 0.36
    slow: float = 0.65
    slow_memory_s: float = 8.5
    quick: float = 1.3
    quick_memory_s: float = 0.4
    gap: float = 1.25
    highest: float = 2.82
    """The logarithm of the intensity stays this close to its mean upwards."""
    echo: float = 0.28
    """So many actions follow the last one at once."""
    longest_s: float = 15.0
    """No silence is longer."""


NATURAL = Tempo()
"""The recorded market's."""
LIVELY = Tempo(life=0.0, slow=0.4, quick=0.9, gap=1.2, longest_s=1.5)
"""For whoever looks for the first time and would take a real silence for a fault."""


class Activity:
    """Says when the next action is due."""

    def __init__(self, draws: Draws, began_ns: Nanos, tempo: Tempo = NATURAL) -> None:
        self._draws = draws
        self._tempo = tempo
        self._slow = _Memory(tempo.slow, tempo.slow_memory_s, draws)
        self._quick = _Memory(tempo.quick, tempo.quick_memory_s, draws)
        variance = tempo.life**2 + tempo.slow**2 + tempo.quick**2
        self._level = math.log(tempo.actions_per_s * 1e-9) + tempo.life * draws.normal() - variance / 2
        self._highest = math.log(tempo.actions_per_s * 1e-9) + tempo.highest
        self._gaps = _gaps(tempo.gap)
        self._longest_ns = round(tempo.longest_s * 1e9)
        self._cell_ends_ns = began_ns
        self._intensity = 0.0

    def next_ns(self, at_ns: Nanos) -> Nanos:
        """Return when the action after one at `at_ns` is due; times must not go back."""
        draws = self._draws
        due_ns = at_ns + int(_LEAST_NS * (0.3 + draws.random()))
        if draws.random() < self._tempo.echo:
            return due_ns
        left = draws.pick(self._gaps)
        latest_ns = at_ns + self._longest_ns
        if due_ns - self._cell_ends_ns > self._longest_ns:
            # Nobody asked for long; what the intensity did meanwhile is of no interest.
            self._cell_ends_ns = due_ns
        while due_ns < latest_ns:
            while self._cell_ends_ns <= due_ns:
                self._begin_cell()
            rest_ns = self._cell_ends_ns - due_ns
            needed_ns = left / self._intensity
            if needed_ns <= rest_ns:
                return min(due_ns + int(needed_ns), latest_ns)
            left -= rest_ns * self._intensity
            due_ns = self._cell_ends_ns
        return latest_ns

    def _begin_cell(self) -> None:
        self._cell_ends_ns += _CELL_NS
        level = self._level + self._slow.step() + self._quick.step()
        self._intensity = math.exp(min(level, self._highest))


@functools.cache
def _gaps(deviation: float) -> tuple[float, ...]:
    """Return quantiles of a lognormal distribution with mean 1."""
    return tuple(math.exp(deviation * normal - deviation**2 / 2) for normal in NORMAL_QUANTILES)


class _Memory:
    """A stationary normal process that forgets exponentially, stepped once a cell."""

    def __init__(self, deviation: float, memory_s: float, draws: Draws) -> None:
        self._draws = draws
        self._keep = math.exp(-_CELL_NS * 1e-9 / memory_s)
        self._shock = deviation * math.sqrt(1 - self._keep**2)
        self._value = deviation * draws.normal()

    def step(self) -> float:
        self._value = self._keep * self._value + self._shock * self._draws.normal()
        return self._value
