"""One recorded file as captures of numbered batches."""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import attrs
import msgspec

from rlflow.errors import RecordingError
from rlflow.recordings.files import Line, Progress, read_lines
from rlflow.recordings.forms import Form, detect, new_reader
from rlflow.recordings.identity import HEAD_LINES, capture_id, known_identity, prefix_identities
from rlflow.recordings.items import Began, Ended, Heard, Item, read_items
from rlflow.session.records import Batch, Closed, Kind, Opened, local_batch
from rlflow.units import Nanos

ENVIRONMENT = "recordings"

_T = TypeVar("_T")

# Small enough that a batch stays far below two milliseconds of work, large enough that its overhead vanishes.
_BATCH_FRAMES = 64

_TICKER = re.compile(rb'"market_ticker":\s*"([^"\\]+)"')
# Every delta and trade of today has its count as a string under one of these names; before 2026-01-22 there was none.
_DATA = re.compile(rb'"type":\s*"(?:orderbook_delta|trade)"')
_COUNT = re.compile(rb'"(?:delta|count)_fp":')


@attrs.frozen
class RecordedFrame:
    """One frame of a recording."""

    received_ns: Nanos
    frame: bytes


@attrs.frozen
class Recording:
    """A recorded file. Reading starts anew with every call, so captures may be read in any order, and repeatedly."""

    path: Path
    form: Form
    opened: Opened
    """What holds for every connection in it; `tickers` are those of the first 1,000 lines."""
    start_ns: Nanos
    """The first receive time in it."""
    identities: tuple[str, ...]
    """Digests of its first line, its first two, ... up to 1,000; see `prefix_identities`."""
    identity: str
    """The one its captures are named by."""

    @property
    def size_bytes(self) -> int:
        """The file's size on disk, as progress counts."""
        return self.path.stat().st_size

    def known_as(self, captures: Collection[UUID]) -> "Recording":
        """Return the recording under the name that it had when one of `captures` was made from its beginning."""
        return attrs.evolve(self, identity=known_identity(self.identities, captures) or self.identity)

    def captures(self) -> Iterator["RecordedCapture"]:
        """Yield one capture per connection. Where a file can hold several, it is read once for finding them.

        Raises:
            RecordingError: after the capture in which the damage is.
        """
        if self.form is not Form.ENVELOPE:
            yield RecordedCapture(self, 0, self.opened)
            return
        began = (item for item in self.items() if isinstance(item, Began))
        for ordinal, item in enumerate(began):
            yield RecordedCapture(self, ordinal, msgspec.structs.replace(self.opened, tickers=item.tickers))

    def items(self, progress: Progress | None = None) -> Iterator[Item]:
        """Yield all that the recorder heard; every first frame has a `Began` before it."""
        items = read_items(self.path, read_lines(self.path, progress), new_reader(self.form, self.start_ns))
        if self.form is not Form.ENVELOPE:
            yield Began(self.start_ns, self.opened.tickers)
        yield from items


@attrs.frozen
class RecordedCapture:
    """One connection of a recording."""

    recording: Recording
    ordinal: int
    """Its place among the connections of the file, from 0."""
    opened: Opened

    @property
    def capture(self) -> UUID:
        """Its id: a UUIDv5, so that the same recording gives the same."""
        return capture_id(self.recording.identity, self.ordinal)

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield its frames with their receive times; RecordingError after the last whole one."""
        for batch in self.batches():
            if batch.kind is Kind.FRAMES:
                yield from (RecordedFrame(batch.received_ns, frame) for frame in batch.frames)

    def batches(self, progress: Progress | None = None) -> Iterator[Batch]:
        """Yield its batches: OPENED, which is number 0, frames of one receive time each, and CLOSED.

        CLOSED is complete if the recorder closed the connection of its own accord, or the recording ends. A
        connection after which the file has another one broke. A damaged recording has no CLOSED.

        Raises:
            RecordingError: the file is damaged inside this capture; all that is whole before it was yielded.
        """
        items = _connection(self.recording.items(progress), self.ordinal)
        began_ns = next(items).received_ns
        yield local_batch(self.opened, self.capture, 0, began_ns)
        yield from _to_batches(items, self.capture, began_ns)


def read_recording(path: Path, *, sparse_seq: bool = False, use_yes_price: bool = False) -> Recording:
    """Look at a file's first 1,000 lines and return it as a recording.

    Args:
        path: a file of any of the forms, plain, gzip, zstd or Parquet; told apart by content, not by name.
        sparse_seq: the recorder left other markets of the same subscription out, so that holes in `seq` are no losses.
        use_yes_price: the recorder's subscription had NO levels sent as YES prices.

    Raises:
        RecordingError: the first line is of no known form.
        OSError: the file cannot be read.
    """
    head = _read_head(path)
    timed = next((n for n, item in enumerate(head.items) if item.received_ns), len(head.items))
    start_ns = head.items[timed].received_ns if timed < len(head.items) else 0
    if head.damage is not None and not start_ns:
        raise head.damage  # so little is whole that the repaired file could not be recognised
    identities = prefix_identities(head.texts)
    if head.form is Form.VERBATIM:  # before the first time, many recordings begin alike
        identities = identities[timed:] or identities[-1:]
    opened = Opened(
        url=f"file:{path.name}",
        environment=ENVIRONMENT,
        use_yes_price=use_yes_price,
        legacy=head.form is Form.ROWS or any(map(_is_legacy, head.frames)),
        sparse_seq=sparse_seq,
        tickers=_tickers(head.frames),
    )
    return Recording(path, head.form, opened, start_ns, identities, identities[-1])


@attrs.frozen
class _Head:
    """The first 1,000 lines as far as they are whole."""

    form: Form
    texts: list[bytes]
    items: list[Item]
    damage: RecordingError | None

    @property
    def frames(self) -> list[bytes]:
        return [item.frame for item in self.items if isinstance(item, Heard)]


def _read_head(path: Path) -> _Head:
    lines: list[Line] = []
    items: list[Item] = []
    damage = _collect(islice(read_lines(path), HEAD_LINES), lines)
    form = detect(lines[0].text) if lines else None
    if form is None:
        raise damage or RecordingError(path, 1, "not a recording: the line is of no known form")
    damage = _collect(read_items(path, lines, new_reader(form)), items) or damage
    end = lines[-1].number + 1 if damage is None else damage.line
    texts = [line.text for line in lines if line.number < end]
    if not texts:
        raise damage or RecordingError(path, 1, "holds nothing")
    return _Head(form, texts, items, damage)


def _collect(source: Iterable[_T], into: list[_T]) -> RecordingError | None:
    """Append what the source gives until it ends or is damaged; return the damage."""
    try:
        into.extend(source)
    except RecordingError as error:
        return error
    return None


def _is_legacy(frame: bytes) -> bool:
    return bool(_DATA.search(frame)) and not _COUNT.search(frame)


def _tickers(frames: Iterable[bytes]) -> tuple[str, ...]:
    found = (match.group(1).decode(errors="replace") for frame in frames for match in _TICKER.finditer(frame))
    return tuple(dict.fromkeys(found))


def _connection(items: Iterator[Item], ordinal: int) -> Iterator[Item]:
    """Yield from the begin of the connection with this ordinal on."""
    begun = -1
    for item in items:
        begun += isinstance(item, Began)
        if begun == ordinal:
            yield item
            yield from items


def _to_batches(items: Iterator[Item], capture: UUID, opened_ns: Nanos) -> Iterator[Batch]:
    """Yield what follows the opening record of one connection, numbered from 1."""
    number, now_ns = 1, opened_ns
    frames: list[bytes] = []
    closed, closed_ns = Closed("end of the recording", is_complete=True), None
    damage: RecordingError | None = None
    try:
        for item in items:
            if not isinstance(item, Heard):
                closed, closed_ns = _closed_by(item), item.received_ns
                break
            if frames and (item.received_ns != now_ns or len(frames) == _BATCH_FRAMES):
                yield Batch(Kind.FRAMES, capture, number, now_ns, tuple(frames))
                number, frames = number + len(frames), []
            now_ns = item.received_ns
            frames.append(item.frame)
    except RecordingError as error:
        damage = error
    if frames:
        yield Batch(Kind.FRAMES, capture, number, now_ns, tuple(frames))
    if damage is not None:
        raise damage
    yield local_batch(closed, capture, number + len(frames), now_ns if closed_ns is None else closed_ns)


def _closed_by(item: Began | Ended) -> Closed:
    if isinstance(item, Ended):
        return Closed(item.cause, is_complete=True)
    return Closed("the connection broke")
