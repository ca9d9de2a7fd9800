"""A capture's rows made anew from its frames: the cure after a bug in our own decoding.

The frames go through `Session` again, as they did when they came. All that differs is replaced in one transaction, so
readers see the old rows or the new ones; the frames' numbers, and so the capture's committed frame, stay.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any
from uuid import UUID

import attrs
import msgspec

from rlflow.data.database import Database
from rlflow.data.history.stored_rows import Selection, StoredRow, stored_rows
from rlflow.data.imports.row_changes import RowChanges, data_rows, ended_gaps
from rlflow.data.journal.kept_frames import KeptFrames
from rlflow.data.store.captures import CaptureRecord, days_of
from rlflow.data.store.copy_text import COPY_TARGETS, json_text
from rlflow.data.store.partitions import DAY_NS, complete_days, day_of
from rlflow.data.store.postgres import Connection, RowRefusedError, take_time, translated
from rlflow.errors import CommandError
from rlflow.session.rows import Counts, GapEndRow, GapRow, RejectRow, ResumeState, Rows
from rlflow.session.session import Session
from rlflow.units import Nanos

ROWS_PER_COPY = 10_000
_EPOCH = date(1970, 1, 1).toordinal()

_HOLD = b"SELECT committed_frame FROM rl_captures WHERE capture = %(key)s AND closed_ns IS NOT NULL FOR UPDATE"

_OLD_GAPS = b"""
    SELECT id, channel, market_ticker, sid, frame_no, received_ns, from_frame, from_ns, to_ns, cause,
           expected_seq, received_seq
    FROM rl_feed_gaps WHERE capture = %(key)s ORDER BY id"""
_OLD_REJECTED = b"""
    SELECT frame_no, received_ns, reason, raw, traceback_digest FROM rl_rejected_frames
    WHERE capture = %(key)s ORDER BY frame_no"""

_DELETE_ROWS = (
    b"""DELETE FROM rl_orderbook_snapshots
        WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s""",
    b"""DELETE FROM rl_orderbook_deltas
        WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s""",
    b"DELETE FROM rl_trades WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s",
    b"DELETE FROM rl_rejected_frames WHERE capture = %(key)s",
)
_DELETE_GAPS = b"DELETE FROM rl_feed_gaps WHERE id = ANY(%(ids)s)"

# When another capture went on with what this one left open.
_WENT_ON = b"""
    SELECT CASE WHEN %(market)s::text IS NULL
        THEN (SELECT min(opened_ns) FROM rl_captures WHERE opened_ns >= %(since_ns)s AND capture <> %(key)s)
        ELSE (SELECT min(received_ns) FROM rl_orderbook_snapshots
              WHERE market_ticker = %(market)s AND received_ns >= %(since_ns)s AND capture <> %(key)s
                AND origin = 'venue') END"""

_UPDATE = b"""
    UPDATE rl_captures SET
        resume_state = %(resume_state)s::jsonb, stored = %(stored)s, control = %(control)s, duplicate = %(duplicate)s,
        unknown = %(unknown)s, rejected = %(rejected)s, sampled_out = %(sampled_out)s, dropped = %(dropped)s,
        rows_from_ns = %(rows_from_ns)s, rows_to_ns = %(rows_to_ns)s
    WHERE capture = %(key)s"""


@attrs.frozen
class Reimported:
    """What came of it."""

    frames: int
    """Frames that were read again."""
    changes: RowChanges
    gaps_removed: int
    gaps_added: int
    rejected_before: int
    rejected_after: int
    has_changed: bool
    """Whether anything differs, be it only a count."""


def reimport(database: Database, kept: KeptFrames, capture: UUID, *, dry_run: bool = False) -> Reimported:
    """Make a capture's rows anew; with `dry_run`, only say what would change. Reads the frames twice if anything does.

    Raises:
        CommandError: the capture is not known, still open, or not all of its frames are there any more.
        DatabaseAwayError: nothing was changed.
    """
    record = _checked(database, capture)
    work = _Reimport(database.connection, kept, record)
    if not dry_run:
        database.make_days(_days(record.opened_ns, record.last_received_ns))
    try:
        with translated(), database.connection.transaction():
            return work.run(is_trial=dry_run)
    except RowRefusedError as error:
        raise CommandError(f"PostgreSQL refuses a row that the frames make now: {error}") from error


def _checked(database: Database, capture: UUID) -> CaptureRecord:
    record = database.capture(capture)
    if record is None:
        raise CommandError(f"no capture {capture} is stored")
    if record.closed is None:
        until = "wait until its connection ends; after a kill, the next start of the service closes it"
        raise CommandError(f"capture {capture} is still open, its rows are being written: {until}")
    if record.rows_from_ns is not None and record.rows_to_ns is not None:
        with translated():
            days = complete_days(database.connection)
        if not {day_of(record.rows_from_ns), day_of(record.rows_to_ns) - 1} <= days:
            raise CommandError(f"days of capture {capture} were dropped; made anew, they would come back")
    return record


@attrs.define
class _Reimport:
    """One capture while its rows are made anew."""

    _connection: Connection
    _kept: KeptFrames
    _record: CaptureRecord
    _frames: int = 0
    _counts: Counts = attrs.Factory(Counts)
    _gaps: list[GapRow] = attrs.Factory(list)
    _gap_ends: list[GapEndRow] = attrs.Factory(list)
    _rejects: list[RejectRow] = attrs.Factory(list)
    _resume: ResumeState = attrs.Factory(ResumeState)
    _days: set[int] = attrs.Factory(set)

    def run(self, *, is_trial: bool) -> Reimported:
        take_time(self._connection)
        key = {"key": self._record.key}
        if self._connection.execute(_HOLD, key).fetchone() != (self._record.committed_frame,):
            raise CommandError(f"capture {self._record.capture} is being written by another process")
        changes = RowChanges()
        changes.compare(self._old_rows(), (row for rows in self._parts() for row in data_rows(rows)))
        rejects = [RejectRow(*fields) for fields in self._connection.execute(_OLD_REJECTED, key)]
        gone, new = self._gap_changes()
        has_changed = bool(
            changes.frames or gone or new or rejects != self._rejects or self._counts != self._record.counts
        )
        if has_changed and not is_trial:
            self._replace(gone, new)
        return Reimported(
            frames=self._counts.total(),
            changes=changes,
            gaps_removed=len(gone),
            gaps_added=len(new),
            rejected_before=len(rejects),
            rejected_after=len(self._rejects),
            has_changed=has_changed,
        )

    def _parts(self) -> Iterator[Rows]:
        """Yield what the frames make now, and remember what is not rows of data."""
        self._counts, self._gaps, self._gap_ends, self._rejects = Counts(), [], [], []
        session = Session(self._record.capture)
        for batch in self._kept.batches(self._record.capture, self._record.committed_frame):
            rows = session.feed(batch)
            self._counts.add(rows.counts)
            self._gaps += rows.gaps
            self._gap_ends += rows.gap_ends
            self._rejects += rows.rejects
            self._days |= days_of(rows)
            self._resume = rows.resume
            yield rows

    def _old_rows(self) -> Iterator[StoredRow]:
        where = self._record.where
        selection = Selection(where.key, rows_from_ns=where.rows_from_ns, rows_to_ns=where.rows_to_ns)
        return (row for row in stored_rows(self._connection, selection) if not isinstance(row, GapRow))

    def _gap_changes(self) -> tuple[list[int], list[GapRow]]:
        """Return the ids of the stored gaps that are none, and the gaps that are not stored.

        Where one capture leaves a gap open, or ends it late, others end it; what they did stays.
        """
        stored = {
            number: GapRow(*fields)
            for number, *fields in self._connection.execute(_OLD_GAPS, {"key": self._record.key})
        }
        new: list[GapRow] = []
        for gap in ended_gaps(self._gaps, self._gap_ends):
            same = next((number for number, old in stored.items() if _is_same(old, gap)), None)
            if same is None:
                new.append(gap if gap.to_ns is not None else msgspec.structs.replace(gap, to_ns=self._end_of(gap)))
            else:
                del stored[same]
        return list(stored), new

    def _end_of(self, gap: GapRow) -> Nanos | None:
        where = {"market": gap.market_ticker, "since_ns": gap.received_ns, "key": self._record.key}
        found = self._connection.execute(_WENT_ON, where).fetchone()
        return None if found is None else found[0]

    def _replace(self, gone: list[int], new: list[GapRow]) -> None:
        where = self._record.where
        parameters = {"key": where.key, "from_ns": where.rows_from_ns, "to_ns": where.rows_to_ns}
        for statement in _DELETE_ROWS:
            self._connection.execute(statement, parameters)
        self._connection.execute(_DELETE_GAPS, {"ids": gone})
        for rows in _portions(self._parts()):
            self._copy(rows, new if rows.closed is not None else [])
        self._connection.execute(_UPDATE, self._capture_fields())

    def _copy(self, rows: Rows, gaps: list[GapRow]) -> None:
        rows.gaps[:] = gaps
        for target in COPY_TARGETS:
            if getattr(rows, target.rows):
                with self._connection.cursor().copy(target.statement) as copy:
                    for block in target.blocks([rows], [self._record.key]):
                        copy.write(block)

    def _capture_fields(self) -> Mapping[str, Any]:
        return {
            "key": self._record.key,
            "resume_state": json_text(self._resume),
            **msgspec.structs.asdict(self._counts),
            "rows_from_ns": min(self._days) * DAY_NS if self._days else None,
            "rows_to_ns": (max(self._days) + 1) * DAY_NS if self._days else None,
        }


def _days(from_ns: Nanos, to_ns: Nanos) -> list[date]:
    """Return the UTC days that may have rows."""
    return [date.fromordinal(_EPOCH + day) for day in range(day_of(from_ns), day_of(to_ns) + 1)]


def _is_same(old: GapRow, new: GapRow) -> bool:
    if msgspec.structs.replace(old, to_ns=new.to_ns) != new:
        return False
    # Another capture's snapshot may have ended it before one of its own did.
    return new.to_ns is None or (old.to_ns is not None and old.to_ns <= new.to_ns)


def _portions(parts: Iterator[Rows]) -> Iterator[Rows]:
    """Yield rows in portions that are worth a statement each."""
    pending: Rows | None = None
    for rows in parts:
        if pending is None:
            pending = rows.copy()
        else:
            pending.absorb(rows)
        if len(pending) >= ROWS_PER_COPY:
            yield pending
            pending = None
    if pending is not None:
        yield pending
