"""What the endpoints need of the running service, and its figures gathered at one moment."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import attrs
import trio

from rlflow.api.watch import Progress, Watch
from rlflow.config import Settings
from rlflow.data.feed.capture_log import CaptureLogStatistics
from rlflow.data.following.following import FollowingStatistics
from rlflow.data.following.lanes import FeedsStatus
from rlflow.data.journal.journal import JournalStatistics
from rlflow.data.orderbook_state import BooksStatistics
from rlflow.data.upkeep.self_check import SelfCheckStatistics
from rlflow.data.writer.protocols import WriterStatistics
from rlflow.kalshi.roster import Followed
from rlflow.orderbook import BookView
from rlflow.session.rows import Counts
from rlflow.units import Nanos


class Books(Protocol):
    """The live books."""

    def tickers(self) -> tuple[str, ...]:
        """Return every market that a book was ever kept of."""
        ...

    def view(self, ticker: str) -> BookView | None:
        """Return a market's book, valid or not."""
        ...

    def settled_view(self, ticker: str) -> BookView | None:
        """Return a market's book, None while it is crossed within one action of the venue."""
        ...

    def is_valid(self, ticker: str) -> bool:
        """Return whether a market's book can be trusted now."""
        ...

    def statistics(self) -> BooksStatistics:
        """Return the figures so far."""
        ...


class Feeds(Protocol):
    """The connections to the venue."""

    def statistics(self) -> FeedsStatus:
        """Return how they are."""
        ...

    def lanes_of(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the feeds that each market comes by."""
        ...

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        """Ask the venue for snapshots of these markets, None: of all; FeedLostError while not connected."""
        ...


class Following(Protocol):
    """The roster of markets; see `data.following.following.Following`."""

    def followed(self) -> tuple[str, ...]:
        """Return the markets that are followed now."""
        ...

    def markets(self) -> tuple[Followed, ...]:
        """Return them with what is known of each."""
        ...

    def tradable(self, tickers: Iterable[str]) -> tuple[str, ...]:
        """Return those of some followed markets that should have a book now."""
        ...

    def foremost(self) -> str | None:
        """Return the market that is meant when none is named."""
        ...

    async def change(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """Follow some from now on and others no more; raises UnknownMarketError."""
        ...

    def statistics(self) -> FollowingStatistics:
        """Return how it is kept."""
        ...


class Writer(Protocol):
    """The write queue."""

    def statistics(self) -> WriterStatistics:
        """Return where it stands."""
        ...

    async def flush(self) -> None:
        """Wait until everything received so far is in the database."""
        ...


class LoopWatch(Protocol):
    """The watch over the event loop."""

    @property
    def worst_lag_s(self) -> float:
        """The longest time that the loop was held up lately."""
        ...


@attrs.frozen
class Service:
    """The parts of the running service that the endpoints read and ask."""

    settings: Settings
    books: Books
    feeds: Feeds
    following: Following
    writer: Writer
    captures: Callable[[], CaptureLogStatistics]
    journal: Callable[[], JournalStatistics]
    self_check: Callable[[], SelfCheckStatistics]
    stored_counts: Callable[[], Counts]
    loop: LoopWatch
    started_ns: Nanos
    others: Mapping[str, Callable[[], attrs.AttrsInstance]] = attrs.Factory(dict)
    """The figures of tasks that nothing depends on, by the name under which status shows them."""
    wall_ns: Callable[[], Nanos] = time.time_ns
    clock: Callable[[], float] = trio.current_time
    watch: Watch = attrs.Factory(Watch)

    def figures(self) -> "Figures":
        """Gather every part's figures at this moment."""
        figures = Figures(
            now_ns=self.wall_ns(),
            started_ns=self.started_ns,
            books=self.books.statistics(),
            feeds=self.feeds.statistics(),
            following=self.following.statistics(),
            writer=self.writer.statistics(),
            captures=self.captures(),
            journal=self.journal(),
            self_check=self.self_check(),
            stored=self.stored_counts(),
            worst_lag_s=self.loop.worst_lag_s,
            lacking=self._lacking(),
            tasks=trio.lowlevel.current_statistics().tasks_living,
        )
        return attrs.evolve(figures, progress=self.watch.look(self.clock(), figures))

    def _lacking(self) -> tuple[str, ...]:
        """Return the markets that should have a book that can be trusted, and have none."""
        without = [ticker for ticker in self.following.followed() if not self.books.is_valid(ticker)]
        return self.following.tradable(without) if without else ()


@attrs.frozen
class Figures:
    """Every part's figures at one moment."""

    now_ns: Nanos
    started_ns: Nanos
    books: BooksStatistics
    feeds: FeedsStatus
    following: FollowingStatistics
    writer: WriterStatistics
    captures: CaptureLogStatistics
    journal: JournalStatistics
    self_check: SelfCheckStatistics
    stored: Counts
    worst_lag_s: float
    lacking: tuple[str, ...] = ()
    """Markets that should have a book that can be trusted, and have none."""
    tasks: int = 0
    """Trio's tasks."""
    progress: Progress = attrs.Factory(Progress)

    @property
    def journal_end(self) -> int:
        """Behind the last record of the journal; with the next ones, `watch.Positions`."""
        return self.journal.end

    @property
    def journal_synced(self) -> int:
        """Up to where the journal is on the disk for sure."""
        return self.journal.synced

    @property
    def books_cursor(self) -> int:
        """Up to where the live books have read the journal."""
        return self.books.cursor

    @property
    def written(self) -> int:
        """Up to where the journal is in the database."""
        return self.journal.end - self.writer.backlog_bytes

    @property
    def losses(self) -> int:
        """Frames lost so far."""
        return self.captures.dropped + self.books.dropped

    @property
    def messages(self) -> int:
        """Frames applied to the live books."""
        return self.books.messages

    @property
    def rows(self) -> int:
        """Rows committed from live books."""
        return self.writer.rows_written
