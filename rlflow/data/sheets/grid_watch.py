"""Looks for prices in the live books that the market's tick grid does not have, and asks the venue about them.

Either the grid is another by now, or the book is wrong; so both are asked for again, the data sheet and the book. A
book that turns out to be another is a gap (`session.books`). What the venue confirms is not asked about again soon.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import attrs
import structlog
import trio

from rlflow.errors import FeedLostError
from rlflow.kalshi.price_grid import off_grid
from rlflow.kalshi.sheets import MarketSheet
from rlflow.orderbook import BookView
from rlflow.units import Price

LOOK_S: Final = 5.0
# Books looked at between two turns of the loop: some 10 µs each.
_SLICE: Final = 50
AGAIN_S: Final = 60.0
"""Between two questions about one market."""
CONFIRMED_S: Final = 15 * 60.0
"""Between two questions about the very same prices: an answer is stored each time."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Books(Protocol):
    """What is needed of the live books."""

    def tickers(self) -> tuple[str, ...]:
        """Return every market that has a book."""
        ...

    def settled_view(self, ticker: str) -> BookView | None:
        """Return a market's book, None while it cannot be shown."""
        ...


class Sheets(Protocol):
    """What is needed of the data sheets."""

    def sheet(self, ticker: str) -> MarketSheet | None:
        """Return a market's sheet as last fetched."""
        ...

    def learn(self, tickers: Iterable[str]) -> None:
        """Ask for these markets' sheets soon."""
        ...


@attrs.frozen
class GridStatistics:
    """What was found."""

    off_grid: int
    """How often the venue was asked about a market for such prices."""


@attrs.frozen
class _Question:
    prices: frozenset[Price]
    at: float


@attrs.define(eq=False)
class GridWatch:
    """The task `run`, and what it has found."""

    books: Books
    sheets: Sheets
    resnapshot: Callable[[Sequence[str]], None]
    """Asks for books; FeedLostError while not connected."""
    _questions: dict[str, _Question] = attrs.field(factory=dict, init=False)
    _asked: int = attrs.field(default=0, init=False)

    def statistics(self) -> GridStatistics:
        """Return the figures so far."""
        return GridStatistics(self._asked)

    async def run(self) -> None:
        """Look at all books every five seconds, until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            tickers = self.books.tickers()
            self._questions = {ticker: asked for ticker, asked in self._questions.items() if ticker in tickers}
            for start in range(0, len(tickers), _SLICE):
                self._look(tickers[start : start + _SLICE])
                await trio.lowlevel.checkpoint()

    def _look(self, tickers: Iterable[str]) -> None:
        doubtful = [ticker for ticker in tickers if self._is_doubtful(ticker)]
        if doubtful:
            _log.warning("prices off the grid", markets=", ".join(doubtful[:5]))
            self._asked += len(doubtful)
            self.sheets.learn(doubtful)
            with suppress(FeedLostError):
                self.resnapshot(doubtful)

    def _is_doubtful(self, ticker: str) -> bool:
        """Return whether to ask about a market, and remember that it is asked about."""
        view, sheet = self.books.settled_view(ticker), self.sheets.sheet(ticker)
        if view is None or sheet is None or not view.is_valid:
            return False
        prices = off_grid(dict(view.yes_bids), dict(view.no_bids), sheet.price_ranges)
        if not prices:
            return False
        now, last = trio.current_time(), self._questions.get(ticker)
        if last is not None and now - last.at < (CONFIRMED_S if prices <= last.prices else AGAIN_S):
            return False
        self._questions[ticker] = _Question(prices, now)
        return True
