"""What committed frames became, each counted once, although the answer to a commit may be lost."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import attrs
import msgspec

from rlflow.session.rows import Counts, Rows


class Store(Protocol):
    """What committing needs of the database."""

    def committed(self, capture: UUID) -> int | None:
        """Return the last frame that the database has of a capture, None if it does not know it."""
        ...

    def commit(self, rows: list[Rows]) -> Sequence[Rows]:
        """Write rows in one transaction; return them as they were written."""
        ...


@attrs.define
class Tally:
    """Commits rows and counts what their frames became. Used by the writer's thread; `counts` by any."""

    begins_at: int = 0
    """The end of the journal when this process began: rows from before are an earlier process's, and not counted."""
    _counts: Counts = attrs.field(factory=Counts, init=False)
    _unanswered: Sequence[Rows] = attrs.field(default=(), init=False)

    def counts(self) -> Counts:
        """Return the figures so far."""
        return msgspec.structs.replace(self._counts)

    def commit(self, store: Store, rows: list[Rows]) -> None:
        """Commit and count; DatabaseAwayError: ask `settle` with the next connection."""
        self._unanswered = rows
        self._count(store.commit(rows))

    def settle(self, store: Store) -> None:
        """Count what was committed although its answer was lost."""
        known = [(rows, store.committed(rows.capture)) for rows in self._unanswered]
        self._count([rows for rows, committed in known if committed is not None and rows.upto_frame <= committed])

    def _count(self, committed: Sequence[Rows]) -> None:
        for rows in committed:
            # What the journal could not take has the place behind it.
            if rows.start >= self.begins_at or rows.end > self.begins_at:
                self._counts.add(rows.counts)
        self._unanswered = ()
