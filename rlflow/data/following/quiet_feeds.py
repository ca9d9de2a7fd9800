"""Whether a feed that says nothing about its books still would: it is asked for one of them.

Pings show that the line is alive, not that the venue still serves the subscription. A quiet market and a subscription
that was forgotten look the same until something is asked for. A snapshot that comes is data like any other; where none
comes, no book of the feed is trusted any more, and all are repaired as after any loss (`kalshi.book_repair`).
"""

import enum
from typing import Final

QUIET_S: Final = 60.0
"""Even thin markets hardly ever are quiet for so long; of a hundred markets one always has a change (protocol 9.1)."""
ANSWER_S: Final = 10.0
"""The venue answers in milliseconds."""


class Doubt(enum.Enum):
    """What to do about a quiet feed."""

    NONE = enum.auto()
    ASK = enum.auto()
    """Ask for a snapshot."""
    DISTRUST = enum.auto()
    """It has not come."""


class QuietFeeds:
    """Remembers which feeds were asked, and which of them did not answer."""

    def __init__(self) -> None:
        self._asked_at: dict[str, float] = {}
        self._distrusted: set[str] = set()

    def is_doubted(self, name: str) -> bool:
        """Return whether a feed was asked and has not answered."""
        return name in self._asked_at

    def judge(self, name: str, quiet_s: float | None, now: float) -> Doubt:
        """Return what is to be done about a feed now; each once, until it says something about books again.

        Args:
            name: the feed's.
            quiet_s: how long it has brought no book and no change of one; None: it is not connected.
            now: in seconds, of a clock that never goes back.
        """
        if quiet_s is None or quiet_s < QUIET_S:
            self._asked_at.pop(name, None)
            self._distrusted.discard(name)
            return Doubt.NONE
        asked_at = self._asked_at.setdefault(name, now)
        if asked_at == now:
            return Doubt.ASK
        if name in self._distrusted or now - asked_at < ANSWER_S:
            return Doubt.NONE
        self._distrusted.add(name)
        return Doubt.DISTRUST
