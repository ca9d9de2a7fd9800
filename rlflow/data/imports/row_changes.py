"""What differs between a capture's stored rows and the rows that its frames make now. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import attrs
import msgspec

from rlflow.data.history.stored_rows import StoredRow
from rlflow.session.rows import GapEndRow, GapRow, Rows, SnapshotRow

# Whoever changed so many has seen what it is about.
EXAMPLES: Final = 5


@attrs.define
class RowChanges:
    """The frames whose rows differ, gaps and rejected frames aside."""

    frames: int = 0
    before: Counter[str] = attrs.Factory(Counter)
    """Rows by kind, as they were stored."""
    after: Counter[str] = attrs.Factory(Counter)
    examples: list[str] = attrs.Factory(list)

    def compare(self, old: Iterable[StoredRow], new: Iterable[StoredRow]) -> None:
        """Take both streams, in the order of frames, to their ends."""
        for frame_no, was, becomes in _paired(old, new):
            self.before.update(_kind(row) for row in was)
            self.after.update(_kind(row) for row in becomes)
            if was != becomes:
                self.frames += 1
                if len(self.examples) < EXAMPLES:
                    self.examples.append(f"frame {frame_no}: {_shown(was)} becomes {_shown(becomes)}")


def data_rows(rows: Rows) -> Iterator[StoredRow]:
    """Yield snapshots, deltas and trades in the order in which they were made, as `stored_rows` does."""
    placed: list[tuple[int, int, StoredRow]] = [
        (row.frame_no, 2 if row.origin == "checkpoint" else 0, row) for row in rows.snapshots
    ]
    placed += [(row.frame_no, 1, row) for row in rows.deltas]
    placed += [(row.frame_no, 1, row) for row in rows.trades]
    yield from (row for *_, row in sorted(placed, key=lambda item: item[:2]))


def ended_gaps(gaps: Iterable[GapRow], ends: Iterable[GapEndRow]) -> list[GapRow]:
    """Return the gaps of a capture with the ends that they have in it; those that it leaves open stay so."""
    open_gaps: dict[tuple[str, str | None], list[int]] = {}
    made = list(gaps)
    placed: list[tuple[int, int, int | GapEndRow]] = [(gap.frame_no, 0, number) for number, gap in enumerate(made)]
    placed += [(end.frame_no, 1, end) for end in ends]
    for _, _, what in sorted(placed, key=lambda item: item[:2]):
        if isinstance(what, GapEndRow):
            for number in open_gaps.pop((what.channel, what.market_ticker), ()):
                made[number] = msgspec.structs.replace(made[number], to_ns=what.received_ns)
        elif made[what].to_ns is None:
            open_gaps.setdefault((made[what].channel, made[what].market_ticker), []).append(what)
    return [
        gap if gap.to_ns is None else msgspec.structs.replace(gap, to_ns=max(gap.to_ns, gap.from_ns)) for gap in made
    ]


def _paired(
    old: Iterable[StoredRow], new: Iterable[StoredRow]
) -> Iterator[tuple[int, list[StoredRow], list[StoredRow]]]:
    """Yield every frame that has rows in one or both, with both lists."""
    streams = [((frame, list(rows)) for frame, rows in groupby(one, lambda row: row.frame_no)) for one in (old, new)]
    was, becomes = (next(stream, None) for stream in streams)
    while was is not None or becomes is not None:
        frame = min(one[0] for one in (was, becomes) if one is not None)
        lists: list[list[StoredRow]] = [[], []]
        if was is not None and was[0] == frame:
            lists[0], was = was[1], next(streams[0], None)
        if becomes is not None and becomes[0] == frame:
            lists[1], becomes = becomes[1], next(streams[1], None)
        yield frame, lists[0], lists[1]


def _kind(row: StoredRow) -> str:
    name = type(row).__name__.removesuffix("Row").lower()
    return "checkpoint" if isinstance(row, SnapshotRow) and row.origin == "checkpoint" else name


def _shown(rows: Iterable[StoredRow]) -> str:
    return ", ".join(map(repr, rows)) or "nothing"
