"""Recorded files into the tables, by the same way as live frames, and exactly once.

A recording's captures have ids made from its content, and what is in the tables of each is known to the frame. So a
second import adds nothing, an import that was interrupted goes on where it stood, and so does one of a file that was
damaged and has been repaired.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from uuid import UUID

import attrs

from rlflow.data.database import Database
from rlflow.data.imports.exported_import import ExportedImport
from rlflow.data.sheets.trade_rows import store_missing
from rlflow.data.store.captures import CaptureRecord
from rlflow.errors import RecordingError, RecordingRefusedError
from rlflow.kalshi.sheets import RestTrade
from rlflow.recordings import Form, Progress, RecordedCapture, Recording, check_sums, read_recording
from rlflow.session.records import Batch, Kind, Opened
from rlflow.session.rows import Counts, Rows, TradeRow
from rlflow.session.session import Session

# Rows of one transaction: large enough that the commit is a small part of it, small enough to stay in memory.
ROWS_PER_COMMIT = 10_000

SPARSE = "its `seq` skips numbers all the time: the recorder left other markets out, so import it with --sparse-seq"
GROWN = "it was imported whole when it ended earlier; what has been added to it since cannot be"


@attrs.define
class ImportedFile:
    """What came of one file."""

    path: Path
    captures: int = 0
    """Connections in it, as far as it was read."""
    frames: int = 0
    """Frames in it, as far as it was read."""
    added: int = 0
    """Frames of those that the database did not have before."""
    rows: int = 0
    """Table rows that were added."""
    counts: Counts = attrs.Factory(Counts)
    """What the added frames became."""
    problem: str | None = None
    """Why it was not, or not completely, imported."""
    is_refused: bool = False
    """Whether that is because it is no recording, or not one for these options."""

    def take(self, rows: Rows) -> None:
        """Count rows that were committed."""
        self.added += rows.counts.total()
        self.rows += len(rows) - len(rows.gap_ends)
        self.counts.add(rows.counts)


def import_files(
    database: Database,
    paths: Sequence[Path],
    *,
    sparse_seq: bool = False,
    use_yes_price: bool = False,
    progress: Progress | None = None,
) -> list[ImportedFile]:
    """Bring recordings into the database, one after the other; return what came of each, in the same order.

    A damaged file keeps what is whole in it, up to the damage. Its capture stays open, so that importing the repaired
    file goes on there. Files with problems do not keep the others from being imported.

    Args:
        database: the store of environment `recordings`; it blocks, so call this in a thread.
        paths: files of any form that `read_recording` knows.
        sparse_seq: see `read_recording`. A recording that looks so is refused otherwise, and a capture that has been
            begun otherwise is not continued.
        use_yes_price: likewise.
        progress: called with the bytes read and the bytes of all files. What it raises interrupts the import, which may
            be repeated.

    Raises:
        DatabaseAwayError: what was committed stays, and the import may be repeated.
        StoreError: the database is not one for recordings, or another import of the same recording is at work.
    """
    overall = _Overall(progress, [path.stat().st_size if path.exists() else 0 for path in paths])
    found = [ImportedFile(path) for path in paths]
    for imported in found:
        try:
            check_sums(imported.path)
            recording = read_recording(imported.path, sparse_seq=sparse_seq, use_yes_price=use_yes_price)
            _check_sparse(recording)
            _import(database, recording, imported, overall.of_file)
        except (RecordingError, OSError) as error:
            imported.problem, imported.is_refused = str(error), isinstance(error, RecordingRefusedError)
        overall.end_file()
    return found


@attrs.define
class _Overall:
    """Turns the progress in one file, which begins anew with each of its connections, into that of all files."""

    _progress: Progress | None
    _sizes: list[int]
    _ended: int = 0
    _reached: int = 0

    def of_file(self, done: int, _total: int) -> None:
        self._reach(sum(self._sizes[: self._ended]) + done)

    def end_file(self) -> None:
        self._ended += 1
        self._reach(sum(self._sizes[: self._ended]))

    def _reach(self, done: int) -> None:
        if done > self._reached:
            self._reached = done
            if self._progress is not None:
                self._progress(done, sum(self._sizes))


def _import(database: Database, recording: Recording, imported: ImportedFile, progress: Progress) -> None:
    stored = {one.capture: one for one in database.captures()}
    if recording.form is Form.EXPORTED:
        _import_exported(database, recording, stored, imported, progress)
        return
    for capture in recording.known_as(stored).captures():
        imported.captures += 1
        _import_capture(database, capture, stored.get(capture.capture), imported, progress)


def _import_exported(
    database: Database,
    recording: Recording,
    stored: Mapping[UUID, CaptureRecord],
    imported: ImportedFile,
    progress: Progress,
) -> None:
    def commit(rows: Rows) -> None:
        database.commit([rows])
        imported.take(rows)

    def store_fetched(trades: Sequence[TradeRow]) -> None:
        where = attrgetter("market_ticker", "received_ns")
        for (ticker, fetched_ns), some in groupby(sorted(trades, key=where), key=where):
            imported.rows += store_missing(database, ticker, map(_as_fetched, some), fetched_ns)

    work = ExportedImport(recording, stored, commit, store_fetched)
    try:
        work.run(progress)
    finally:
        imported.captures, imported.frames = work.captures, work.frames


def _as_fetched(row: TradeRow) -> RestTrade:
    return RestTrade(
        trade_id=row.trade_id,
        ticker=row.market_ticker,
        created_ns=row.timestamp_ms * 10**6 if row.timestamp_ms is not None else row.received_ns,
        yes_price=row.yes_price,
        count=row.count,
        taker_side=row.taker_side,
        is_block_trade=row.is_block_trade,
    )


def _import_capture(
    database: Database,
    capture: RecordedCapture,
    known: CaptureRecord | None,
    imported: ImportedFile,
    progress: Progress,
) -> None:
    """Commit what is new of a capture; of a damaged one, all that is whole."""
    if known is not None:
        _check_alike(capture, known.opened)
    committed = -1 if known is None else known.committed_frame
    writer = _Writer(database, capture.capture, imported)
    try:
        for batch in capture.batches(progress):
            imported.frames += len(batch.frames) if batch.kind is Kind.FRAMES else 0
            if batch.last_frame_no > committed:
                _check_open(capture, known)
                writer.take(batch)
    except RecordingError:
        writer.commit()
        raise
    writer.commit()


def _check_sparse(recording: Recording) -> None:
    # Imported otherwise, such a recording would be one gap after the other, and that could not be changed afterwards.
    is_judged_already = recording.form is Form.EXPORTED
    if recording.looks_sparse and not recording.opened.sparse_seq and not is_judged_already:
        raise RecordingRefusedError(recording.path, 0, SPARSE)


def _check_open(capture: RecordedCapture, known: CaptureRecord | None) -> None:
    if known is not None and known.closed is not None:
        raise RecordingError(capture.recording.path, 0, GROWN)


def _check_alike(capture: RecordedCapture, before: Opened) -> None:
    for name in ("sparse_seq", "use_yes_price"):
        if getattr(before, name) != getattr(capture.opened, name):
            reason = f"it was imported with {name}={getattr(before, name)} before; that cannot be changed afterwards"
            raise RecordingRefusedError(capture.recording.path, 0, reason)


@attrs.define
class _Writer:
    """Turns the batches of one capture into rows, from where the database stands, and commits them in portions."""

    _database: Database
    _capture: UUID
    _imported: ImportedFile
    _session: Session | None = None
    _pending: Rows | None = None

    def take(self, batch: Batch) -> None:
        """Add a batch's rows; every so many rows they are committed."""
        if self._session is None:
            point = self._database.resume_point(self._capture)
            self._session = Session(self._capture) if point is None else Session.resume(point)
        rows = self._session.feed(batch)
        if self._pending is None:
            self._pending = rows
        else:
            self._pending.absorb(rows)
        if len(self._pending) >= ROWS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Commit what was added since the last time."""
        rows, self._pending = self._pending, None
        if rows is None:
            return
        self._database.commit([rows])
        self._imported.take(rows)
