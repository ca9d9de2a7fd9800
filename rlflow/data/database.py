"""The store: one blocking connection to PostgreSQL, used by one thread at a time.

Every write is one transaction that moves `committed_frame` from where the rows begin to where they end, and does
nothing if it is not there: so rows are in the tables exactly once, whatever breaks and whenever.
"""

import time
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import date
from types import TracebackType
from typing import Self
from uuid import UUID

import attrs
import structlog

from rlflow.data.store import captures, old_days, postgres, recorders
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.copy_text import COPY_TARGETS, storable
from rlflow.data.store.partitions import DayPartitions, StoreSize, day_number, day_of, size_of
from rlflow.data.store.poison import find_refused, frames_with_data, only, quarantine
from rlflow.data.store.postgres import Connection, RowRefusedError, translated
from rlflow.data.store.resume import resume_point
from rlflow.data.store.schema import Store, open_store
from rlflow.errors import StoreError
from rlflow.session.rows import ResumePoint, Rows
from rlflow.units import Nanos

_LOOK_AHEAD_NS: Nanos = 3_600 * 10**9

_log = structlog.get_logger(__name__)

# A gap of this capture ends at a later frame or the same; one of another capture ends if it began before. An empty text
# stands for no market on both sides, so that the index on just this serves. If trades were fetched up to the time at
# which the market was to close, and it comes back, they have to be fetched up to then.
_END_GAPS = """
    UPDATE rl_feed_gaps SET to_ns = greatest(from_ns, %s), filled_ns = NULL, filled_trades = NULL
    WHERE to_ns IS NULL AND channel = %s AND coalesce(market_ticker, '') = %s
      AND CASE WHEN capture = %s THEN frame_no <= %s ELSE from_ns <= %s END"""


@attrs.frozen
class DatabaseStatistics:
    """What this connection has written."""

    commits: int
    rows: int
    refused_frames: int
    """Frames turned into rejected ones because PostgreSQL refused their rows."""
    last_commit_ns: Nanos | None
    """Wall clock after the last commit."""


@attrs.define(eq=False)
class Database:
    """A store that is open for writing and reading; every method blocks.

    Any method raises `DatabaseAwayError` for what may pass: close it then, connect again, go on behind `committed`.
    """

    _connection: Connection
    _store: Store
    _partitions: DayPartitions
    _wall_ns: Callable[[], Nanos]
    _looked_ahead_ns: Nanos = 0
    _statistics: DatabaseStatistics = DatabaseStatistics(0, 0, 0, None)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        db_schema: str = "public",
        environment: str,
        wall_ns: Callable[[], Nanos] = time.time_ns,
    ) -> Self:
        """Connect to a store, making or upgrading its tables and the partitions of the days to come.

        Raises:
            DatabaseAwayError: it cannot be reached now.
            StoreError: it is there but not one that we may write to.
        """
        connection = postgres.connect(url)
        try:
            with translated():
                store = open_store(connection, db_schema=db_schema, environment=environment)
                database = cls(connection, store, DayPartitions(connection), wall_ns)
                database.look_ahead()
        except BaseException:
            connection.close()
            raise
        return database

    @property
    def store_id(self) -> str:
        """The store's identity, for the journal to be tied to."""
        return str(self._store.store_id)

    @property
    def environment(self) -> str:
        """The kind of data that it holds."""
        return self._store.environment

    @property
    def connection(self) -> Connection:
        """The connection itself, in autocommit mode, for modules that read."""
        return self._connection

    def statistics(self) -> DatabaseStatistics:
        """Return the figures so far."""
        return self._statistics

    def size(self) -> StoreSize:
        """Measure the store; a few milliseconds."""
        with translated():
            return size_of(self._connection, self._wall_ns())

    def begin_recording(self, recorder: int) -> None:
        """Let other recorders of the store know of this one, for as long as it is connected."""
        with translated():
            recorders.announce(self._connection, recorder)

    def other_recorders(self, recorder: int) -> tuple[str, ...]:
        """Return the addresses from which others record into this store."""
        with translated():
            return recorders.others(self._connection, recorder)

    # -- writing ----------------------------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Rows]) -> Sequence[Rows]:
        """Write rows in one transaction and return them. Rows of one capture must follow each other without a hole.

        A frame whose rows PostgreSQL refuses is stored as a rejected one instead, with a gap, and so returned.

        Raises:
            OtherWriterError: the store does not stand where the rows begin; nothing was written.
            StoreError: the rows do not belong here, or the tables are not as we left them; nothing was written.
            DatabaseAwayError: whether it was written is not known; `committed` tells.
        """
        self._check_environment(batch)
        days = set[int]().union(*map(captures.days_of, batch))
        with translated(), old_days.writing(self._connection, days, today=day_of(self._wall_ns())):
            self._partitions.ensure(days)
            try:
                self._write(batch)
            except RowRefusedError as refusal:
                batch = self._write_without_refused(batch, days, str(refusal))
        self._statistics = attrs.evolve(
            self._statistics,
            commits=self._statistics.commits + 1,
            rows=self._statistics.rows + sum(map(len, batch)),
            last_commit_ns=self._wall_ns(),
        )
        if self._wall_ns() - self._looked_ahead_ns > _LOOK_AHEAD_NS:
            self.look_ahead()
        return batch

    def look_ahead(self) -> None:
        """Make the partitions of the days to come; `commit` does it every hour."""
        self._looked_ahead_ns = self._wall_ns()
        with translated():
            self._partitions.look_ahead(self._looked_ahead_ns)

    def make_days(self, days: Iterable[date]) -> None:
        """Make what is missing of these UTC days' partitions."""
        with translated():
            self._partitions.ensure(map(day_number, days))

    def drop_days_before(self, day: date) -> list[str]:
        """Drop all data received on earlier UTC days; return the names of the dropped partitions."""
        with translated():
            return self._partitions.drop_before(day)

    def _write(self, batch: Sequence[Rows], *, is_trial: bool = False) -> None:
        """Write in one transaction; a trial is rolled back at the end.

        Raises:
            RowRefusedError: PostgreSQL does not accept some row.
        """
        with translated(), self._connection.transaction(force_rollback=is_trial):
            keys = [captures.move_on(self._connection, rows) for rows in batch]
            cursor = self._connection.cursor()
            for target in COPY_TARGETS:
                if any(getattr(rows, target.rows) for rows in batch):
                    with cursor.copy(target.statement) as copy:
                        for block in target.blocks(batch, keys):
                            copy.write(block)
            ends = [
                (end.received_ns, end.channel, storable(end.market_ticker or ""), key, end.frame_no, end.received_ns)
                for rows, key in zip(batch, keys, strict=True)
                for end in rows.gap_ends
            ]
            if ends:
                cursor.executemany(_END_GAPS, ends)

    def _write_without_refused(self, batch: Sequence[Rows], days: Set[int], reason: str) -> Sequence[Rows]:
        """Find what PostgreSQL refuses, write the rest, and return what was written."""
        # A partition may be gone since we last looked; then nothing is wrong with the rows.
        with translated():
            self._partitions.refresh()
            self._partitions.ensure(days)
        refused = find_refused(frames_with_data(batch), lambda frames: self._accepts(only(batch, frames)))
        written = quarantine(batch, refused, reason)
        try:
            self._write(written)
        except RowRefusedError as error:
            raise StoreError(f"PostgreSQL refuses what is not data of the venue: {error}") from error
        if refused:
            _log.error("rows refused by PostgreSQL", frames=len(refused), reason=reason)
        self._statistics = attrs.evolve(self._statistics, refused_frames=self._statistics.refused_frames + len(refused))
        return written

    def _accepts(self, batch: Sequence[Rows]) -> bool:
        try:
            self._write(batch, is_trial=True)
        except RowRefusedError:
            return False
        return True

    def _check_environment(self, batch: Sequence[Rows]) -> None:
        for rows in batch:
            if rows.opened is not None and rows.opened.environment != self.environment:
                raise StoreError(
                    f"capture {rows.capture} is of environment {rows.opened.environment!r}, "
                    f"this store of {self.environment!r}: they must not mix"
                )

    # -- reading ----------------------------------------------------------------------------------------------------

    def committed(self, capture: UUID) -> int | None:
        """Return the last frame committed of a capture, None if the store does not know it."""
        with translated():
            return captures.committed(self._connection, capture)

    def is_closed(self, capture: UUID) -> bool:
        """Return whether the store has the capture's closing record; False for a capture that it does not know."""
        record = self.capture(capture)
        return record is not None and record.closed is not None

    def captures(self) -> tuple[CaptureRecord, ...]:
        """Return all captures in the order in which they were opened."""
        with translated():
            return tuple(captures.read(self._connection, self.environment))

    def capture(self, capture: UUID) -> CaptureRecord | None:
        """Return one capture, None if the store does not know it."""
        with translated():
            return next(captures.read(self._connection, self.environment, capture=capture), None)

    def resume_point(self, capture: UUID) -> ResumePoint | None:
        """Return what going on behind a capture's committed frame takes, None if the store does not know it."""
        record = self.capture(capture)
        if record is None:
            return None
        with translated():
            return resume_point(self._connection, record)

    def close(self) -> None:
        """Give the connection back; twice does no harm."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
