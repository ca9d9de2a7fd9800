"""Committed journal segments, compressed and kept for some days, to make rows anew after a bug in our decoder."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import attrs
import structlog
import zstandard

from rlflow.data.journal.format import decode_header, find_header_size, header_length, read_batch, whole_records
from rlflow.data.journal.segment import Segment, sync_directory
from rlflow.errors import CorruptJournalError
from rlflow.session.records import Batch

_NAME = re.compile(r"(\d{20})-(\d{20})\.journal\.zst")
_UNFINISHED = ".part"
_NANOS_PER_DAY = 86_400 * 10**9

# Level 3 makes a sixth of market data frames at some 200 MB/s; higher levels gain little and hold up the writer.
_LEVEL = 3

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class RawSegment:
    """One compressed segment."""

    path: Path
    created_ns: int
    """When its first record was written; segments of one journal are in this order."""
    base: int
    """Its first journal position."""
    kept_ns: int
    """When it was moved here."""
    size_bytes: int


class RawStore:
    """The directory of compressed segments. Used by one thread at a time; every method blocks on the disk."""

    def __init__(self, directory: Path, *, keep_days: float) -> None:
        self.directory = directory
        self._keep_ns = int(keep_days * _NANOS_PER_DAY)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in directory.glob(f"*{_UNFINISHED}"):
            unfinished.unlink()

    def keep(self, segment: Segment) -> Path:
        """Store a compressed copy of a segment durably and return its path; keeping it again replaces it."""
        target = self.directory / f"{segment.created_ns:020d}-{segment.base:020d}.journal.zst"
        unfinished = target.with_name(target.name + _UNFINISHED)
        try:
            _compress(segment.path, unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        sync_directory(self.directory)
        return target

    def segments(self) -> tuple[RawSegment, ...]:
        """Return what is kept, oldest first."""
        found = []
        for path in sorted(self.directory.iterdir()):
            if name := _NAME.fullmatch(path.name):
                status = path.stat()
                found.append(RawSegment(path, int(name[1]), int(name[2]), status.st_mtime_ns, status.st_size))
        return tuple(found)

    def prune(self, now_ns: int) -> int:
        """Delete what was moved here more than the kept days before `now_ns`; return how many segments."""
        old = [segment for segment in self.segments() if now_ns - segment.kept_ns > self._keep_ns]
        for segment in old:
            segment.path.unlink()
        return len(old)

    def shed(self, is_enough: Callable[[], bool]) -> int:
        """Delete the oldest until `is_enough()` or nothing is left; return how many segments."""
        count = 0
        for segment in self.segments():
            if is_enough():
                break
            segment.path.unlink()
            count += 1
        return count

    def batches(self, capture: UUID | None = None) -> Iterator[Batch]:
        """Yield the batches of one capture (None: of all) in their order, as `segment_batches` does."""
        for segment in self.segments():
            yield from segment_batches(segment.path, capture)


def raw_paths(directory: Path) -> list[Path]:
    """Return the files of a directory of compressed segments, oldest first, without changing anything there."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def segment_batches(path: Path, capture: UUID | None = None) -> Iterator[Batch]:
    """Yield one capture's batches (None: all) of a segment file, plain or `.zst`, with `start` and `end` -1.

    Damaged records are left out, and said in the log; what is missing shows as a hole in the frame numbers. Takes the
    memory of the whole segment. Raises CorruptJournalError if it cannot be decompressed, StoreError for another
    format's version.
    """
    data = _decompress(path) if path.suffix == ".zst" else path.read_bytes()
    base = int(path.name.removesuffix(".zst").removesuffix(".journal").rpartition("-")[2])
    size = header_length(data) if decode_header(data) is not None else find_header_size(data, base)
    if size < 0:
        _log.warning("segment unreadable", segment=path.name)
        return
    expected = base
    for at, head in whole_records(data, size, base):
        if head.offset != expected:
            _log.warning("segment damaged", segment=path.name, position=expected, lost_bytes=head.offset - expected)
        expected = head.end
        if capture is None or head.capture == capture:
            yield attrs.evolve(read_batch(data, at, head), start=-1, end=-1)


def _compress(source: Path, target: Path) -> None:
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with (
        source.open("rb") as plain,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out,
    ):
        compressor.copy_stream(plain, out, size=source.stat().st_size)
        out.flush()
        os.fsync(out.fileno())


def _decompress(path: Path) -> bytes:
    try:
        # At once and not as a stream, which would take a cut file for a whole one.
        return zstandard.ZstdDecompressor().decompress(path.read_bytes())
    except zstandard.ZstdError as error:
        raise CorruptJournalError(path.name, 0, path.stat().st_size) from error
