"""What a journal directory holds after the process that wrote it has ended in any way."""

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import attrs
import structlog

from rlflow.data.journal.format import decode_header, find_header_size, header_length, whole_records
from rlflow.data.journal.segment import Segment, base_of, load_segment, read_header, segment_paths
from rlflow.session.records import Kind

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.frozen
class Recovered:
    """What stands in the journal, the torn end of its last segment cut off."""

    segments: tuple[Segment, ...]
    end: int
    """Journal position behind the last whole record."""
    open_captures: dict[UUID, int]
    """Captures without a closing record, and their last number."""
    store_id: str
    """Empty: not known yet."""
    truncated_bytes: int = 0
    """What a torn write had left behind the last whole record."""
    is_damaged: bool = False
    """Whether the last segment has something before its last whole record that is not one."""
    growing: Segment | None = None
    """The segment that can go on growing; None: a new one is to be begun at `end`."""


@attrs.frozen
class _Scan:
    header_size: int
    end: int
    is_damaged: bool


def recover(directory: Path) -> Recovered:
    """Return what a journal directory holds; the only thing it changes is the end of the last segment.

    Only the last segment's records are read. Raises StoreError for a journal in another format's version.
    """
    paths = segment_paths(directory)
    if not paths:
        return Recovered((), 0, {}, "")
    *older, last = paths
    return _with_last([load_segment(path) for path in older], last, _store_id(paths))


def note_record(captures: dict[UUID, int], kind: Kind, capture: UUID, last_frame_no: int) -> None:
    """Keep the table of open captures up to date with one more record."""
    if kind is Kind.CLOSED:
        captures.pop(capture, None)
    else:
        captures[capture] = last_frame_no


def _with_last(older: Sequence[Segment], path: Path, store_id: str) -> Recovered:
    captures = _captures_at(older, path)
    scan = _scan(path, captures)
    if scan is None:
        # It was being made when the process ended: nothing can be in it, and it is made again at the same position.
        _log.warning("journal segment without content removed", segment=path.name)
        path.unlink()
        return Recovered(tuple(older), base_of(path), captures, store_id)
    segment = attrs.evolve(load_segment(path), header_size=scan.header_size)
    torn = path.stat().st_size - segment.place(scan.end)
    if torn:
        os.truncate(path, segment.place(scan.end))
        _log.warning("journal tail truncated", segment=path.name, position=scan.end, torn_bytes=torn)
    growing = None if scan.is_damaged else segment
    return Recovered((*older, segment), scan.end, captures, store_id, torn, scan.is_damaged, growing)


# Reads all records of a segment, keeping `captures` up to date; None if it holds neither a header nor a record.
def _scan(path: Path, captures: dict[UUID, int]) -> _Scan | None:
    data, base = path.read_bytes(), base_of(path)
    header = decode_header(data)
    size = find_header_size(data, base) if header is None else header_length(data)
    if size < 0:
        return None
    end, is_damaged = base, header is None
    for _, head in whole_records(data, size, base):
        is_damaged = is_damaged or head.offset != end
        note_record(captures, head.kind, head.capture, head.last_frame_no)
        end = head.end
    return _Scan(size, end, is_damaged)


# The captures open where the last segment begins. Its own header says so; without it, the segments before it do.
def _captures_at(older: Sequence[Segment], last: Path) -> dict[UUID, int]:
    header, _ = read_header(last)
    if header is not None:
        return dict(header.open_captures)
    if not older:
        return {}
    captures = _captures_at(older[:-1], older[-1].path)
    _scan(older[-1].path, captures)
    return captures


def _store_id(paths: Sequence[Path]) -> str:
    headers = (read_header(path)[0] for path in reversed(paths))
    return next((header.store_id for header in headers if header is not None and header.store_id), "")
