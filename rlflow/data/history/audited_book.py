"""One market replayed from its stored rows, row by row, and what does not fit. Pure.

Written for itself, without the live books' code: a mistake there shows here as a difference.
"""

from typing import TypeAlias

import attrs

from rlflow.session.rows import Levels
from rlflow.units import Count, Price

DeltaFields: TypeAlias = tuple[int, str, str, Price, Count, str | None, Count | None, Count | None, int | None]
"""frame_no, market_ticker, side, price, delta, action, old_size, new_size, clock of one stored delta."""


@attrs.frozen
class AuditedSnapshot:
    """One stored snapshot."""

    frame_no: int
    market_ticker: str
    is_checkpoint: bool
    clock: int | None
    yes_bids: Levels
    no_bids: Levels


@attrs.define
class AuditedBook:
    """The book of one market in one capture; `problem` methods return what is wrong, None if nothing is."""

    is_known: bool = False
    """Whether the rows so far say what the book is."""
    base_clock: int | None = None
    cleared: int = 0
    """How often the venue emptied the book by a snapshot, as it does when a market closes."""
    _levels: dict[str, dict[Price, Count]] = attrs.field(factory=lambda: {"yes": {}, "no": {}})

    def lose(self) -> None:
        """Take note of a gap: nothing is known until the next snapshot."""
        self.is_known = False

    def snapshot_problem(self, snapshot: AuditedSnapshot) -> str | None:
        """Compare the book with a snapshot, and go on from the snapshot."""
        levels = {"yes": dict(snapshot.yes_bids), "no": dict(snapshot.no_bids)}
        was_known, before = self.is_known, self._levels
        self._levels, self.is_known = levels, True
        self.base_clock = None if snapshot.is_checkpoint else snapshot.clock
        if not was_known or before == levels:
            return None
        if not snapshot.is_checkpoint and not any(levels.values()):
            self.cleared += 1
            return None
        side, price = _first_difference(before, levels)
        return (
            f"{'checkpoint' if snapshot.is_checkpoint else 'snapshot of the venue'} has "
            f"{levels[side].get(price, 0)} at {side} {price}, the deltas lead to {before[side].get(price, 0)}"
        )

    def delta_problem(self, row: DeltaFields) -> str | None:
        """Apply a delta and check what was stored with it; after a problem, nothing is known."""
        _, _, side, price, delta, action, old_size, new_size, clock = row
        if not self.is_known or (clock is not None and self.base_clock is not None and clock <= self.base_clock):
            return None
        levels = self._levels[side]
        old = levels.get(price, 0)
        new = old + delta
        if new > 0:
            levels[price] = new
        elif new == 0:
            levels.pop(price, None)
        expected = "add" if delta > 0 else "reduce" if new else "remove"
        if new >= 0 and old_size == old and new_size == new and action == expected:
            return None
        self.is_known = False
        return (
            f"delta {delta} at {side} {price} leads from {old} to {new} ({expected}), "
            f"stored is from {old_size} to {new_size} ({action})"
        )


def _first_difference(mine: dict[str, dict[Price, Count]], theirs: dict[str, dict[Price, Count]]) -> tuple[str, Price]:
    return min(
        (side, price)
        for side in ("yes", "no")
        for price in mine[side].keys() | theirs[side].keys()
        if mine[side].get(price) != theirs[side].get(price)
    )
