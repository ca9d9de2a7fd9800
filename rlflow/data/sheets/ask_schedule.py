"""When to ask for which market's data sheet again: pure, times are seconds of one clock."""

from collections.abc import Iterable
from typing import Final

INTERVAL_S: Final = 300.0
"""Between one answer and the next question, while a market is not final."""
FIRST_RETRY_S: Final = 5.0
"""After a market was missing in the answer, or its event, as they may be just after their creation (protocol 6.2); then
twice as long."""
LAST_RETRY_S: Final = 86_400.0


class AskSchedule:
    """The markets whose end is not known, and when each is asked for next."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._missing: set[str] = set()
        self._final: set[str] = set()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def final(self) -> int:
        """How many were asked for to their end."""
        return len(self._final)

    @property
    def missing(self) -> int:
        """How many the venue did not know when last asked."""
        return len(self._missing)

    def add(self, tickers: Iterable[str], now_s: float) -> None:
        """Ask for these at once, unless they have their time already."""
        for ticker in tickers:
            if ticker not in self._final:
                self._due.setdefault(ticker, now_s)

    def hasten(self, tickers: Iterable[str], now_s: float) -> None:
        """Ask for these at once: something has happened to them."""
        for ticker in tickers:
            if ticker not in self._final:
                self._due[ticker] = now_s
                self._tries.pop(ticker, None)
                self._missing.discard(ticker)

    def due(self, now_s: float) -> list[str]:
        """Return what is to be asked for now."""
        return sorted(ticker for ticker, due_s in self._due.items() if due_s <= now_s)

    def next_s(self) -> float:
        """Return when something will be due; infinity: never."""
        return min(self._due.values(), default=float("inf"))

    def found(self, ticker: str, now_s: float, *, is_final: bool) -> None:
        """Note an answer; a final one is the last."""
        self._tries.pop(ticker, None)
        self._missing.discard(ticker)
        if is_final:
            self._due.pop(ticker, None)
            self._final.add(ticker)
        else:
            self._due[ticker] = now_s + INTERVAL_S

    def found_in_part(self, ticker: str, now_s: float, *, is_final: bool) -> None:
        """Note an answer, final or not, that lacks what may come soon."""
        self._missing.discard(ticker)
        self._try_again(ticker, now_s, LAST_RETRY_S if is_final else INTERVAL_S)

    def missed(self, ticker: str, now_s: float) -> None:
        """Note that the venue did not know a market."""
        self._missing.add(ticker)
        self._try_again(ticker, now_s, LAST_RETRY_S)

    def _try_again(self, ticker: str, now_s: float, last_s: float) -> None:
        tries = self._tries.get(ticker, 0)
        self._tries[ticker] = tries + 1
        self._due[ticker] = now_s + min(last_s, FIRST_RETRY_S * 2.0 ** min(tries, 20))
