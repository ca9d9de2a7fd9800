"""Which books the venue is asked for because nothing was heard of them, one by one. Pure.

A venue may leave out one market's changes while those of others come: no `seq` shows that, and a market in which
nothing happens looks the same. The answer tells: it is the book that is here, or a gap (`session.books`). A market
that has been quiet all along is asked for ever more seldom, because every answer is stored.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from rlflow.data.books.silences import Silence
from rlflow.data.following import quiet_feeds

MAX_ASKED: Final = 100
"""In one round: what one command may name."""
LONGEST_FACTOR: Final = 16
"""A quarter of an hour between two questions about a book that never changes."""


@attrs.frozen
class Doubts:
    """What to do about the books of a connection."""

    ask: tuple[str, ...] = ()
    distrust: tuple[str, ...] = ()
    """They were asked for, and nothing has come."""


@attrs.frozen
class _Question:
    last_frame: int
    at: float


class QuietBooks:
    """Remembers which books of one connection were asked for. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}
        self._patience: dict[str, int] = {}
        """How many times longer than others a book may be quiet, because it was in vain that it was asked for."""
        self._next_at = 0.0

    def judge(self, books: Iterable[Silence], now: float) -> Doubts:
        """Return what is to be done now about the valid books of the connection, which are all that are named."""
        known = {book.ticker: book for book in books}
        self._questions = {ticker: asked for ticker, asked in self._questions.items() if _is_open(asked, known, ticker)}
        overdue = [ticker for ticker, asked in self._questions.items() if now - asked.at >= quiet_feeds.ANSWER_S]
        for ticker in overdue:
            del self._questions[ticker]
        if now < self._next_at:
            return Doubts(distrust=tuple(overdue))
        quiet = [book for book in known.values() if self._is_doubtful(book) and book.ticker not in overdue]
        quiet.sort(key=lambda book: (not book.is_contradicted, -book.silent_s))
        return Doubts(self._ask(quiet[:MAX_ASKED], now), tuple(overdue))

    def _is_doubtful(self, book: Silence) -> bool:
        if book.has_changed:
            self._patience.pop(book.ticker, None)
        if book.ticker in self._questions:
            return False
        return book.is_contradicted or book.silent_s >= quiet_feeds.QUIET_S * self._patience.get(book.ticker, 1)

    def _ask(self, books: list[Silence], now: float) -> tuple[str, ...]:
        if books:
            self._next_at = now + quiet_feeds.ANSWER_S
        for book in books:
            self._questions[book.ticker] = _Question(book.last_frame, now)
            self._patience[book.ticker] = min(2 * self._patience.get(book.ticker, 1), LONGEST_FACTOR)
        return tuple(book.ticker for book in books)


def _is_open(asked: _Question, known: dict[str, Silence], ticker: str) -> bool:
    """Return whether a book is still valid, and still nothing has come of it."""
    return ticker in known and known[ticker].last_frame == asked.last_frame
