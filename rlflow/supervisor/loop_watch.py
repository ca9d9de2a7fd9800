"""A watch over the event loop: how long it was held up lately."""

from collections import deque

import trio

INTERVAL_S = 0.1
# The worst of the last minute is shown.
REMEMBERED = 600


class LoopWatch:
    """Sleeps for 100 ms over and over; what it oversleeps is time in which nothing else ran either."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def worst_lag_s(self) -> float:
        """The longest hold-up of the last minute."""
        return max(self._lags, default=0.0)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            due = trio.current_time() + INTERVAL_S
            await trio.sleep_until(due)
            self._lags.append(trio.current_time() - due)
