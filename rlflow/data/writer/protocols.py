"""What the writer needs of the database and of the journal, and what it shows of itself."""

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

import attrs

from rlflow.data.writer import tally
from rlflow.session.records import Batch
from rlflow.session.rows import ResumePoint


class Store(tally.Store, Protocol):
    """The database, blocking; used from one thread at a time."""

    def is_closed(self, capture: UUID) -> bool:
        """Return whether the database has the capture's closing record."""
        ...

    def resume_point(self, capture: UUID) -> ResumePoint | None:
        """Return all that is needed to go on behind the last committed frame."""
        ...

    @property
    def store_id(self) -> str:
        """Which store this is, for as long as it exists."""
        ...

    def begin_recording(self, recorder: int) -> None:
        """Let other recorders of the store know of this one, by its number."""
        ...

    def other_recorders(self, recorder: int) -> tuple[str, ...]:
        """Return where others record into this store from."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class Journal(Protocol):
    """The journal, readable from the writer's thread while the loop appends."""

    def read(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches between two offsets."""
        ...

    @property
    def oldest(self) -> int:
        """The first offset that can still be read."""
        ...

    @property
    def end(self) -> int:
        """The offset up to which everything can be read."""
        ...

    def bind(self, store_id: str) -> None:
        """Tie the journal to a store, or refuse it."""
        ...

    def retire(self, upto: int) -> object:
        """Let go of what lies before an offset."""
        ...

    def make_room(self) -> None:
        """Let go of what nobody waits for if the disk is low."""
        ...


@attrs.frozen
class WriterStatistics:
    """Where the writer stands."""

    is_connected: bool
    """Whether there is a connection, and writing by it has not failed since the last that succeeded."""
    since_ns: int
    """Wall clock since when it is connected, or not."""
    last_error: str | None
    """Why it is not connected."""
    is_catching_up: bool
    backlog_bytes: int
    """Journal bytes that are not in the database."""
    held_frames: int
    """Frames in the writer's hand: taken from the channel, not known to be in the database."""
    stalled_s: float
    """For how long it has had work and a connection, but made no progress; the flush interval not counted."""
    messages_enqueued: int
    """Frames whose rows reached the writer's channel."""
    rows_written: int
    commits: int
    last_commit_ns: int | None
    commit_s: float
    """How long the last commit took."""
    caught_up_frames: int
    """Frames written from the journal."""
    channel_used: int
    channel_size: float
    other_recorders: tuple[str, ...] = ()
    """Addresses from which others record into the same store."""
