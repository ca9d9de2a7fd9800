"""Which books wait for a snapshot, how hard we have tried, and until when."""

import enum
from collections.abc import Iterable

import attrs


class Stage(enum.Enum):
    """How a market's snapshot should come."""

    EXPECTED = enum.auto()
    """By itself, because the market was subscribed."""
    ASKED = enum.auto()
    """As the answer to `get_snapshot`."""
    ASKED_AGAIN = enum.auto()
    """As the answer to the second one."""
    MISSING = enum.auto()
    """Hardly: others came and this one did not. It is asked for now and then."""


@attrs.define(eq=False)
class Wait:
    """Markets that wait for the same reason since the same moment."""

    stage: Stage
    limit_s: float
    deadline: float
    tickers: set[str]


class SnapshotWaits:
    """The waits of one subscription; a market is in one at most.

    Beginning, ending and looking for a market cost O(1); the next deadline costs as much as there are waits, which is a
    few, for markets wait in groups.
    """

    def __init__(self) -> None:
        self._waits: list[Wait] = []
        self._by_ticker: dict[str, Wait] = {}

    def __contains__(self, ticker: str) -> bool:
        return ticker in self._by_ticker

    def __len__(self) -> int:
        return len(self._by_ticker)

    def begin(self, tickers: Iterable[str], stage: Stage, limit_s: float, now: float) -> None:
        """Let these markets wait for so long; what they waited for before is forgotten."""
        wait = Wait(stage, limit_s, now + limit_s, set(tickers))
        for ticker in wait.tickers:
            self.forget(ticker)
            self._by_ticker[ticker] = wait
        if wait.tickers:
            self._waits.append(wait)

    def arrived(self, ticker: str, now: float) -> None:
        """End a market's wait, if there is one; the others of its group get their full time again.

        A thousand snapshots may need longer than the limit to arrive; what counts is that they keep coming.
        """
        wait = self.forget(ticker)
        if wait is not None:
            wait.deadline = now + wait.limit_s

    def forget(self, ticker: str) -> Wait | None:
        """Take a market out of its wait and return that."""
        wait = self._by_ticker.pop(ticker, None)
        if wait is not None:
            wait.tickers.discard(ticker)
            if not wait.tickers:
                self._waits.remove(wait)
        return wait

    def clear(self) -> None:
        """Forget every wait."""
        self._waits.clear()
        self._by_ticker.clear()

    def take_due(self, now: float) -> list[Wait]:
        """Return the waits whose time is over, and forget them."""
        due = [wait for wait in self._waits if wait.deadline <= now]
        for wait in due:
            self._waits.remove(wait)
            for ticker in wait.tickers:
                del self._by_ticker[ticker]
        return due

    def next_deadline(self) -> float | None:
        """Return when `take_due` has something to return; None: never."""
        return min((wait.deadline for wait in self._waits), default=None)

    def expected(self) -> int:
        """Return how many markets wait for the snapshot that their subscription brings."""
        return sum(len(wait.tickers) for wait in self._waits if wait.stage is Stage.EXPECTED)

    def asked(self) -> int:
        """Return how many markets wait for the answer to `get_snapshot`."""
        return sum(len(wait.tickers) for wait in self._waits if wait.stage in (Stage.ASKED, Stage.ASKED_AGAIN))

    def missing(self) -> frozenset[str]:
        """Return the markets that have been given up for the time being."""
        return frozenset(ticker for wait in self._waits if wait.stage is Stage.MISSING for ticker in wait.tickers)
