"""The gaps that the live books made since the start: how many, and what the last were. The tables have them all."""

from collections import Counter, deque
from collections.abc import Sequence
from uuid import UUID

import attrs
import structlog

from rlflow.session.books import CONTRADICTED
from rlflow.session.rows import GapRow
from rlflow.units import Nanos

REMEMBERED = 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class GapEvent:
    """What made one or several books untrustworthy at one frame."""

    noticed_ns: Nanos
    capture: UUID
    frame_no: int
    channel: str
    cause: str
    markets: int
    """How many gap rows it made."""


@attrs.frozen
class GapStatistics:
    """The gaps since the start."""

    rows: int
    """One per market, or one for all trades of a subscription."""
    recent: tuple[GapEvent, ...]
    """The last events, newest first."""
    contradicted: int = 0
    """Books that the venue, when asked, said to be others: something was lost, and nothing had shown it."""


class GapLog:
    """Counts gap rows and remembers the last twenty events."""

    def __init__(self) -> None:
        self._rows = 0
        self._contradicted = 0
        self._recent: deque[GapEvent] = deque(maxlen=REMEMBERED)

    def note(self, capture: UUID, gaps: Sequence[GapRow]) -> None:
        """Count the gap rows of one batch."""
        self._rows += len(gaps)
        events = Counter((gap.received_ns, gap.frame_no, gap.channel, gap.cause) for gap in gaps)
        for (noticed_ns, frame_no, channel, cause), markets in events.items():
            self._recent.appendleft(GapEvent(noticed_ns, capture, frame_no, channel, cause, markets))
        contradicted = [gap.market_ticker for gap in gaps if gap.cause == CONTRADICTED]
        if contradicted:
            self._contradicted += len(contradicted)
            _log.warning("books were not the venue's", capture=str(capture), markets=contradicted[:5])

    def statistics(self) -> GapStatistics:
        """Return the figures so far."""
        return GapStatistics(self._rows, tuple(self._recent), self._contradicted)
