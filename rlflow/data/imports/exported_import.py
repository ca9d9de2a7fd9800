"""An export back into tables: the same rows, but for the number of their capture.

Not through `Session`, which would judge by frames alone: other markets of a subscription are not in the file, so it
could not tell what was missing. What it once found out stands in the lines.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar
from uuid import UUID

import attrs
import msgspec

from rlflow.data.store.captures import CaptureRecord
from rlflow.errors import FrameRejectedError, RecordingError
from rlflow.recordings import Progress, Recording
from rlflow.recordings.exported import ExportedLine, ExportedRow, read_line
from rlflow.recordings.files import read_lines
from rlflow.recordings.identity import capture_id, prefix_identities
from rlflow.session.rows import DeltaRow, GapRow, Rows, SnapshotRow, TradeRow

ROWS_PER_COMMIT = 10_000

T = TypeVar("T")

_LISTS: Mapping[type[ExportedRow], str] = {
    SnapshotRow: "snapshots",
    DeltaRow: "deltas",
    TradeRow: "trades",
    GapRow: "gaps",
}


@attrs.frozen
class _Numbered:
    """A line and where it stands."""

    number: int
    line: ExportedLine
    capture: UUID | None = None
    """What the capture that it opens is called here: by this line and the first row, so that a longer export of the
    same goes on where a shorter one ended."""


@attrs.define
class ExportedImport:
    """The import of one exported file."""

    recording: Recording
    known: Mapping[UUID, CaptureRecord]
    """What the store had before."""
    commit: Callable[[Rows], None]
    store_fetched: Callable[[Sequence[TradeRow]], None]
    """Called once with all trades of no capture, unless there are none."""
    captures: int = 0
    """Captures in the file, as far as it was read."""
    frames: int = 0
    """Frames in it."""
    _pending: Rows | None = None
    _fetched: list[TradeRow] = attrs.Factory(list)
    _is_closed: bool = False
    """Whether the store has the end of the capture at hand."""

    def run(self, progress: Progress) -> None:
        """Commit what the store does not have; of a damaged file, all that is whole.

        Raises:
            RecordingError: a line makes no sense, or comes behind what the store has as the end of its capture.
        """
        try:
            for _, lines in groupby(self._lines(progress), key=lambda one: one.line.frame):
                # All that one frame became, or nothing of it.
                self._take(list(lines))
        except RecordingError:
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        self._flush()
        if self._fetched:
            self.store_fetched(self._fetched)

    def _lines(self, progress: Progress) -> Iterator[_Numbered]:
        opening: tuple[_Numbered, bytes] | None = None
        for number, text in read_lines(self.recording.path, progress):
            try:
                one = _Numbered(number, read_line(text))
            except ValueError as error:
                raise RecordingError(self.recording.path, number, str(error)) from error
            if opening is not None:
                identity = prefix_identities([opening[1], text])[-1]
                yield attrs.evolve(opening[0], capture=capture_id(identity, 0))
                opening = None
            if one.line.opened is not None:
                opening = one, text
            elif (trade := self._read(one, one.line.fetched_trade)) is not None:
                self._fetched.append(trade)
            else:
                yield one

    def _take(self, lines: Sequence[_Numbered]) -> None:
        made: list[ExportedRow] = []
        events = 0
        for one in lines:
            if one.capture is not None:
                self._begin(one.line, one.capture)
            events += one.line.event is not None
            self._remember_removal(one.line)
            row = self._read(one, one.line.row)
            made += [] if row is None else [row]
        self.frames += events > 0
        self._add(lines[-1], made, is_data=events > 0)

    def _remember_removal(self, line: ExportedLine) -> None:
        """Keep a removed market for the next commit; those that the store has already are in the file, too."""
        removed, pending = line.removal(), self._pending
        if removed is not None and pending is not None:
            pending.resume = msgspec.structs.replace(pending.resume, removed=(*pending.resume.removed, removed))

    def _read(self, one: _Numbered, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, FrameRejectedError) as error:
            raise RecordingError(self.recording.path, one.number, str(error)) from error

    def _begin(self, line: ExportedLine, capture: UUID) -> None:
        self._flush()
        assert line.opened is not None
        self.captures += 1
        record = self.known.get(capture)
        committed = -1 if record is None else record.committed_frame
        self._is_closed = record is not None and record.closed is not None
        opened = line.opened.opened(self.recording.opened.environment)
        self._pending = Rows(capture, committed, committed, line.recv_ns, opened=opened)

    def _add(self, last: _Numbered, made: list[ExportedRow], *, is_data: bool) -> None:
        """Add what a frame became, unless the store has it."""
        pending, line = self._pending, last.line
        if pending is None:
            raise RecordingError(self.recording.path, last.number, "no line before it opens a capture")
        if line.frame <= pending.after_frame:
            return
        if line.frame <= pending.upto_frame:
            raise RecordingError(self.recording.path, last.number, f"frame {line.frame} after {pending.upto_frame}")
        if self._is_closed:
            raise RecordingError(self.recording.path, last.number, "it is behind what is stored as the capture's end")
        for row in made:
            getattr(pending, _LISTS[type(row)]).append(row)
        pending.counts.stored += is_data
        pending.closed = line.closed
        pending.upto_frame, pending.received_ns = line.frame, line.recv_ns
        if len(pending) >= ROWS_PER_COMMIT:
            self._flush()

    def _flush(self) -> None:
        """Commit what is new, and go on behind it."""
        rows = self._pending
        if rows is not None and rows.upto_frame > rows.after_frame:
            self.commit(rows)
            # What is removed stays so: the store has only what the last commit says.
            self._pending = Rows(
                rows.capture,
                rows.upto_frame,
                rows.upto_frame,
                rows.received_ns,
                opened=rows.opened,
                resume=rows.resume,
            )
