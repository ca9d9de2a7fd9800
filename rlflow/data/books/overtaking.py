"""Whether the oldest capture's book of a market has fallen behind another's, by the venue's clock. Pure.

The clock of a change is the same on every connection (protocol 4.4), but connections are never level to the
millisecond. So a capture has fallen behind when for half a second it has not reached what another one had, and it has
caught up when it has all that any other has.
"""

from typing import Final

import attrs

from rlflow.units import Nanos

BEHIND_NS: Final[Nanos] = 500 * 10**6
"""Far above what connections to one venue differ by, far below the 25 s after which a dead one is left. A guess."""


@attrs.frozen
class _Lead:
    clock: int
    """What another capture had."""
    since_ns: int


class Overtaking:
    """Remembers which markets' oldest book is behind. Times are of a clock that never goes back."""

    def __init__(self) -> None:
        self._leads: dict[str, _Lead] = {}
        """Of books that are behind by now, the longest waiting first."""
        self._overtaken: set[str] = set()
        self.contested: set[str] = set()
        """The markets whose oldest book is behind by now, for however short a time; for others to read."""

    def is_overtaken(self, ticker: str, oldest: int, foremost: int, now_ns: int) -> bool:
        """Return whether a market's oldest book has fallen behind.

        Args:
            ticker: the market's.
            oldest: up to which clock that book has come.
            foremost: up to which the best of all books of the market has come, which is further.
            now_ns: the time.
        """
        if ticker in self._overtaken:
            return True
        lead = self._leads.get(ticker)
        if lead is None or oldest >= lead.clock:
            self._leads.pop(ticker, None)
            self._leads[ticker] = _Lead(foremost, now_ns)
            self.contested.add(ticker)
            return False
        if now_ns - lead.since_ns < BEHIND_NS:
            return False
        del self._leads[ticker]
        self._overtaken.add(ticker)
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether time alone may show that a book has fallen behind."""
        return bool(self._leads)

    def next_due(self, now_ns: int) -> str | None:
        """Return a market whose oldest book has fallen behind unless it has moved since it was last judged. O(1)."""
        ticker = next(iter(self._leads), None)
        return ticker if ticker is not None and now_ns - self._leads[ticker].since_ns >= BEHIND_NS else None

    def forget(self, ticker: str) -> None:
        """Take note that nothing is ahead of a market's oldest book."""
        if ticker in self.contested:
            self.contested.remove(ticker)
            self._leads.pop(ticker, None)
            self._overtaken.discard(ticker)
