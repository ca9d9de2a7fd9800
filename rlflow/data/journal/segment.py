"""One file of the journal: made, opened again after a crash, and read while it grows."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import attrs
import msgspec
import structlog

from rlflow.data.journal.format import (
    SegmentHeader,
    decode_header,
    encode_header,
    find_header_size,
    find_record,
    header_length,
    read_batch,
    read_head,
    record_length,
)
from rlflow.errors import CorruptJournalError
from rlflow.session.records import Batch

SUFFIX = ".journal"
_NAME = re.compile(r"(\d{20})\.journal")

# One system call for some thousand frames, while the buffer is still small enough to stay in the processor's cache.
READ_BYTES = 256 * 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class Segment:
    """A segment file and how journal positions map to places in it."""

    path: Path
    base: int
    """Journal position of its first record."""
    header_size: int
    created_ns: int
    """When it was made, later than the one before; about that, when the header is damaged."""

    def place(self, position: int) -> int:
        """Return where a journal position is in the file."""
        return self.header_size + position - self.base


def segment_paths(directory: Path) -> list[Path]:
    """Return the segment files of a journal directory, oldest first."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def base_of(path: Path) -> int:
    """Return the journal position that a segment's name gives."""
    return int(path.name.removesuffix(SUFFIX))


def create_segment(directory: Path, header: SegmentHeader) -> tuple[Segment, int]:
    """Make an empty segment; return it and a descriptor to write it with. Nothing is left behind on OSError."""
    path = directory / f"{header.base:020d}{SUFFIX}"
    encoded = encode_header(header)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_whole(fd, encoded, 0)
    except OSError:
        os.close(fd)
        path.unlink()
        raise
    return Segment(path, header.base, len(encoded), header.created_ns), fd


def write_whole(fd: int, data: bytes, place: int) -> None:
    """Write all of `data` at a place of the file; OSError(ENOSPC) if only a part of it went in."""
    written = os.pwrite(fd, data, place)
    if written < len(data):
        # The kernel reports the reason only to the next write; on a regular file it is always want of room.
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_header(path: Path) -> tuple[SegmentHeader | None, int]:
    """Return a segment's header, None if it is damaged, and its size."""
    with path.open("rb") as file:
        start = file.read(4096)
        size = header_length(start)
        # A damaged length may claim anything; a header has some hundred bytes, and fifty for each open capture.
        start += file.read(min(max(size - len(start), 0), READ_BYTES))
    return decode_header(start), size


def load_segment(path: Path) -> Segment:
    """Return an older segment, whose records are not looked at unless its header is damaged."""
    header, size = read_header(path)
    if header is not None:
        return Segment(path, header.base, size, header.created_ns)
    size = find_header_size(path.read_bytes(), base_of(path))
    _log.warning("journal header damaged", segment=path.name, is_readable=size >= 0)
    return Segment(path, base_of(path), max(size, 0), path.stat().st_mtime_ns)


def bind_segment(path: Path, store_id: str) -> None:
    """Write the store's id into a segment's header, durably; the header must be whole."""
    header, size = read_header(path)
    assert header is not None, "the growing segment's header was written or checked by this process"
    bound = encode_header(msgspec.structs.replace(header, store_id=store_id))
    assert len(bound) == size
    with path.open("r+b") as file:
        file.write(bound)
        file.flush()
        os.fsync(file.fileno())


def read_segments(segments: Sequence[Segment], start: int, stop: int) -> Iterator[Batch]:
    """Yield the batches of journal positions [start, stop) from segments in their order, as `read_segment` does."""
    for segment, after in zip_longest(segments, segments[1:]):
        limit = stop if after is None else min(after.base, stop)
        if start < limit:
            yield from read_segment(segment, start, limit)
            start = limit


def read_segment(segment: Segment, start: int, stop: int) -> Iterator[Batch]:
    """Yield the batches of journal positions [start, stop), both on batch boundaries of this segment.

    Raises CorruptJournalError at the first record that is not whole; its `end` is the next whole one, or `stop`.
    The file may be unlinked meanwhile.
    """
    fd = os.open(segment.path, os.O_RDONLY)
    try:
        yield from _read_open(fd, segment, start, stop)
    finally:
        os.close(fd)


def _read_open(fd: int, segment: Segment, start: int, stop: int) -> Iterator[Batch]:
    position, buffer, at = start, b"", 0
    while position < stop:
        head = read_head(buffer, at)
        if head is None:  # the end of the buffer, or damage
            buffer, at = _window(fd, segment.place(position), stop - position), 0
            head = read_head(buffer, at)
        if head is None or head.offset != position:
            raise _damage(fd, segment, position, stop)
        yield read_batch(buffer, at, head)
        at, position = at + head.length, head.end


# Some records, or the whole of one that is bigger.
def _window(fd: int, place: int, limit: int) -> bytes:
    buffer = os.pread(fd, min(READ_BYTES, limit), place)
    length = record_length(buffer, 0)
    return buffer if length <= len(buffer) else os.pread(fd, min(length, limit), place)


def _damage(fd: int, segment: Segment, position: int, stop: int) -> CorruptJournalError:
    rest = os.pread(fd, stop - position, segment.place(position))
    after = find_record(rest, 1, position + 1)
    return CorruptJournalError(segment.path.name, position, stop if after is None else after.offset)
