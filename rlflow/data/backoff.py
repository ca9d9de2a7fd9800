"""How long to wait before the next attempt at something outside."""

import random
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
CAP_S: Final = 30.0
LASTING_S: Final = 30.0


class Backoff:
    """Waits that double with each failure up to a cap, jittered, and begin anew behind a success that lasted.

    The jitter (half to all of the wait) keeps many clients from returning at the same moment. Times are in seconds.
    """

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        cap_s: float = CAP_S,
        lasting_s: float = LASTING_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._lasting_s = lasting_s
        self._uniform = uniform
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures since the last success that lasted."""
        return self._failures

    def after(self, lasted_s: float) -> float:
        """Return the wait after an attempt that failed, or ended when it had been a success for `lasted_s`."""
        if lasted_s >= self._lasting_s:
            self._failures = 0
        # The exponent is bounded because 2.0**1024 is an error.
        wait_s = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 64))
        self._failures += 1
        return self._uniform(wait_s / 2, wait_s)
