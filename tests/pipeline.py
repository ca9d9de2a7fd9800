"""Capture log, journal, live books and writer, joined over a store in memory that can be away or lose answers."""

import threading
from collections.abc import Callable
from uuid import UUID

import attrs
import trio

from rlflow.data.feed.capture_log import CaptureLog
from rlflow.data.journal.journal import Journal
from rlflow.data.orderbook_state import OrderbookState
from rlflow.data.write_queue import WriteQueue
from rlflow.errors import DatabaseAwayError, OtherWriterError
from rlflow.session.records import Batch, Closed, Opened
from rlflow.session.rows import Counts, DeltaRow, GapEndRow, GapRow, ResumePoint, Rows, SnapshotRow

TICKER = "KXTEST-A"


def snapshot(seq: int) -> bytes:
    return (
        f'{{"type":"orderbook_snapshot","sid":1,"seq":{seq},"msg":{{"market_ticker":"{TICKER}",'
        '"yes_dollars_fp":[["0.4000","100.00"]],"no_dollars_fp":[["0.5000","100.00"]]}}'
    ).encode()


def delta(seq: int) -> bytes:
    return (
        f'{{"type":"orderbook_delta","sid":1,"seq":{seq},"msg":{{"market_ticker":"{TICKER}",'
        '"price_dollars":"0.4000","delta_fp":"1.00","side":"yes"}}'
    ).encode()


def trade(seq: int) -> bytes:
    return (
        f'{{"type":"trade","sid":2,"seq":{seq},"msg":{{"trade_id":"{seq}","market_ticker":"{TICKER}",'
        '"yes_price_dollars":"0.4500","count_fp":"2.00","taker_side":"yes"}}'
    ).encode()


@attrs.define
class MemoryStore:
    """Keeps the compare-and-set rule of the real one; its troubles are switched on by tests."""

    store_id: str = "store"
    frames: dict[UUID, int] = attrs.Factory(dict)
    points: dict[UUID, ResumePoint] = attrs.Factory(dict)
    snapshots: list[SnapshotRow] = attrs.Factory(list)
    deltas: list[DeltaRow] = attrs.Factory(list)
    gaps: list[GapRow] = attrs.Factory(list)
    gap_ends: list[GapEndRow] = attrs.Factory(list)
    counts: Counts = attrs.Factory(Counts)
    closed: dict[UUID, Closed] = attrs.Factory(dict)
    is_away: bool = False
    is_read_only: bool = False
    """It can be connected to and read, but takes nothing."""
    connections: int = 0
    loses_next_answer: bool = False
    commits: int = 0
    commits_begun: int = 0
    gate: threading.Event = attrs.Factory(threading.Event)
    """Commits wait for it."""

    def __attrs_post_init__(self) -> None:
        self.gate.set()

    def connect(self) -> "MemoryStore":
        if self.is_away:
            raise DatabaseAwayError("away")
        self.connections += 1
        return self

    def begin_recording(self, recorder: int) -> None:
        pass

    def other_recorders(self, recorder: int) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def close(self) -> None:
        pass

    def committed(self, capture: UUID) -> int | None:
        return self.frames.get(capture)

    def is_closed(self, capture: UUID) -> bool:
        return capture in self.closed

    def resume_point(self, capture: UUID) -> ResumePoint | None:
        return self.points.get(capture)

    def commit(self, rows: list[Rows]) -> list[Rows]:
        self.commits_begun += 1
        self.gate.wait(10)
        if self.is_away:
            raise DatabaseAwayError("away")
        if self.is_read_only:
            raise DatabaseAwayError("read only")
        for one in rows:
            if self.frames.get(one.capture, -1) != one.after_frame:
                raise OtherWriterError(one.capture, one.after_frame, self.frames.get(one.capture))
        for one in rows:
            self._keep(one)
        self.commits += 1
        if self.loses_next_answer:
            self.loses_next_answer = False
            raise DatabaseAwayError("the answer was lost")
        return rows

    def open_gaps(self) -> list[GapRow]:
        """Return the gaps that nothing has ended yet, in whichever capture: as the tables, by receive time."""
        ends: dict[tuple[str, str | None], int] = {}
        for end in self.gap_ends:
            key = end.channel, end.market_ticker
            ends[key] = max(end.received_ns, ends.get(key, 0))
        return [
            gap
            for gap in self.gaps
            if gap.to_ns is None and ends.get((gap.channel, gap.market_ticker), 0) < gap.received_ns
        ]

    def _keep(self, rows: Rows) -> None:
        self.frames[rows.capture] = rows.upto_frame
        opened = rows.opened or self.points[rows.capture].opened
        self.points[rows.capture] = ResumePoint(rows.capture, rows.upto_frame, opened, rows.resume, ())
        self.snapshots += rows.snapshots
        self.deltas += rows.deltas
        self.gaps += rows.gaps
        self.gap_ends += rows.gap_ends
        self.counts.add(rows.counts)
        if rows.closed is not None:
            self.closed[rows.capture] = rows.closed


@attrs.define
class Pipeline:
    """Capture log, journal, books and writer, joined as the supervisor joins them."""

    journal: Journal
    store: MemoryStore
    batches: int = 64
    rows: int = 64
    batch_size: int = 100
    log: CaptureLog = attrs.field(init=False)
    books: OrderbookState = attrs.field(init=False)
    writer: WriteQueue = attrs.field(init=False)
    send: trio.MemorySendChannel[Batch] = attrs.field(init=False)
    receive: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[Batch](self.batches)
        self.log = CaptureLog(self.journal, self.send)
        self.books = OrderbookState(self.journal, flush_interval_s=0.02)
        self.writer = WriteQueue(
            self.journal,
            self.store.connect,
            lambda: self.books.cursor,
            environment="sim",
            batch_size=self.batch_size,
            flush_interval_s=0.02,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        send_rows, receive_rows = trio.open_memory_channel[Rows](self.rows)
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run, receive_rows, done)
            task_status.started()
            await self.books.run(self.receive, send_rows)
            done.set()


def record(pipeline: Pipeline, frames: int) -> None:
    """Receive a capture of one snapshot and deltas without giving anyone a turn."""
    capture = pipeline.log.begin(Opened(url="ws://test", environment="sim", tickers=(TICKER,)))
    capture.frames([snapshot(1)])
    for number in range(2, frames + 1):
        capture.frames([delta(number)])
    capture.closed("test over")


def assert_all_stored_once(store: MemoryStore, captures: int, frames: int) -> None:
    numbers = sorted(row.frame_no for row in store.deltas)
    assert numbers == sorted(list(range(2, frames + 1)) * captures)
    assert store.counts.stored == captures * frames
    assert set(store.frames.values()) == {frames + 1}


async def run_to_the_end(pipeline: Pipeline, frames: int) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            record(pipeline, frames)
            await pipeline.writer.flush()
            pipeline.send.close()


async def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - there is no event for what a thread does
        await trio.sleep(0.005)
