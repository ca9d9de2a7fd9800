"""Rows made from the journal instead of from the live books: after a start, an outage, or a writer that fell behind.

Blocking, for the writer's thread. It resumes each capture where the database stands, so frames that are already there
are skipped, and it makes the same rows as the live side would have made.
"""

import time
from uuid import UUID

import attrs
import structlog

from rlflow.data.writer.protocols import Journal, Store
from rlflow.data.writer.tally import Tally
from rlflow.errors import CorruptJournalError
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.rows import Rows
from rlflow.session.session import Session

# Rows of one transaction: large enough that the commit is a small part of it, small enough to stay in memory.
ROWS_PER_COMMIT = 5_000

_log = structlog.get_logger(__name__)


@attrs.define
class CatchUp:
    """One pass over the journal from `position` on; `step` until there is nothing left, then throw it away."""

    journal: Journal
    store: Store
    environment: str
    position: int
    """Everything before this journal offset is committed."""
    tally: Tally = attrs.Factory(Tally)
    frames: int = 0
    """Frames read that the database did not have."""
    _sessions: dict[UUID, Session] = attrs.field(factory=dict, init=False)
    _committed: dict[UUID, int] = attrs.field(factory=dict, init=False)
    _pending: dict[UUID, Rows] = attrs.field(factory=dict, init=False)

    def step(self, stop: int, budget_s: float) -> None:
        """Read and commit up to the journal offset `stop`, or until `budget_s` seconds have passed.

        Raises:
            DatabaseAwayError: throw this object away and begin again from the last committed position.
        """
        give_up = time.monotonic() + budget_s
        reached = self.position
        while reached < stop:
            try:
                for batch in self.journal.read(reached, stop):
                    self._take(batch)
                    reached = batch.end
                    if sum(map(len, self._pending.values())) >= ROWS_PER_COMMIT:
                        self._commit(reached)
                    if time.monotonic() > give_up:
                        self._commit(reached)
                        return
                reached = stop
            except CorruptJournalError as error:
                # What lies in the damage is lost; the numbers behind it tell, and `_take` writes the gap.
                _log.error("journal damaged", path=error.path, start=error.start, end=error.end)
                reached = error.end
        self._commit(reached)

    def _take(self, batch: Batch) -> None:
        known = self._known(batch.capture)
        if batch.last_frame_no <= known:
            if batch.kind is not Kind.CLOSED or self.store.is_closed(batch.capture):
                return
            # The next process numbered this record by what it found in the journal, but the database has more: frames
            # that came while the journal was full, or whose place in it a power cut took. The end comes behind them.
            batch = attrs.evolve(batch, first_frame_no=known + 1)
        session = self._sessions.get(batch.capture)
        if session is None:
            session = self._sessions[batch.capture] = self._resume(batch)
        if batch.after_frame > session.upto_frame:
            cause = f"frames up to {batch.after_frame} are neither in the database nor in the journal"
            self._add(session.lose(batch.after_frame, batch.received_ns, cause))
        self._add(session.feed(batch))
        self.frames += len(batch.frames) if batch.kind is Kind.FRAMES else 0
        if batch.kind is Kind.CLOSED:
            del self._sessions[batch.capture]

    def _add(self, rows: Rows) -> None:
        if (pending := self._pending.get(rows.capture)) is not None:
            pending.absorb(rows)
        else:
            self._pending[rows.capture] = rows

    def _known(self, capture: UUID) -> int:
        """Return the last frame of a capture that the database has, -1 for none."""
        if capture not in self._committed:
            committed = self.store.committed(capture)
            self._committed[capture] = -1 if committed is None else committed
        return self._committed[capture]

    def _resume(self, batch: Batch) -> Session:
        """Return a session that stands where the database stands in the batch's capture."""
        point = self.store.resume_point(batch.capture)
        if point is not None:
            return Session.resume(point)
        session = Session(batch.capture)
        if batch.kind is not Kind.OPENED:
            # The database has never seen this capture, and the journal no longer has its beginning.
            opened = Opened(url="", environment=self.environment)
            self._add(session.feed(local_batch(opened, batch.capture, 0, batch.received_ns)))
        return session

    def _commit(self, reached: int) -> None:
        if self._pending:
            self.tally.commit(self.store, list(self._pending.values()))
            self._committed |= {capture: rows.upto_frame for capture, rows in self._pending.items()}
            self._pending = {}
        self.position = reached
