"""Numbers what a connection receives, writes it to the journal, and sends it on; all of it between two awaits.

Nothing here waits. Each batch goes to the journal first and then to the books' channel, and what that channel cannot
take is read from the journal by its reader. If the journal is full, batches travel unprotected. Only if the channel is
full too are frames dropped: they are counted, and as soon as anything can be said, a `Dropped` record takes their
numbers, so that these stay without holes.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

import attrs
import trio

from rlflow.errors import FeedLostError, JournalFullError
from rlflow.session.records import Batch, Closed, Dropped, Kind, Local, Opened, Stale, local_batch
from rlflow.units import Nanos


class Journal(Protocol):
    """What is needed of the journal."""

    @property
    def end(self) -> int:
        """The position behind its last record."""
        ...

    def append(self, batch: Batch) -> Batch:
        """Write a batch and return it with its place; raises JournalFullError, and has then written nothing."""
        ...


@attrs.frozen(kw_only=True)
class CaptureLogStatistics:
    """What went through so far. `frames` = `journalled` + `unprotected` + `dropped`."""

    captures: int
    frames: int
    """Frames received."""
    frame_bytes: int
    journalled: int
    """Frames that stand in the journal."""
    unprotected: int
    """Frames that went to the books without the journal, which was full."""
    dropped: int
    """Frames that neither took."""
    skipped_batches: int
    """Journalled, but left for the books to read from the journal, since their channel was full."""
    is_protected: bool
    """Whether the last batch went into the journal."""
    owed_records: int
    """Local records that wait until the journal or the channel takes them."""


def new_capture_id(now_ns: Nanos, entropy: bytes) -> UUID:
    """Return a UUIDv7 (RFC 9562, 5.7) of a wall clock time and ten random bytes."""
    value = (now_ns // 1_000_000) << 80 | int.from_bytes(entropy[:10], "big")
    value = value & ~(0xF << 76) | 7 << 76
    return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


class CaptureLog:
    """The way of all captures into the journal and the books' channel, which its owner closes."""

    def __init__(
        self,
        journal: Journal,
        send: trio.MemorySendChannel[Batch],
        *,
        wall_ns: Callable[[], Nanos] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._journal = journal
        self._send = send
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._entropy = entropy
        self._is_protected = True
        self._owed: deque[Batch] = deque()
        self._captures = self._frames = self._frame_bytes = self._skipped_batches = 0
        self._journalled = self._unprotected = self._dropped = 0

    def begin(self, opened: Opened) -> "Capture":
        """Open a capture: record 0 of a new id.

        Raises:
            FeedLostError: neither the journal nor the books take anything now, so a capture could not be told of.
        """
        now_ns = self._wall_ns()
        capture = Capture(self, new_capture_id(now_ns, self._entropy(10)), opened.tickers)
        if not self.pass_on(local_batch(opened, capture.id, 0, now_ns)):
            raise FeedLostError("neither the journal nor the books take anything")
        self._captures += 1
        return capture

    def frames_batch(self, capture: UUID, first_frame_no: int, frames: Sequence[bytes]) -> Batch:
        """Return the batch of frames that have just come; from here on they are received."""
        self._frames += len(frames)
        self._frame_bytes += sum(map(len, frames))
        arrived_ns = self._monotonic_ns()
        return Batch(Kind.FRAMES, capture, first_frame_no, self._wall_ns(), tuple(frames), arrived_ns=arrived_ns)

    def local_batch(self, record: Local, capture: UUID, frame_no: int) -> Batch:
        """Return the batch of a local record."""
        return local_batch(record, capture, frame_no, self._wall_ns())

    def pass_on(self, batch: Batch) -> bool:
        """Write and send a batch; return False if neither was possible. What is owed goes first.

        An unprotected batch goes out with `end` at the end of the journal as it was: what stands before that comes
        before the batch.
        """
        while self._owed and self._store_and_send(self._owed[0]):
            self._owed.popleft()
        is_taken = not self._owed and self._store_and_send(batch)
        if batch.kind is Kind.FRAMES:
            self.count(batch, is_taken=is_taken)
        return is_taken

    def owe(self, batch: Batch) -> None:
        """Pass on a local record, at the latest before anything else is."""
        if not self.pass_on(batch):
            self._owed.append(batch)

    def count(self, batch: Batch, *, is_taken: bool) -> None:
        """Count the frames of a batch that was just passed on, or dropped."""
        count = len(batch.frames)
        if not is_taken:
            self._dropped += count
        elif self._is_protected:
            self._journalled += count
        else:
            self._unprotected += count

    def statistics(self) -> CaptureLogStatistics:
        """Return the figures so far."""
        return CaptureLogStatistics(
            captures=self._captures,
            frames=self._frames,
            frame_bytes=self._frame_bytes,
            journalled=self._journalled,
            unprotected=self._unprotected,
            dropped=self._dropped,
            skipped_batches=self._skipped_batches,
            is_protected=self._is_protected,
            owed_records=len(self._owed),
        )

    def _store_and_send(self, batch: Batch) -> bool:
        try:
            batch = self._journal.append(batch)
            self._is_protected = True
        except JournalFullError:
            batch = attrs.evolve(batch, end=self._journal.end)
            self._is_protected = False
        try:
            self._send.send_nowait(batch)
        except (trio.WouldBlock, trio.BrokenResourceError):
            # Broken: the reader of the channel has failed and ends the process with its error. Until then the journal
            # takes what comes, and a library that reads "broken" as "reconnect" must not hear of it.
            self._skipped_batches += batch.is_protected
            return batch.is_protected
        return True


class Capture:
    """One connection's numbering: frames and local records in one count. Ends with `closed`, its last record."""

    def __init__(self, log: CaptureLog, capture: UUID, tickers: tuple[str, ...]) -> None:
        self._log = log
        self._id = capture
        self.tickers = tickers
        """The markets that are followed now."""
        self._next_no = 1
        self._lost = 0
        """Frames that were dropped and are not told of yet."""

    @property
    def id(self) -> UUID:
        """The capture's UUIDv7."""
        return self._id

    @property
    def last_no(self) -> int:
        """The number of the last frame or record."""
        return self._next_no - 1

    def frames(self, frames: Sequence[bytes]) -> None:
        """Record the frames of one socket read, in the order of arrival."""
        if not frames:
            return
        if self._lost and self._log.pass_on(self._confession()):
            self._go_on()
        batch = self._log.frames_batch(self._id, self._next_no, frames)
        if self._lost:
            self._log.count(batch, is_taken=False)
        elif self._log.pass_on(batch):
            self._next_no += len(frames)
            return
        self._lost += len(frames)

    def stale(self, tickers: tuple[str, ...], cause: str) -> None:
        """Record that these books are not to be trusted until their next snapshot."""
        self._record(Stale(tickers, cause))

    def closed(self, cause: str, code: int | None = None) -> None:
        """Record the end of the connection."""
        self._record(Closed(cause, code))

    def _confession(self) -> Batch:
        """Return the record of all frames that were dropped since the last one."""
        cause = f"{self._lost} frames dropped: neither the journal nor the books took them"
        return self._log.local_batch(Dropped(self._lost, cause), self._id, self.last_no + self._lost)

    def _go_on(self) -> None:
        """Go on behind the frames that were just told of."""
        self._next_no, self._lost = self._next_no + self._lost, 0

    def _record(self, record: Local) -> None:
        if self._lost:
            self._log.owe(self._confession())
            self._go_on()
        self._log.owe(self._log.local_batch(record, self._id, self._next_no))
        self._next_no += 1
