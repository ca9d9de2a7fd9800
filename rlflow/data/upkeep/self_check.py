"""The service checks itself: a live book against the same book summed up from the tables.

Every few seconds one market's live book is remembered, the writer is let past that frame, and the book is rebuilt in
SQL on a connection of its own. A difference means that the live books or the tables are wrong; it never heals, so it is
kept and shown.
"""

import time
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import attrs
import structlog
import trio

from rlflow.data.database import Database
from rlflow.data.store.postgres import translated
from rlflow.data.store.stored_books import books_at
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

    def last_frame(self, capture: UUID) -> int | None:
        """Return the last frame that went into the books of a capture, None if it has ended."""
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
            await self.check()

    async def check(self) -> None:
        """Check one market, unless it cannot be judged at this moment."""
        view = self._next_book()
        frame = None if view is None else self.books.last_frame(view.capture)
        if view is None or frame is None:
            return
        with trio.move_on_after(FLUSH_LIMIT_S):
            await self.writer.flush()
            try:
                is_equal = await trio.to_thread.run_sync(self._is_stored, view, frame, abandon_on_cancel=True)
            except DatabaseAwayError:
                return
            if is_equal is not None:
                self._count(view, frame, is_equal=is_equal)

    def _next_book(self) -> BookView | None:
        """Return the next market's live book, None if it cannot be trusted at this moment."""
        tickers = self.books.tickers()
        if not tickers:
            return None
        self._turn = (self._turn + 1) % len(tickers)
        view = self.books.settled_view(tickers[self._turn])
        return view if view is not None and view.is_valid else None

    def _is_stored(self, view: BookView, frame: int) -> bool | None:
        """Return whether the tables lead to the book that was live at this frame; None if they do not claim to.

        The frame is the last of the capture and not the last about the book: that one may have been lost to storage,
        and then only the checkpoint behind it has what it changed.
        """
        with self.connect() as database, translated():
            record = database.capture(view.capture)
            if record is None or record.committed_frame < frame:
                return None
            book = books_at(database.connection, record.where, [view.market_ticker], frame).get(view.market_ticker)
        if book is None:
            return False
        if book.is_missing:
            return None
        return (book.cause, book.yes_bids, book.no_bids) == (None, view.yes_bids, view.no_bids)

    def _count(self, view: BookView, frame: int, *, is_equal: bool) -> None:
        self._checks += 1
        self._last_ns = self.wall_ns()
        if not is_equal:
            self._differences += 1
            self._last_difference = f"{view.market_ticker} at capture {view.capture} frame {frame}"
            _log.error("tables differ from live book", at=self._last_difference)
