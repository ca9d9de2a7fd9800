"""Where the simulated crowd thinks the price belongs."""

import math
from statistics import NormalDist

from rlflow.exchange.crowd.draws import Draws
from rlflow.units import ONE_DOLLAR, PRICE_PER_CENT, Nanos, Price

_NORMAL = NormalDist()
_STEP = 0.0113
# An endless market stays between these.
_LOWEST, _HIGHEST = 15.0, 85.0
# Cents by which an endless market's price moves in a step.
_STEP_CENTS = 0.6
# Steps of a market's life, in which its question is decided: recorded prices move 2 cents in one second of ten.
_STEPS_OF_LIFE = 480


class FairPrice:
    """A random walk, in steps that the flow's activity makes.

    Of a market that closes, it is the chance that a random walk ends above 0: it moves little at first, more and more
    if it stays near the middle, and is 0 or 1 dollar at the close. Without a close it wanders between 15 and 85 cents.
    """

    def __init__(self, draws: Draws, price: Price, began_ns: Nanos, closes_ns: Nanos | None = None) -> None:
        self._draws = draws
        self._cents = price / PRICE_PER_CENT
        self._life_ns = 0 if closes_ns is None else closes_ns - began_ns
        self._closes_ns = closes_ns
        self._walked = _NORMAL.inv_cdf(min(max(price / ONE_DOLLAR, 0.01), 0.99))

    @property
    def price(self) -> Price:
        """The fair price of YES, 0 to 10,000."""
        return round(self._cents * PRICE_PER_CENT)

    def step(self, at_ns: Nanos) -> bool:
        """Move on, at about one action in ninety, and at the first one after the close; return whether it did."""
        if self._closes_ns is not None and at_ns >= self._closes_ns:
            return self._decide()
        if self._draws.random() >= _STEP:
            return False
        if self._closes_ns is None:
            self._cents = min(max(self._cents + _STEP_CENTS * self._draws.normal(), _LOWEST), _HIGHEST)
        else:
            self._walked += self._draws.normal() / math.sqrt(_STEPS_OF_LIFE)
            left = (self._closes_ns - at_ns) / self._life_ns
            self._cents = 100 * _NORMAL.cdf(self._walked / math.sqrt(left))
        return True

    def _decide(self) -> bool:
        before, self._cents = self._cents, 100.0 if self._walked > 0 else 0.0
        return self._cents != before
