"""The journal: every received batch on disk before anything looks into it.

One directory of segments (`segment`), appended to by the loop thread only, read and retired by the writer
thread, fsynced by any thread. Positions are bytes of records since the journal's first; segment headers do not count,
so that each batch begins where the one before it ends.

A plain file and not SQLite, by measurement: a batch of one frame costs 5 us and one of a hundred 30 us (up to 110 while
the kernel writes back), in SQLite's WAL mode 12 and 170 us. Medians of `pytest tests/test_journal_speed.py
--benchmark-enable`: frames of 272 bytes, Python 3.11, ext4, two shared cores.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import attrs
import structlog

from rlflow.data.journal.disk_guard import MEBIBYTE, DiskGuard
from rlflow.data.journal.format import SegmentHeader, encode_record
from rlflow.data.journal.raw import RawStore
from rlflow.data.journal.recovery import Recovered, note_record, recover
from rlflow.data.journal.segment import Segment, bind_segment, read_segments
from rlflow.data.journal.writer import SegmentWriter
from rlflow.errors import JournalFullError, StoreError
from rlflow.session.records import Batch, Kind

# What the budget leaves for local records: they say what the tables could not know otherwise, such as the end of a
# capture whose last frames found the journal full. Thousands of them have room in this.
RESERVE_BYTES = MEBIBYTE
# Below this the disk is left to everybody else.
MIN_FREE_BYTES = 1024 * MEBIBYTE

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen(kw_only=True)
class JournalStatistics:
    """How the journal stands; sizes in bytes."""

    oldest: int
    end: int
    synced: int
    """Position up to which a power cut costs nothing."""
    max_bytes: int
    segments: int
    appended_batches: int
    """Since this process opened it, as the next two."""
    appended_frames: int
    refused_batches: int
    """Not taken because the journal was full."""
    is_full: bool
    """Whether the last append was refused."""
    free_bytes: int
    """On the disk when last looked."""
    truncated_bytes: int
    """Torn write found behind the last whole record at opening."""
    is_damaged: bool
    """Whether the last segment was found damaged before its end at opening."""

    @property
    def used_bytes(self) -> int:
        """What counts against `max_bytes`."""
        return self.end - self.oldest


class Journal:
    """An open journal, its directory belonging to this process alone.

    Which thread may do what:

    * the loop thread: `append`, `open_captures`;
    * one other thread at a time: `retire`, `make_room`, `bind`;
    * any thread: `sync`, `read` (own descriptors, never past `end`), `oldest`, `end`, `statistics`;
    * `close` when nobody else uses it any more.
    """

    def __init__(
        self,
        directory: Path,
        recovered: Recovered,
        *,
        max_bytes: int,
        segment_bytes: int,
        disk: DiskGuard,
        raw: RawStore | None,
        wall_ns: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._raw = raw
        self._wall_ns = wall_ns
        self._recovered = recovered
        self._store_id = recovered.store_id
        self._open_captures = dict(recovered.open_captures)
        self._segments = list(recovered.segments)
        self._end = recovered.end
        self._synced = 0
        # Held for a few instructions, never during input or output: the loop waits for it when it begins a segment.
        self._lock = threading.Lock()
        self._appended_batches = self._appended_frames = self._refused_batches = 0
        self._is_full = False
        self._writer = SegmentWriter(directory, recovered.growing)
        if recovered.growing is None:
            self._begin_segment()
        self._oldest = self._segments[0].base

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int,
        segment_bytes: int = 64 * MEBIBYTE,
        min_free_bytes: int = MIN_FREE_BYTES,
        raw: RawStore | None = None,
        disk: DiskGuard | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> "Journal":
        """Open the journal of a directory, made if need be, and cut off what a torn write has left at its end.

        Reads the whole last segment, and makes room on the disk. The caller holds the data directory's lock.

        Args:
            directory: Its permissions become 0700.
            max_bytes: What may stand in it unretired; local records may exceed it by `RESERVE_BYTES`.
            segment_bytes: Size from which on a new segment is begun; at most an eighth of `max_bytes`, because the
                last two segments are never retired and must not use up the budget.
            min_free_bytes: Free bytes of the disk below which no frames are appended.
            raw: Where retired segments go; None: they are deleted.
            disk: Asks for free bytes in place of one made from `min_free_bytes`.
            wall_ns: Wall clock for the segments' time of creation.

        Raises:
            StoreError: It was written in another format.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        journal = cls(
            directory,
            recover(directory),
            max_bytes=max_bytes,
            segment_bytes=min(segment_bytes, max_bytes // 8),
            disk=disk or DiskGuard(directory, min_free_bytes),
            raw=raw,
            wall_ns=wall_ns,
        )
        journal.make_room()
        journal.sync()
        return journal

    @property
    def oldest(self) -> int:
        """Position of the first record that can still be read."""
        return self._oldest

    @property
    def end(self) -> int:
        """Position behind the last record whose write has returned."""
        return self._end

    @property
    def store_id(self) -> str:
        """The database that the journal belongs to; empty: not bound yet."""
        return self._store_id

    @property
    def open_captures(self) -> dict[UUID, int]:
        """A copy of the captures without a closing record, and their last number in the journal."""
        return dict(self._open_captures)

    def append(self, batch: Batch) -> Batch:
        """Write one batch and return it with its positions.

        From then on it survives `kill -9`, and a power cut once `sync` has returned. Raises JournalFullError, nothing
        being written, if the budget is used up or the disk is nearly full; any other OSError as it is.
        """
        record = encode_record(batch, self._end)
        try:
            self._write(record, is_local=batch.kind is not Kind.FRAMES)
        except JournalFullError:
            self._refused_batches += 1
            self._is_full = True
            raise
        start, end = self._end, self._end + len(record)
        # Readers in other threads go as far as this says, so it comes after the write.
        self._end = end
        note_record(self._open_captures, batch.kind, batch.capture, batch.last_frame_no)
        self._appended_batches += 1
        self._appended_frames += len(batch.frames)
        self._is_full = False
        return _placed(batch, start, end)

    def read(self, start: int, stop: int) -> Iterator[Batch]:
        """Return the batches of positions [start, stop), both on batch boundaries, but never beyond `end`.

        While it is iterated, nothing from the cursor on may be retired. Raises ValueError if `start` lies before
        `oldest`. Iterating raises CorruptJournalError after the last whole record before a damage; reading goes on at
        its `end`.
        """
        stop = min(stop, self._end)
        with self._lock:
            segments = tuple(self._segments)
        if start < segments[0].base:
            raise ValueError(f"journal position {start} has been retired; the oldest is {segments[0].base}")
        return read_segments(segments, start, stop)

    def sync(self) -> int:
        """Make everything durable that was appended before the call; return the position up to which it is."""
        end = self._end
        self._writer.sync()
        self._synced = end
        return end

    def retire(self, upto: int) -> int:
        """Put away the segments that end at `upto` or before, but for the last of them; return how many.

        They are compressed into `raw` (some 0.3 s each), or deleted if there is none or no room for it.
        """
        with self._lock:
            done = [segment for segment, after in pairwise(self._segments) if after.base <= upto]
        for segment in done[:-1]:
            self._put_away(segment)
        if self._raw is not None and len(done) > 1:
            with _lenient("prune"):
                self._raw.prune(self._wall_ns())
        self.make_room()
        return max(len(done) - 1, 0)

    def make_room(self) -> None:
        """Delete the oldest of `raw` if the disk is low: what is committed must not keep out what is not.

        For whenever nothing can be retired, too: a disk shared with the database may be why.
        """
        if self._raw is None or self._disk.has_enough():
            return
        with _lenient("shed"):
            if shed := self._raw.shed(self._disk.has_enough):
                _log.warning("raw segments deleted for want of room", segments=shed)

    def bind(self, store_id: str) -> None:
        """Write into the journal which store it belongs to; StoreError if it belongs to another."""
        if self._store_id == store_id:
            return
        if self._store_id:
            raise StoreError(
                f"the journal in {self._directory} belongs to store {self._store_id}, the database is {store_id}: "
                "use the database it was made with, or move the journal away"
            )
        # First for the segments to come, then in the last one; in whichever order the loop begins one meanwhile,
        # the newest or the one before it says it.
        self._store_id = store_id
        bind_segment(self._segments[-1].path, store_id)

    def close(self) -> None:
        """Make everything durable and close the files."""
        self._writer.close()

    def statistics(self) -> JournalStatistics:
        """Return how the journal stands."""
        return JournalStatistics(
            oldest=self._oldest,
            end=self._end,
            synced=self._synced,
            max_bytes=self._max_bytes,
            segments=len(self._segments),
            appended_batches=self._appended_batches,
            appended_frames=self._appended_frames,
            refused_batches=self._refused_batches,
            is_full=self._is_full,
            free_bytes=self._disk.free,
            truncated_bytes=self._recovered.truncated_bytes,
            is_damaged=self._recovered.is_damaged,
        )

    def _write(self, record: bytes, *, is_local: bool) -> None:
        used = self._end + len(record) - self._oldest
        if used > self._max_bytes + (RESERVE_BYTES if is_local else 0):
            raise JournalFullError(
                f"the journal takes no more: {used} bytes would exceed its budget of {self._max_bytes}"
            )
        if not self._disk.has_room(len(record)) and not is_local:
            raise JournalFullError(f"the journal takes no more: the disk has only {self._disk.free} bytes left")
        if self._end - self._writer.segment.base >= self._segment_bytes:
            self._begin_segment()
        self._writer.write(record, self._end)

    def _begin_segment(self) -> None:
        created_ns = max(self._wall_ns(), self._segments[-1].created_ns + 1 if self._segments else 0)
        header = SegmentHeader(self._end, created_ns, self._open_captures, self._store_id)
        segment = self._writer.begin(header)
        with self._lock:
            self._segments.append(segment)

    def _put_away(self, segment: Segment) -> None:
        if self._raw is not None:
            with _lenient("keep"):
                self._raw.keep(segment)
        with self._lock:
            self._segments.remove(segment)
            self._oldest = self._segments[0].base
        segment.path.unlink()


# What is kept raw has been committed as rows. A copy of it is worth less than going on without.
@contextmanager
def _lenient(task: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.warning("raw store failed", task=task, reason=str(error))


# What attrs.evolve(batch, start=start, end=end) does, in half of the time (1.7 instead of 3.8 us).
def _placed(batch: Batch, start: int, end: int) -> Batch:
    return Batch(
        batch.kind,
        batch.capture,
        batch.first_frame_no,
        batch.received_ns,
        batch.frames,
        start,
        end,
        batch.arrived_ns,
    )
