"""The journal's bytes: how batches stand in a segment, and how whole records are told from damaged ones.

A segment is a header (JSON, framed) followed by records. A record is one batch:

======  ====================  =============================================================================
bytes   field                 meaning
======  ====================  =============================================================================
4       marker                0xFF "RLJ"; 0xFF never occurs in the UTF-8 text that frames are
4       crc32                 of every byte after this field
4       length                of the whole record, marker included
8       offset                journal position of the record: bytes of records before it in the whole journal
1       kind                  `Kind`
4       count                 number of frames
16      capture               UUID
8       first_frame_no
8       received_ns           signed
4 each  lengths               one per frame
        frames                verbatim, without separators
======  ====================  =============================================================================

Integers are little-endian. Since a record names its own position, bytes that merely look like one (a copy inside a
frame, the remains of an older write) are not taken for one after damage, and records can be read even where the
segment's header is gone.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from uuid import UUID

import msgspec

from rlflow.errors import StoreError
from rlflow.session.records import Batch, Kind

VERSION = 1
RECORD_MARKER = b"\xffRLJ"
HEADER_MARKER = b"\xffRLH"

_FRAME = struct.Struct("<4sII")
_CHECKED_FROM = 8
_FIELDS = struct.Struct("<IQBI16sQq")
HEAD_BYTES = _CHECKED_FROM + _FIELDS.size

# The header is rewritten in place when the store becomes known, so it keeps room for an id of this many characters.
STORE_ID_ROOM = 64
_STORE_ID = re.compile(rf"[\w.-]{{0,{STORE_ID_ROOM}}}", re.ASCII)


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says about itself."""

    base: int
    """Journal position of its first record."""
    created_ns: int
    open_captures: dict[UUID, int]
    """Captures without a closing record before this segment, and their last number."""
    store_id: str = ""
    """The database the journal belongs to; empty: not known yet."""
    version: int = VERSION


class _Versioned(msgspec.Struct, frozen=True):
    version: int


class RecordHead(msgspec.Struct, frozen=True, gc=False):
    """A record whose checksum is right, without its frames."""

    length: int
    offset: int
    kind: Kind
    count: int
    capture: UUID
    first_frame_no: int
    received_ns: int

    @property
    def last_frame_no(self) -> int:
        """The number of the batch's last frame."""
        return self.first_frame_no + self.count - 1

    @property
    def end(self) -> int:
        """Journal position behind the record."""
        return self.offset + self.length


_KINDS = {int(kind): kind for kind in Kind}


# A UUID takes longer to make than all the rest of a small record, and few captures are interleaved.
@lru_cache(maxsize=64)
def _capture(raw: bytes) -> UUID:
    return UUID(bytes=raw)


def encode_record(batch: Batch, offset: int) -> bytes:
    """Return the record of a batch that will stand at journal position `offset`."""
    count = len(batch.frames)
    frames = b"".join(batch.frames)
    length = HEAD_BYTES + 4 * count + len(frames)
    capture = batch.capture.bytes
    fields = _FIELDS.pack(length, offset, batch.kind, count, capture, batch.first_frame_no, batch.received_ns)
    lengths = struct.pack(f"<{count}I", *map(len, batch.frames))
    crc = zlib.crc32(frames, zlib.crc32(lengths, zlib.crc32(fields)))
    return b"".join((RECORD_MARKER, crc.to_bytes(4, "little"), fields, lengths, frames))


def record_length(buffer: bytes, at: int) -> int:
    """Return what the bytes at `at` claim to be the record's length, unchecked; 0 where no record can begin."""
    if len(buffer) - at < HEAD_BYTES or not buffer.startswith(RECORD_MARKER, at):
        return 0
    length = int.from_bytes(buffer[at + 8 : at + 12], "little")
    return length if length >= HEAD_BYTES else 0


def read_head(buffer: bytes, at: int) -> RecordHead | None:
    """Return the head of the record that begins at `at`, or None if no whole, undamaged record does."""
    length = record_length(buffer, at)
    if not length or at + length > len(buffer):
        return None
    # Copying the record is cheaper than a view of it, most of them being small.
    if zlib.crc32(buffer[at + _CHECKED_FROM : at + length]) != int.from_bytes(buffer[at + 4 : at + 8], "little"):
        return None
    length, offset, kind, count, capture, first, received_ns = _FIELDS.unpack_from(buffer, at + _CHECKED_FROM)
    return RecordHead(length, offset, _KINDS[kind], count, _capture(capture), first, received_ns)


def read_batch(buffer: bytes, at: int, head: RecordHead) -> Batch:
    """Return the batch of the record at `at`, whose head has been read."""
    lengths_at = at + HEAD_BYTES
    lengths = struct.unpack_from(f"<{head.count}I", buffer, lengths_at)
    bounds = accumulate(lengths, initial=lengths_at + 4 * head.count)
    frames = tuple([buffer[begin:end] for begin, end in pairwise(bounds)])
    return Batch(head.kind, head.capture, head.first_frame_no, head.received_ns, frames, head.offset, head.end)


def find_record(buffer: bytes, at: int, offset: int) -> RecordHead | None:
    """Return the next whole record that begins at `at` or later, None if there is none.

    `offset` is the journal position that `at` stands for.
    """
    here = buffer.find(RECORD_MARKER, at)
    while here >= 0:
        head = read_head(buffer, here)
        if head is not None and head.offset == offset + here - at:
            return head
        here = buffer.find(RECORD_MARKER, here + 1)
    return None


def whole_records(buffer: bytes, at: int, offset: int) -> Iterator[tuple[int, RecordHead]]:
    """Yield every whole record from `at` on, as (where it begins in the buffer, head), passing over damage.

    `offset` is the journal position that `at` stands for.
    """
    place = at - offset
    while (head := find_record(buffer, place + offset, offset)) is not None:
        yield place + head.offset, head
        offset = head.end


def encode_header(header: SegmentHeader) -> bytes:
    """Return the framed header. Its size does not depend on the store id (at most `STORE_ID_ROOM` characters)."""
    if not _STORE_ID.fullmatch(header.store_id):
        raise ValueError(f"not a store id: {header.store_id[:80]!r}")
    text = msgspec.json.encode(header)
    text += b" " * (STORE_ID_ROOM - len(header.store_id))
    length = _FRAME.size + len(text)
    body = length.to_bytes(4, "little") + text
    return HEADER_MARKER + zlib.crc32(body).to_bytes(4, "little") + body


def header_length(start: bytes) -> int:
    """Return the header's claimed length from a segment's first 12 bytes; 0 if no header begins there."""
    if len(start) < _FRAME.size or not start.startswith(HEADER_MARKER):
        return 0
    return int.from_bytes(start[8:12], "little")


def decode_header(buffer: bytes) -> SegmentHeader | None:
    """Return the header that `buffer` begins with, None if it is damaged; StoreError if of another version."""
    length = header_length(buffer)
    if not _FRAME.size <= length <= len(buffer):
        return None
    if zlib.crc32(buffer[_CHECKED_FROM:length]) != int.from_bytes(buffer[4:8], "little"):
        return None
    text = buffer[_FRAME.size : length]
    version = msgspec.json.decode(text, type=_Versioned).version
    if version != VERSION:
        raise StoreError(f"the journal has format {version}, this rlflow knows format {VERSION} only")
    return msgspec.json.decode(text, type=SegmentHeader)


def find_header_size(buffer: bytes, base: int) -> int:
    """Return the size of a damaged header, found from the first whole record behind it; -1 if there is none."""
    here = buffer.find(RECORD_MARKER)
    while here >= 0:
        head = read_head(buffer, here)
        if head is not None and here >= head.offset - base >= 0:
            return here - (head.offset - base)
        here = buffer.find(RECORD_MARKER, here + 1)
    return -1
