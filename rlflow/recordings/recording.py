"""One recorded file as captures of numbered batches."""

from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID

import attrs
import msgspec

from rlflow.errors import RecordingError
from rlflow.recordings.files import Progress, read_lines
from rlflow.recordings.forms import Form, new_reader
from rlflow.recordings.head import read_head
from rlflow.recordings.identity import capture_id, known_identity
from rlflow.recordings.items import Began, Ended, Heard, Item, read_items
from rlflow.session.records import Batch, Closed, Kind, Opened, local_batch
from rlflow.units import Nanos

ENVIRONMENT = "recordings"

# Small enough that a batch stays far below two milliseconds of work, large enough that its overhead vanishes.
_BATCH_FRAMES = 64


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
    """Digests of its beginnings of up to 1,000 lines, from the first on that no other recording can have."""
    identity: str
    """The one its captures are named by."""
    looks_sparse: bool
    """Whether `sparse_seq` ought to be said of it, by the first 1,000 lines."""

    def known_as(self, captures: Collection[UUID]) -> "Recording":
        """Return the recording under the name that it had when one of `captures` was made from its beginning."""
        return attrs.evolve(self, identity=known_identity(self.identities, captures) or self.identity)

    def captures(self) -> Iterator["RecordedCapture"]:
        """Yield one capture per connection. Where a file can hold several, it is read once for finding them.

        Raises:
            RecordingError: after the capture in which the damage is.
        """
        if not self.form.tells_connections:
            yield RecordedCapture(self, 0, self.opened)
            return
        began = (item for item in self.items() if isinstance(item, Began))
        for ordinal, item in enumerate(began):
            yield RecordedCapture(self, ordinal, msgspec.structs.replace(self.opened, tickers=item.tickers))

    def items(self, progress: Progress | None = None) -> Iterator[Item]:
        """Yield all that the recorder heard; every first frame has a `Began` before it."""
        items = read_items(self.path, read_lines(self.path, progress), new_reader(self.form, self.start_ns))
        if not self.form.tells_connections:
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
        RecordingRefusedError: the first line is of no known form.
        RecordingError: the file is damaged before its first data.
        OSError: the file cannot be read.
    """
    head = read_head(path)
    opened = Opened(
        url=f"file:{path.name}",
        environment=ENVIRONMENT,
        use_yes_price=use_yes_price,
        legacy=head.is_legacy,
        sparse_seq=sparse_seq,
        tickers=head.tickers,
    )
    identities = head.identities
    return Recording(path, head.form, opened, head.start_ns, identities, identities[-1], head.looks_sparse)


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
