"""The writer: rows from the live books into PostgreSQL, and from the journal where the live rows are not at hand.

One cursor says up to where the journal is in the database. Live rows that begin at the cursor are written as they come;
if they begin behind it, or the database was away, the journal is read up to them first. So start, outage and overload
are the same path. Nobody waits for the writer: while it cannot write, rows pile up in its channel, then are left to the
journal.
"""

import time
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple
from uuid import UUID

import structlog
import trio

from rlflow.data.writer.catch_up import CatchUp
from rlflow.data.writer.protocols import Journal, Store, WriterStatistics
from rlflow.data.writer.tally import Tally
from rlflow.errors import DatabaseAwayError
from rlflow.session.rows import Counts, Rows

# More rows than this in one transaction gain no speed.
MAX_ROWS = 20_000
# One step of catching up stays below the stop deadline by far.
STEP_S = 1.0
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
# Somebody else who begins to record into the same store is noticed this late.
LOOK_AROUND_S = 10.0

T = TypeVar("T")
Args = TypeVarTuple("Args")

_log = structlog.get_logger(__name__)


class WriteQueue:
    """The writer task (`run`) and its figures.

    Args:
        journal: where rows that are not at hand are made from.
        connect: opens the store; raises DatabaseAwayError while it cannot be reached.
        published: up to which journal offset the books have handed over, or left to the journal, what they made. The
            journal is never read beyond it: what the full journal could not take still comes by the channel.
        environment: the store's.
        batch_size: rows at which a batch is full.
        flush_interval_s: after which a batch that is not full is written all the same.
        recorder: a number that tells this process from others that record into the store, 0 to 2^31 - 1.
        wall_ns: the wall clock.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        journal: Journal,
        connect: Callable[[], Store],
        published: Callable[[], int],
        *,
        environment: str,
        batch_size: int,
        flush_interval_s: float,
        recorder: int = 0,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._connect = connect
        self._published = published
        self._environment = environment
        self._batch_size = batch_size
        self._flush_interval_s = flush_interval_s
        self._recorder = recorder
        self._wall_ns = wall_ns
        self._clock = clock
        self._limiter = trio.CapacityLimiter(1)
        self._cursor = journal.oldest
        self._store: Store | None = None
        self._rows: trio.MemoryReceiveChannel[Rows] | None = None
        self._unwritten: list[Rows] = []
        self._tally = Tally(begins_at=journal.end)
        self._moved_on = trio.Event()
        self._progress_at = clock()
        self._since_ns = wall_ns()
        self._last_error: str | None = None
        self._is_proven = False
        self._others: tuple[str, ...] = ()
        self._looked_around_at = clock()
        self._is_catching_up = False
        self._last_commit_ns: int | None = None
        self._commit_s = 0.0
        self._enqueued = self._held_frames = self._rows_written = self._commits = self._caught_up = 0

    def statistics(self) -> WriterStatistics:
        """Return the figures so far."""
        channel = self._rows.statistics() if self._rows is not None else None
        return WriterStatistics(
            is_connected=self._store is not None and self._last_error is None,
            since_ns=self._since_ns,
            last_error=self._last_error,
            is_catching_up=self._is_catching_up,
            backlog_bytes=max(self._journal.end - self._cursor, 0),
            held_frames=self._held_frames,
            stalled_s=self._stalled_s(),
            messages_enqueued=self._enqueued,
            rows_written=self._rows_written,
            commits=self._commits,
            last_commit_ns=self._last_commit_ns,
            commit_s=self._commit_s,
            caught_up_frames=self._caught_up,
            channel_used=channel.current_buffer_used if channel else 0,
            channel_size=channel.max_buffer_size if channel else 0,
            other_recorders=self._others,
        )

    def stored_counts(self) -> Counts:
        """Return what became of the frames that were received by this process and are committed."""
        return self._tally.counts()

    async def flush(self) -> None:
        """Wait until everything that the journal holds now is in the database. Bound it: the database may be away."""
        target = self._journal.end
        while self._cursor < target:
            await self._moved_on.wait()

    async def run(self, rows: trio.MemoryReceiveChannel[Rows], upstream_ended: trio.Event) -> None:
        """Write until `rows` ends and everything is committed; with the database away, leave the rest to the journal.

        Args:
            rows: what the books make.
            upstream_ended: set when no more rows will come, since an absent database leaves the channel unread.

        Raises:
            StoreError: the store is not ours to write to, or another process writes to it.
        """
        self._rows = rows
        retry_s = FIRST_RETRY_S
        async with rows:
            while True:
                try:
                    await self._connected(rows)
                except DatabaseAwayError as error:
                    if self._is_proven:
                        retry_s = FIRST_RETRY_S
                    await self._lose(error)
                else:
                    return
                with trio.move_on_after(retry_s):
                    await upstream_ended.wait()
                    return
                retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def _connected(self, rows: trio.MemoryReceiveChannel[Rows]) -> None:
        """Write for as long as the connection holds; returns when `rows` has ended and all of it is committed."""
        store = await self._in_thread(self._connect)
        self._store, self._progress_at = store, self._clock()
        if self._last_error is None:
            self._since_ns = self._wall_ns()
        try:
            await self._in_thread(self._journal.bind, store.store_id)
            await self._in_thread(store.begin_recording, self._recorder)
            await self._look_around(store)
            await self._in_thread(self._tally.settle, store)
            await self._settle_unwritten(store)
            while (batch := await self._collect(rows)) is not None:
                self._held_frames = sum(rows.counts.total() for rows in batch)
                self._enqueued += self._held_frames
                self._unwritten = batch
                await self._write(store)
                if self._clock() > self._looked_around_at + LOOK_AROUND_S:
                    await self._look_around(store)
            await self._catch_up(store, self._published())
        finally:
            with trio.CancelScope(shield=True):
                await self._in_thread(store.close)

    async def _settle_unwritten(self, store: Store) -> None:
        """Write what the last connection left, except for what it did commit before its answer was lost."""
        if not self._unwritten:
            return
        uncommitted: list[Rows] = []
        for rows in self._unwritten:
            committed = await self._in_thread(store.committed, rows.capture)
            if rows.start <= self._cursor and committed is not None and rows.upto_frame <= committed:
                self._cursor = max(self._cursor, rows.end)
            else:
                uncommitted.append(rows)
        self._unwritten = uncommitted
        await self._write(store)

    def _prove(self) -> None:
        """Believe in the connection: what was to be written by it is. One to a full database can be made as well."""
        self._is_proven = True
        if self._last_error is not None:
            _log.info("database back", away_s=round((self._wall_ns() - self._since_ns) / 1e9, 1))
            self._since_ns, self._last_error = self._wall_ns(), None

    async def _lose(self, error: DatabaseAwayError) -> None:
        self._is_catching_up = self._is_proven = False
        if self._last_error is None:
            _log.warning("database lost", reason=str(error))
            self._since_ns = self._wall_ns()
        self._store, self._last_error = None, str(error)
        # Nothing is retired now, and the database may be away because the disk is full.
        await self._in_thread(self._journal.make_room)

    async def _look_around(self, store: Store) -> None:
        """Look for others that record into the same store."""
        others = await self._in_thread(store.other_recorders, self._recorder)
        if others and not self._others:
            _log.warning("another process records into the same store", addresses=", ".join(others))
        self._others, self._looked_around_at = others, self._clock()

    async def _collect(self, rows: trio.MemoryReceiveChannel[Rows]) -> list[Rows] | None:
        """Return the next rows: a full batch, or what came within the flush interval; None when no more will come."""
        batch: list[Rows] = []
        size = 0
        with trio.move_on_after(self._flush_interval_s):
            try:
                while size < self._batch_size:
                    batch.append(await rows.receive())
                    size += len(batch[-1])
                while size < MAX_ROWS:
                    batch.append(rows.receive_nowait())
                    size += len(batch[-1])
            except trio.WouldBlock:
                pass
            except trio.EndOfChannel:
                return batch or None
        return batch

    async def _write(self, store: Store) -> None:
        """Commit the collected rows, which go on at the cursor, reading the journal up to them where they do not."""
        ready: list[Rows] = []
        position = self._cursor
        for rows in self._unwritten:
            if rows.start < position or rows.end < position:
                continue
            if rows.start > position:
                await self._commit(store, ready, position)
                await self._catch_up(store, rows.start)
                ready = []
            ready.append(rows)
            position = rows.end
        await self._commit(store, ready, position)
        if not self._unwritten and not self._waiting_rows():
            await self._catch_up(store, self._published())
        self._unwritten, self._held_frames = [], 0
        await self._let_go()

    async def _commit(self, store: Store, ready: list[Rows], position: int) -> None:
        if not ready:
            return
        began = time.monotonic()
        merged = merge(ready)
        await self._in_thread(self._tally.commit, store, merged)
        self._move_to(position)
        self._rows_written += sum(map(len, merged))
        self._commits += 1
        self._last_commit_ns = self._wall_ns()
        self._commit_s = time.monotonic() - began

    async def _catch_up(self, store: Store, stop: int) -> None:
        """Bring the database up to the journal offset `stop`."""
        if stop <= self._cursor:
            return
        self._is_catching_up = True
        work = CatchUp(self._journal, store, self._environment, self._cursor, self._tally)
        while work.position < stop:
            before = work.frames
            await self._in_thread(work.step, stop, STEP_S)
            self._last_commit_ns = self._wall_ns()
            self._caught_up += work.frames - before
            self._move_to(work.position)
            await self._let_go()
        self._is_catching_up = False

    def _move_to(self, position: int) -> None:
        self._cursor = position
        self._progress_at = self._clock()

    async def _let_go(self) -> None:
        """Tell the journal, and who waits for it, how far the database has come."""
        self._prove()
        await self._in_thread(self._journal.retire, self._cursor)
        if self._cursor >= self._journal.end:
            self._progress_at = self._clock()
        self._moved_on.set()
        self._moved_on = trio.Event()

    def _stalled_s(self) -> float:
        if self._store is None or self._cursor >= self._journal.end:
            return 0.0
        return max(self._clock() - self._progress_at - self._flush_interval_s, 0.0)

    def _waiting_rows(self) -> int:
        return 0 if self._rows is None else self._rows.statistics().current_buffer_used

    async def _in_thread(self, function: Callable[[*Args], T], *args: *Args) -> T:
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)


def merge(batch: list[Rows]) -> list[Rows]:
    """Join the rows of each capture, each beginning where the one before it ended; those given stay as they are."""
    merged: dict[UUID, Rows] = {}
    for rows in batch:
        if rows.capture not in merged:
            merged[rows.capture] = rows.copy()
        else:
            merged[rows.capture].absorb(rows)
    return list(merged.values())
