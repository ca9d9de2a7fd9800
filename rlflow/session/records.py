"""What a capture consists of: batches of received frames, and local records of what happened to the connection.

A *capture* is one connection from open to close. Everything in it has a number: the opening record is 0, frames count
from 1, and a local record in between takes the next number; only what says that frames were dropped has no number of
its own, but theirs. Batches are the unit of the journal and of the channels: one socket read gives one batch, and all
its frames share one receive time.
"""

import enum
from uuid import UUID

import attrs
import msgspec

from rlflow.units import Nanos


class Kind(enum.IntEnum):
    """What a batch holds. The numbers are in the journal: never reuse one."""

    FRAMES = 1
    """Text frames, verbatim, in the order of arrival."""
    OPENED = 2
    """One JSON `Opened`, number 0 of the capture."""
    CLOSED = 3
    """One JSON `Closed`, the last number of the capture."""
    STALE = 4
    """One JSON `Stale`."""
    DROPPED = 5
    """One JSON `Dropped`, in the place of the last of the frames that it stands for."""


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connection was opened: all that decoding its frames depends on besides the frames themselves."""

    url: str
    environment: str
    """prod, demo, sim, replay or recordings."""
    use_yes_price: bool = False
    """Whether NO levels come as YES prices (protocol 4.5)."""
    legacy: bool = False
    """Whether frames may have the form in use before 2026-03-12 (integer cents)."""
    sparse_seq: bool = False
    """Whether other markets shared the sid but not the recording: a hole in `seq` is no gap, a fall is a reconnect."""
    sample_rate: int = 1
    """Keep a delta if its frame number divides by this."""
    tickers: tuple[str, ...] = ()
    """What was asked for; a hint for people, decoding never depends on it."""


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connection ended."""

    cause: str
    """For people and gap rows: "peer closed", "silent for 25 s", "stopped", "process ended", ..."""
    code: int | None = None
    """The websocket close code, if there was one."""
    is_complete: bool = False
    """Whether nothing is known to be missing afterwards (the end of a recording): then no gap rows are made."""


class Stale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """We stopped trusting books for a reason that no frame shows, such as a snapshot that never came."""

    tickers: tuple[str, ...]
    cause: str


class Dropped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames were received that neither the journal nor the books could take; nobody knows what they said.

    Journals from before this record have a `Stale` in its place, which says less.
    """

    frames: int
    """How many; it has the number of the last of them, and the numbers of all others stand nowhere."""
    cause: str


Local = Opened | Closed | Stale | Dropped

_LOCAL_TYPES: dict[Kind, type[Local]] = {
    Kind.OPENED: Opened,
    Kind.CLOSED: Closed,
    Kind.STALE: Stale,
    Kind.DROPPED: Dropped,
}
_KINDS = {local: kind for kind, local in _LOCAL_TYPES.items()}


@attrs.define(frozen=True)
class Batch:
    """What one socket read gave, or one local record; never changed after it was made."""

    kind: Kind
    capture: UUID
    first_frame_no: int
    received_ns: Nanos
    """Wall clock when the socket read returned."""
    frames: tuple[bytes, ...]
    """The frames' bytes; for a local record, its JSON."""
    start: int = -1
    """Where the batch begins in the journal, in bytes since the journal's first; -1: it is not in the journal."""
    end: int = -1
    arrived_ns: int = 0
    """Monotonic clock when the socket read returned; 0 when the batch was read back from the journal or a file."""

    @property
    def after_frame(self) -> int:
        """The number behind which it goes on: the one before its first, or before all frames that were dropped."""
        local = self.local() if self.kind is Kind.DROPPED else None
        return self.first_frame_no - (local.frames if isinstance(local, Dropped) else 1)

    @property
    def last_frame_no(self) -> int:
        """The number of the last frame in it."""
        return self.first_frame_no + len(self.frames) - 1

    @property
    def is_protected(self) -> bool:
        """Whether the batch stands in the journal."""
        return self.start >= 0

    def local(self) -> Local:
        """Return the local record that this batch holds. The batch must not be FRAMES."""
        return msgspec.json.decode(self.frames[0], type=_LOCAL_TYPES[self.kind])


def local_batch(record: Local, capture: UUID, frame_no: int, received_ns: Nanos) -> Batch:
    """Return the batch that holds one local record."""
    return Batch(_KINDS[type(record)], capture, frame_no, received_ns, (msgspec.json.encode(record),))
