"""The random numbers of one simulated market, from one seed.

Only `random()` of Python's module is called, whose sequence is guaranteed for a seed; its other distributions may
change between versions.
"""

import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_STEPS = 4096
NORMAL_QUANTILES = tuple(NormalDist().inv_cdf((step + 0.5) / _STEPS) for step in range(_STEPS))
"""Evenly spaced quantiles of the standard normal distribution."""


class Draws:
    """Random numbers; equal seeds give equal ones, call for call."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.random = random.Random(seed).random  # noqa: S311  # order flow, not a secret

    def branch(self, name: str) -> "Draws":
        """Return other random numbers of the same seed, which do not depend on how many were drawn here."""
        return Draws(f"{self._seed} {name}")

    def chance(self, probability: float) -> bool:
        """Return True that often."""
        return self.random() < probability

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values, each as likely as any other: a draw from a table of evenly spaced quantiles."""
        return values[int(self.random() * len(values))]

    def within(self, values: Sequence[int]) -> int:
        """Return a number from between two neighbours of an ascending table of evenly spaced quantiles."""
        place = self.random() * (len(values) - 1)
        number = int(place)
        return int(values[number] + (values[number + 1] - values[number]) * (place - number))

    def normal(self) -> float:
        """Return a standard normal number, at most 3.7 from 0."""
        return NORMAL_QUANTILES[int(self.random() * _STEPS)]
