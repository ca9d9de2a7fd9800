"""The watch over what is quiet: the venue is asked, and what it does not answer for is not believed any more.

`quiet_feeds` and `quiet_books` decide, pure; this asks and writes it down.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol
from uuid import UUID

import attrs
import trio

from rlflow.data.books.silences import Silence
from rlflow.data.following.following import Following
from rlflow.data.following.lanes import Feed, Lane
from rlflow.data.following.quiet_books import QuietBooks
from rlflow.data.following.quiet_feeds import Doubt, QuietFeeds
from rlflow.errors import FeedLostError
from rlflow.units import Nanos

UNANSWERED: Final = "the venue does not answer about books"


class Books(Protocol):
    """What is needed of the live books."""

    def is_valid(self, ticker: str) -> bool:
        """Return whether a market's book can be trusted now."""
        ...

    def silences(self, capture: UUID | None, tickers: Iterable[str], now_ns: Nanos) -> list[Silence]:
        """Return for how long nothing was heard, in one capture, of each of these markets whose book is valid there."""
        ...


@attrs.define
class _Asked:
    """The books of one connection of a feed."""

    capture: UUID | None = None
    books: QuietBooks = attrs.Factory(QuietBooks)


class QuietWatch:
    """Looks after all feeds whenever `look` is called.

    Args:
        following: says which markets should have a book.
        books: the live books.
        wall_ns: the wall clock.
    """

    def __init__(self, following: Following, books: Books, wall_ns: Callable[[], Nanos] = time.time_ns) -> None:
        self._following = following
        self._books = books
        self._wall_ns = wall_ns
        self._feeds = QuietFeeds()
        self._asked: dict[str, _Asked] = {}

    def look(self, feeds: Iterable[tuple[Lane, Feed]]) -> None:
        """Ask feeds that have said nothing about books for long, and do not believe those that do not answer.

        They are asked for a book that they have: of a market that the venue refuses there may be no answer.
        """
        alive = {market.ticker for market in self._following.markets() if market.should_have_book}
        for lane, feed in feeds:
            tickers = [ticker for ticker in lane.tickers if ticker in alive]
            if (asked := next(filter(self._books.is_valid, tickers), None)) is not None:
                with suppress(FeedLostError):
                    self._look_at(lane, feed, tickers, asked)

    def _look_at(self, lane: Lane, feed: Feed, tickers: list[str], asked: str) -> None:
        status = feed.statistics()
        doubt = self._feeds.judge(lane.name, status.books_silent_s, trio.current_time())
        if doubt is Doubt.ASK:
            feed.resnapshot([asked])
        elif doubt is Doubt.DISTRUST:
            feed.distrust(UNANSWERED)
        elif not self._feeds.is_doubted(lane.name):
            self._look_at_books(lane.name, feed, status.capture, tickers)

    def _look_at_books(self, name: str, feed: Feed, capture: UUID | None, tickers: list[str]) -> None:
        """Do the same, one by one, for the books of a feed that does say something."""
        one = self._asked.get(name)
        if one is None or one.capture != capture:
            one = self._asked[name] = _Asked(capture)
        doubts = one.books.judge(self._books.silences(capture, tickers, self._wall_ns()), trio.current_time())
        if doubts.distrust:
            feed.distrust(UNANSWERED, doubts.distrust)
        if doubts.ask:
            feed.resnapshot(doubts.ask)
