"""The proof that the tables agree with themselves.

Every book is replayed through all its deltas and compared with every stored snapshot and with the sizes stored beside
each delta; and the frames of every capture are counted and compared with what the capture says of them. What is missing
by the tables' own word, the gaps, is listed and is no fault of theirs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeAlias
from uuid import UUID

import attrs

from rlflow.data.database import Database
from rlflow.data.history.audit_rows import NEVER, CaptureRows, Event, OtherFrames, PlacedEvent, place_of_delta
from rlflow.data.history.audited_book import AuditedBook, AuditedSnapshot
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.partitions import DAY_NS, complete_days
from rlflow.data.store.postgres import Connection, take_time, translated
from rlflow.units import Nanos

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with the deltas done and the frames stored in all, a little more than there are deltas."""

# Whoever has so many problems has one.
MAX_FINDINGS = 100
_ROWS_PER_PROGRESS = 50_000

_LISTED_GAPS = b"""
    SELECT c.capture_id, g.channel, g.frame_no, g.from_ns, g.to_ns, g.cause, count(*)
    FROM rl_feed_gaps AS g JOIN rl_captures AS c USING (capture)
    WHERE %(market)s::text IS NULL OR g.market_ticker = %(market)s OR g.market_ticker IS NULL
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 4, 3"""


@attrs.frozen
class AuditedGap:
    """A stretch that is missing, of one or several markets."""

    capture: UUID
    channel: str
    frame_no: int
    from_ns: Nanos
    to_ns: Nanos | None
    """None: still open."""
    cause: str
    rows: int
    """How many rows of `rl_feed_gaps` say so: one per market, or one for all trades of a subscription."""


@attrs.frozen
class AuditReport:
    """What was looked at, and what was found."""

    captures: int
    markets: int
    """Books replayed; one per market and capture."""
    deltas: int
    snapshots: int
    """Stored snapshots compared, checkpoints included."""
    cleared: int
    """Books that the venue emptied by a snapshot, as it does when a market closes."""
    gaps: tuple[AuditedGap, ...]
    findings: tuple[str, ...]
    """What does not fit, the first hundred."""
    findings_count: int
    notes: tuple[str, ...]
    """What could not be proved, and why."""

    @property
    def is_clean(self) -> bool:
        """Whether everything fits."""
        return not self.findings_count


def _silence(_done: int, _total: int) -> None:
    pass


def audit(database: Database, market: str | None = None, progress: Progress = _silence) -> AuditReport:
    """Check a store, or one market of it, as it is at this moment; commits meanwhile neither wait nor show.

    About 5 µs a delta (2026-11, PostgreSQL 18 on the same two cores).
    """
    connection = database.connection
    with translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        take_time(connection)
        records = database.captures()
        work = _Audit(connection, market, progress, sum(record.counts.stored for record in records))
        for record in records:
            work.check(record)
        gaps = connection.execute(_LISTED_GAPS, {"market": market}).fetchall()
    return work.report(len(records), tuple(AuditedGap(*gap) for gap in gaps))


@attrs.define
class _Audit:
    """The audit of one store while it goes on."""

    _connection: Connection
    _market: str | None
    _progress: Progress
    _total: int
    _days: frozenset[int] = attrs.field(init=False)
    _markets: int = 0
    _deltas: int = 0
    _snapshots: int = 0
    _cleared: int = 0
    _findings: list[str] = attrs.field(factory=list)
    _findings_count: int = 0
    _notes: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._days = complete_days(self._connection)

    def report(self, captures: int, gaps: tuple[AuditedGap, ...]) -> AuditReport:
        return AuditReport(
            captures=captures,
            markets=self._markets,
            deltas=self._deltas,
            snapshots=self._snapshots,
            cleared=self._cleared,
            gaps=gaps,
            findings=tuple(self._findings),
            findings_count=self._findings_count,
            notes=tuple(self._notes),
        )

    def check(self, record: CaptureRecord) -> None:
        """Check one capture."""
        rows = CaptureRows(self._connection, record, self._market)
        deltas = self._replay(record, rows)
        if self._market is not None:
            return
        if self._has_lost_days(record):
            self._notes.append(f"capture {record.capture}: days were dropped, so its frames cannot be counted")
        else:
            self._check_counts(record, deltas, rows.other_frames())

    def _has_lost_days(self, record: CaptureRecord) -> bool:
        if record.rows_from_ns is None or record.rows_to_ns is None:
            return False
        first, last = record.rows_from_ns // DAY_NS, record.rows_to_ns // DAY_NS - 1
        # A recording may leave out days in its middle, which then never had partitions.
        return not {first, last} <= self._days

    def _replay(self, record: CaptureRecord, rows: CaptureRows) -> int:
        """Replay all books of a capture; return how many deltas there are."""
        books: defaultdict[str, AuditedBook] = defaultdict(AuditedBook)
        is_sampled = record.opened.sample_rate > 1
        if is_sampled:
            self._notes.append(f"capture {record.capture}: sampled, so its books cannot be replayed")
        events: Iterator[PlacedEvent] = iter(()) if is_sampled else rows.events()
        place, event = next(events, NEVER)
        last_frame = count = 0
        for row in rows.deltas():
            frame_no = row[0]
            if frame_no <= last_frame:
                self._find(record, frame_no, "more than one delta")
            last_frame = frame_no
            count += 1
            if not count % _ROWS_PER_PROGRESS:
                self._progress(self._deltas + count, self._total)
            while place < place_of_delta(frame_no):
                self._take_event(record, books, event)
                place, event = next(events, NEVER)
            problem = None if is_sampled else books[row[1]].delta_problem(row)
            if problem is not None:
                self._find(record, frame_no, f"{row[1]}: {problem}")
        while event is not None:
            self._take_event(record, books, event)
            place, event = next(events, NEVER)
        self._deltas += count
        self._markets += len(books)
        self._cleared += sum(book.cleared for book in books.values())
        self._progress(self._deltas, self._total)
        return count

    def _take_event(self, record: CaptureRecord, books: dict[str, AuditedBook], event: Event | None) -> None:
        if isinstance(event, AuditedSnapshot):
            self._snapshots += 1
            problem = books[event.market_ticker].snapshot_problem(event)
            if problem is None:
                return
            message = f"{event.market_ticker}: {problem}"
            if record.opened.sparse_seq and not event.is_checkpoint:
                self._notes.append(f"{_at(record, event.frame_no)}: {message}; a hole in this recording is not a gap")
            else:
                self._find(record, event.frame_no, message)
        elif event is not None:
            for book in [books[event.market_ticker]] if event.market_ticker is not None else books.values():
                book.lose()

    def _check_counts(self, record: CaptureRecord, deltas: int, others: OtherFrames) -> None:
        counts, frame = record.counts, record.committed_frame
        if counts.stored != deltas + others.trades + others.snapshots:
            there = f"{deltas} deltas, {others.trades} trades and {others.snapshots} snapshots"
            self._find(record, frame, f"{counts.stored} frames are counted as stored, there are {there}")
        if counts.rejected != others.rejected:
            self._find(record, frame, f"{counts.rejected} frames are counted as rejected, {others.rejected} are there")
        if record.local_records < (record.closed is not None):
            self._find(record, frame, f"{counts.total()} frames are counted, which leaves no number for its closing")

    def _find(self, record: CaptureRecord, frame_no: int, what: str) -> None:
        self._findings_count += 1
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(f"{_at(record, frame_no)}: {what}")


def _at(record: CaptureRecord, frame_no: int) -> str:
    return f"capture {record.capture} frame {frame_no}"
