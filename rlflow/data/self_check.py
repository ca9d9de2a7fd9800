"""The service checks itself: a live book against the same book summed up from the tables.

Every few seconds one market's live book is remembered, the writer is let past that frame, and the book is rebuilt in
SQL on a connection of its own. A difference means that the live books or the tables are wrong; it never heals, so it is
kept and shown.
"""

import time
from collections.abc import Callable
from typing import Protocol

import attrs
import structlog
import trio

from rlflow.data.database import Database
from rlflow.data.rebuild import book_at
from rlflow.errors import DatabaseAwayError
from rlflow.orderbook import BookView

INTERVAL_S = 10.0
# A rebuild that would have to read more rows than a checkpoint allows is skipped by its own limit in SQL; this one
# bounds the wait for the writer.
FLUSH_LIMIT_S = 5.0

_log = structlog.get_logger(__name__)


class Books(Protocol):
    """What the check needs of the live books."""

    def tickers(self) -> tuple[str, ...]:
        """Return every market."""
        ...

    def settled_view(self, ticker: str) -> BookView | None:
        """Return a market's book, None while it is crossed for a moment."""
        ...


class Writer(Protocol):
    """What the check needs of the writer."""

    async def flush(self) -> None:
        """Wait until everything received so far is in the database."""
        ...


@attrs.frozen
class SelfCheckStatistics:
    """How the checks went."""

    checks: int
    differences: int
    last_checked_ns: int | None
    last_difference: str | None
    """The market, capture and frame where the tables last did not equal the live book."""


@attrs.define
class SelfCheck:
    """Compares one market's book every 10 s, in turn."""

    books: Books
    writer: Writer
    connect: Callable[[], Database]
    wall_ns: Callable[[], int] = time.time_ns
    _checks: int = attrs.field(default=0, init=False)
    _differences: int = attrs.field(default=0, init=False)
    _last_ns: int | None = attrs.field(default=None, init=False)
    _last_difference: str | None = attrs.field(default=None, init=False)
    _turn: int = attrs.field(default=0, init=False)

    def statistics(self) -> SelfCheckStatistics:
        """Return the figures so far."""
        return SelfCheckStatistics(self._checks, self._differences, self._last_ns, self._last_difference)

    async def run(self) -> None:
        """Check until cancelled. An absent database is nothing to report here: the writer does."""
        while True:
            await trio.sleep(INTERVAL_S)
            view = self._next_book()
            if view is None:
                continue
            with trio.move_on_after(FLUSH_LIMIT_S):
                await self.writer.flush()
                try:
                    stored = await trio.to_thread.run_sync(self._rebuild, view, abandon_on_cancel=True)
                except DatabaseAwayError:
                    continue
                self._compare(view, stored)

    def _next_book(self) -> BookView | None:
        """Return the next market's live book, None if it cannot be trusted at this moment."""
        tickers = self.books.tickers()
        if not tickers:
            return None
        self._turn = (self._turn + 1) % len(tickers)
        view = self.books.settled_view(tickers[self._turn])
        return view if view is not None and view.is_valid else None

    def _rebuild(self, view: BookView) -> BookView | None:
        database = self.connect()
        try:
            return book_at(database, view.market_ticker, capture=view.capture, frame=view.frame_no)
        finally:
            database.close()

    def _compare(self, view: BookView, stored: BookView | None) -> None:
        self._checks += 1
        self._last_ns = self.wall_ns()
        if stored is None or (stored.yes_bids, stored.no_bids) != (view.yes_bids, view.no_bids):
            self._differences += 1
            self._last_difference = f"{view.market_ticker} at capture {view.capture} frame {view.frame_no}"
            _log.error("tables differ from live book", at=self._last_difference)
