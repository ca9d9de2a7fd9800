"""The journal: every received batch on disk before anything looks into it.

One directory of segments (`journal_segment`), appended to by the loop thread only, read and retired by the writer
thread, fsynced by any thread. Positions are bytes of records since the journal's first; segment headers do not count,
so that each batch begins where the one before it ends.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from uuid import UUID

import attrs
import msgspec
import structlog

from rlflow.data.disk_guard import MEBIBYTE, DiskGuard
from rlflow.data.journal_format import SegmentHeader, encode_header, encode_record
from rlflow.data.journal_recovery import Recovered, note_record, recover
from rlflow.data.journal_segment import (
    Segment,
    create_segment,
    read_header,
    read_segment,
    write_whole,
)
from rlflow.data.raw import RawStore, sync_directory
from rlflow.errors import JournalFullError, StoreError
from rlflow.session.records import Batch

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen(kw_only=True)
class JournalStatistics:
    """How the journal stands; sizes in bytes."""

    oldest: int
    end: int
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
    * one other thread at a time: `retire`, `bind`; one at a time: `sync`;
    * any thread: `read` (own descriptors, never past `end`), `oldest`, `end`, `statistics`;
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
        # Held for a few instructions, never during input or output: the loop waits for it when it starts a segment.
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._rolled: list[int] = []
        self._appended_batches = self._appended_frames = self._refused_batches = 0
        self._is_full = False
        self._fd = -1
        if not self._segments or recovered.is_damaged:
            self._roll()
        else:
            self._fd = os.open(self._segments[-1].path, os.O_RDWR)
        self._active = self._segments[-1]
        self._oldest = self._segments[0].base

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int,
        segment_bytes: int = 64 * MEBIBYTE,
        min_free_bytes: int = 1024 * MEBIBYTE,
        raw: RawStore | None = None,
        disk: DiskGuard | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> "Journal":
        """Open the journal of a directory, made if need be, and cut off what a torn write has left at its end.

        Reads the whole last segment. The caller holds the data directory's lock.

        Args:
            directory: Its permissions become 0700.
            max_bytes: What may stand in it unretired.
            segment_bytes: Size from which on a new segment is begun; at most an eighth of `max_bytes`, because the
                last two segments are never retired and must not use up the budget.
            min_free_bytes: Free bytes of the disk below which nothing is appended.
            raw: Where retired segments go; None: they are deleted.
            disk: Asks for free bytes in place of one made from `min_free_bytes`.
            wall_ns: Wall clock for the segments' time of creation.

        Raises:
            StoreError: It was written in another format.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        return cls(
            directory,
            recover(directory),
            max_bytes=max_bytes,
            segment_bytes=min(segment_bytes, max_bytes // 8),
            disk=disk or DiskGuard(directory, min_free_bytes),
            raw=raw,
            wall_ns=wall_ns,
        )

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
        self._admit(len(record))
        if self._end - self._active.base >= self._segment_bytes:
            self._roll()
        start = self._end
        self._write(record, self._active.place(start))
        # Readers in other threads go as far as this says, so it comes after the write.
        self._end = start + len(record)
        note_record(self._open_captures, batch.kind, batch.capture, batch.last_frame_no)
        self._appended_batches += 1
        self._appended_frames += len(batch.frames)
        self._is_full = False
        return attrs.evolve(batch, start=start, end=self._end)

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
        return _read(segments, start, stop)

    def sync(self) -> int:
        """Make everything durable that was appended before the call; return the position up to which it is."""
        with self._sync_lock:
            with self._lock:
                end, rolled, fd = self._end, self._rolled, self._fd
                self._rolled = []
            for old in rolled:
                os.fsync(old)
                os.close(old)
            os.fsync(fd)
            sync_directory(self._directory)
            return end

    def retire(self, upto: int) -> int:
        """Put away the segments that end at `upto` or before, but for the last of them; return how many.

        They are compressed into `raw` (some 0.3 s each), or deleted if there is none or no room for it.
        """
        with self._lock:
            done = [segment for segment, after in pairwise(self._segments) if after.base <= upto]
        for segment in done[:-1]:
            self._put_away(segment)
        if self._raw is not None:
            self._tidy(self._raw, has_retired=len(done) > 1)
        return max(len(done) - 1, 0)

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
        self._bind_segment(self._segments[-1].path)

    def close(self) -> None:
        """Make everything durable and close the files."""
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
            self._fd = -1

    def statistics(self) -> JournalStatistics:
        """Return how the journal stands."""
        return JournalStatistics(
            oldest=self._oldest,
            end=self._end,
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

    def _admit(self, size: int) -> None:
        used = self._end + size - self._oldest
        if used > self._max_bytes:
            raise self._refusal(f"{used} bytes would exceed its budget of {self._max_bytes}")
        if not self._disk.has_room(size):
            raise self._refusal(f"the disk has only {self._disk.free} bytes left")

    def _refusal(self, reason: str) -> JournalFullError:
        self._refused_batches += 1
        self._is_full = True
        return JournalFullError(f"the journal takes no more: {reason}")

    def _write(self, record: bytes, place: int) -> None:
        try:
            # Not appending but at a place: what a write that failed halfway has left is overwritten by the next.
            write_whole(self._fd, record, place)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise self._refusal(str(error)) from error

    def _roll(self) -> None:
        created_ns = max(self._wall_ns(), self._segments[-1].created_ns + 1 if self._segments else 0)
        header = SegmentHeader(self._end, created_ns, self._open_captures, self._store_id)
        try:
            segment, fd = create_segment(self._directory, header)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise self._refusal(str(error)) from error
        with self._lock:
            if self._fd >= 0:
                self._rolled.append(self._fd)
            self._segments.append(segment)
            self._active, self._fd = segment, fd

    def _put_away(self, segment: Segment) -> None:
        if self._raw is not None:
            try:
                self._raw.keep(segment.path, created_ns=segment.created_ns, base=segment.base)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                _log.warning("raw segment not kept", segment=segment.path.name, reason=str(error))
        with self._lock:
            self._segments.remove(segment)
            self._oldest = self._segments[0].base
        segment.path.unlink()

    def _tidy(self, raw: RawStore, *, has_retired: bool) -> None:
        if has_retired:
            raw.prune(self._wall_ns())
        if self._disk.is_low:
            # What is committed must not keep out what is not.
            shed = raw.shed(self._disk.has_enough)
            _log.warning("raw segments deleted for want of room", segments=shed)

    def _bind_segment(self, path: Path) -> None:
        header, size = read_header(path)
        assert header is not None, "the active segment's header was written or checked by this process"
        bound = encode_header(msgspec.structs.replace(header, store_id=self._store_id))
        assert len(bound) == size
        with path.open("r+b") as file:
            file.write(bound)
            file.flush()
            os.fsync(file.fileno())


def _read(segments: Sequence[Segment], start: int, stop: int) -> Iterator[Batch]:
    for segment, after in zip_longest(segments, segments[1:]):
        limit = stop if after is None else min(after.base, stop)
        if start < limit:
            yield from read_segment(segment, start, limit)
            start = limit
