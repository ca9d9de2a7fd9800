"""A capture's frames as they were received, from `raw/` and the journal, whether or not the service runs."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import attrs

from rlflow.data.journal.raw import raw_paths, segment_batches
from rlflow.data.journal.segment import segment_paths
from rlflow.errors import CommandError
from rlflow.session.records import Batch


@attrs.frozen
class KeptFrames:
    """Where the frames of a data directory are."""

    data_dir: Path

    def batches(self, capture: UUID, upto_frame: int) -> Iterator[Batch]:
        """Yield all batches of a capture, each once, from its opening record up to a frame.

        Raises:
            CommandError: not all of them are there any more; those before the hole were yielded.
        """
        expected = 0
        for path in self._segments():
            try:
                found = list(segment_batches(path, capture))
            except OSError as error:
                raise CommandError(f"{path.name} went away while it was to be read; try again") from error
            for batch in found:
                # A segment is in both places for a moment, and what was cut off by a crash was appended anew.
                if batch.last_frame_no < expected or batch.first_frame_no > upto_frame:
                    continue
                if batch.after_frame >= expected:
                    raise _missing(capture, expected, batch.after_frame)
                expected = batch.last_frame_no + 1
                yield batch
        if expected <= upto_frame:
            raise _missing(capture, expected, upto_frame)

    def _segments(self) -> list[Path]:
        # The journal first: what moves to raw meanwhile is seen twice, and not missed.
        journal, raw = self.data_dir / "journal", self.data_dir / "raw"
        live = segment_paths(journal) if journal.is_dir() else []
        return [*(raw_paths(raw) if raw.is_dir() else ()), *live]


def _missing(capture: UUID, first: int, last: int) -> CommandError:
    return CommandError(
        f"capture {capture} cannot be made anew: its frames {first} to {last} are neither in raw nor in the journal"
    )
