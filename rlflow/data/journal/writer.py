"""The journal's writing end: the segment that grows, and those that still have to be made durable."""

import errno
import os
import threading
from pathlib import Path

from rlflow.data.journal.format import SegmentHeader
from rlflow.data.journal.segment import Segment, create_segment, sync_directory, write_whole
from rlflow.errors import JournalFullError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SegmentWriter:
    """Owns the descriptors of the growing segment and of those before it until they are durable.

    `begin` and `write` belong to one thread; `sync` may be called in another meanwhile.
    """

    def __init__(self, directory: Path, growing: Segment | None) -> None:
        self._directory = directory
        self._growing = growing
        self._fd = -1 if growing is None else os.open(growing.path, os.O_RDWR)
        self._unsynced: list[int] = []
        # Held for a few instructions, never during input or output: the loop waits for it when it begins a segment.
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()

    @property
    def segment(self) -> Segment:
        """The growing segment; one must have been begun."""
        assert self._growing is not None
        return self._growing

    @property
    def is_open(self) -> bool:
        """Whether there is a growing segment."""
        return self._fd >= 0

    def begin(self, header: SegmentHeader) -> Segment:
        """Begin the next segment and return it; JournalFullError if the disk is full, nothing having changed."""
        try:
            segment, fd = create_segment(self._directory, header)
        except OSError as error:
            raise _full(error) from error
        with self._lock:
            if self._fd >= 0:
                self._unsynced.append(self._fd)
            self._growing, self._fd = segment, fd
        return segment

    def write(self, record: bytes, position: int) -> None:
        """Write a record at a journal position; JournalFullError if the disk is full.

        It goes to its place and is not appended, so what a write that failed halfway has left is overwritten.
        """
        try:
            write_whole(self._fd, record, self.segment.place(position))
        except OSError as error:
            raise _full(error) from error

    def sync(self) -> None:
        """Make durable what was written before the call."""
        with self._sync_lock:
            with self._lock:
                before, self._unsynced, growing = self._unsynced, [], self._fd
            for fd in before:
                os.fsync(fd)
                os.close(fd)
            os.fsync(growing)
            sync_directory(self._directory)

    def close(self) -> None:
        """Make everything durable and close the files; closing again does nothing."""
        if self.is_open:
            self.sync()
            os.close(self._fd)
            self._fd = -1


def _full(error: OSError) -> JournalFullError:
    if error.errno not in _NO_ROOM:
        raise error
    return JournalFullError(f"the journal takes no more: {error.strerror}")
