"""What is random in the simulated order flow: tables of quantiles taken from recorded streams.

The figures are those of 39 windows of a 15-minute series recorded in August 2026 (2.1 million deltas). Drawing an entry
of a table needs one call of `random()`, whose sequence Python guarantees for a seed; the other distributions of its
`random` module may change between versions.
"""

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

from rlflow.units import ONE_CONTRACT, Count

T = TypeVar("T")

IMPROVE = -1
"""The distance of an order that is better than the best."""


class Draws:
    """Random numbers of one market, from one seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed).random  # noqa: S311  # order flow, not a secret
        self._gaps = _gaps()
        self._sizes = _sizes()
        self._trade_sizes = _trade_sizes()
        self._distances = _distances()

    def chance(self, probability: float) -> bool:
        """Return True that often."""
        return self.random() < probability

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values, each as likely as any other."""
        return values[int(self.random() * len(values))]

    def gap(self) -> float:
        """Return the time to the next action in units of its mean: half below 0.05, one in a hundred above 15."""
        return self.pick(self._gaps)

    def size(self) -> Count:
        """Return an order's size."""
        return self.pick(self._sizes)

    def trade_size(self) -> Count:
        """Return the size of an order that trades at once."""
        return self.pick(self._trade_sizes)

    def distance(self) -> int:
        """Return how many cents behind the best an order stands, or IMPROVE."""
        return self.pick(self._distances)


def _gaps() -> tuple[float, ...]:
    # Lognormal with sigma 2.45 has the recorded quantiles, in units of the mean (20 ms): 50 % 0.05, 75 % 0.26,
    # 90 % 1.1, 95 % 2.8, 99 % 15. The last 0.1 % are cut to 100 means, 2 s at the default rate: the recorded market
    # was silent for up to 14 s, but whoever looks for the first time takes such a silence for a fault.
    normal = NormalDist()
    raw = [math.exp(2.45 * normal.inv_cdf((step + 0.5) / 4096)) for step in range(4096)]
    longest = 100 * math.fsum(raw) / len(raw)
    cut = [min(gap, longest) for gap in raw]
    mean = math.fsum(cut) / len(cut)
    return tuple(gap / mean for gap in cut)


def _sizes() -> tuple[Count, ...]:
    # Percent by size: recorded favourites, a long tail of whole contracts, odd fractions; 16 % are fractional.
    favourites = {0.1: 12, 10: 12, 100: 9, 2000: 3, 40: 4, 25: 4, 30: 4, 15: 4, 50: 4}
    table = [round(size * ONE_CONTRACT) for size, percent in favourites.items() for _ in range(percent)]
    whole = [round(math.exp(math.log(400) * step / 39)) * ONE_CONTRACT for step in range(40)]
    odd = [41_20, 3_37, 97_50, 12_05]
    return (*table, *whole, *odd)


def _trade_sizes() -> tuple[Count, ...]:
    # Recorded quantiles 5/25/50/75/95/99 %: 0.1, 2.7, 10, 26, 100, 378 contracts.
    return (
        10,
        27,
        100,
        200,
        270,
        400,
        500,
        730,
        10_00,
        10_00,
        12_50,
        15_00,
        20_00,
        26_00,
        35_00,
        50_00,
        80_00,
        100_00,
        378_00,
    )


def _distances() -> tuple[int, ...]:
    # Per mille by cents behind the best.
    table = [IMPROVE] * 28 + [0] * 188 + [1] * 133 + [2] * 114
    table += [3 + step % 3 for step in range(226)] + [6 + step % 5 for step in range(180)]
    table += [11 + step % 10 for step in range(47)] + [21 + step % 25 for step in range(84)]
    return tuple(table)
