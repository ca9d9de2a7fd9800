"""Rows that PostgreSQL refuses: found by bisecting and kept as rejected frames, so that one never stops the rest.

Such a row got past every check of ours, for instance because sizes added up beyond what a column holds. Pure; whether
PostgreSQL takes a set of rows is asked of a function.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

import attrs
import msgspec

from rlflow.data.store.copy_text import storable
from rlflow.session.rows import Counts, DeltaRow, GapRow, RejectRow, Rows, SnapshotRow, TradeRow

FrameId: TypeAlias = tuple[UUID, int]
DataRow: TypeAlias = SnapshotRow | DeltaRow | TradeRow

REFUSED = "PostgreSQL refused a row"


def frames_with_data(batch: Iterable[Rows]) -> list[FrameId]:
    """Return every frame that has data rows, in order."""
    return sorted({(rows.capture, row.frame_no) for rows in batch for row in _data(rows)})


def find_refused(frames: Sequence[FrameId], are_accepted: Callable[[frozenset[FrameId]], bool]) -> frozenset[FrameId]:
    """Return the frames that are not accepted on their own; about log2(n) questions for each."""
    if not frames or are_accepted(frozenset(frames)):
        return frozenset()
    if len(frames) == 1:
        return frozenset(frames)
    middle = len(frames) // 2
    return find_refused(frames[:middle], are_accepted) | find_refused(frames[middle:], are_accepted)


def only(batch: Iterable[Rows], frames: frozenset[FrameId]) -> list[Rows]:
    """Return the batch with the data rows of these frames only; everything else stays."""
    return [_filtered(rows, lambda rows, row: (rows.capture, row.frame_no) in frames) for rows in batch]


def quarantine(batch: Iterable[Rows], refused: frozenset[FrameId], reason: str) -> list[Rows]:
    """Return the batch with each refused frame turned into a rejected one and a gap of its market."""
    return [
        _quarantined(rows, {number for capture, number in refused if capture == rows.capture}, reason) for rows in batch
    ]


def _quarantined(rows: Rows, refused: set[int], reason: str) -> Rows:
    made = _filtered(rows, lambda _, row: row.frame_no not in refused)
    ends = [end for end in rows.gap_ends if end.frame_no not in refused]
    gaps, rejects, counts = list(rows.gaps), list(rows.rejects), msgspec.structs.replace(rows.counts)
    for frame_no in sorted(refused):
        lost = [row for row in _data(rows) if row.frame_no == frame_no]
        # A checkpoint alone is ours, and nothing is missing without it.
        if from_venue := [row for row in lost if not _is_checkpoint(row)]:
            gaps.append(_gap(from_venue[0]))
            rejects.append(
                RejectRow(frame_no, lost[0].received_ns, f"{REFUSED}: {storable(reason)}", msgspec.json.encode(lost))
            )
            _move_count(counts)
    return attrs.evolve(made, gaps=gaps, gap_ends=ends, rejects=rejects, counts=counts)


def _move_count(counts: Counts) -> None:
    counts.stored -= 1
    counts.rejected += 1


def _gap(row: DataRow) -> GapRow:
    """Return the gap that a lost row leaves: of its market until the next snapshot, of the channel for a trade."""
    is_trade = isinstance(row, TradeRow)
    return GapRow(
        channel="trade" if is_trade else "orderbook_delta",
        market_ticker=None if is_trade else row.market_ticker,
        sid=row.sid,
        frame_no=row.frame_no,
        received_ns=row.received_ns,
        from_frame=row.frame_no - 1,
        from_ns=row.received_ns,
        to_ns=row.received_ns if is_trade else None,
        cause=REFUSED,
    )


def _is_checkpoint(row: DataRow) -> bool:
    return isinstance(row, SnapshotRow) and row.origin == "checkpoint"


def _data(rows: Rows) -> list[DataRow]:
    return [*rows.snapshots, *rows.deltas, *rows.trades]


def _filtered(rows: Rows, keep: Callable[[Rows, DataRow], bool]) -> Rows:
    return attrs.evolve(
        rows,
        snapshots=[row for row in rows.snapshots if keep(rows, row)],
        deltas=[row for row in rows.deltas if keep(rows, row)],
        trades=[row for row in rows.trades if keep(rows, row)],
    )
