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
        self._due: float | None = None

    @property
    def worst_lag_s(self) -> float:
        """The longest hold-up of the last minute."""
        # Who asks may be the first to run behind a hold-up.
        overdue = 0.0 if self._due is None else trio.current_time() - self._due
        return max(overdue, *self._lags, 0.0)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._due = trio.current_time() + INTERVAL_S
            await trio.sleep_until(self._due)
            self._lags.append(trio.current_time() - self._due)
