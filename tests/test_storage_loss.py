"""Frames that the full journal could not take: written once all the same, or said to be lost, completely."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from rlflow.data.books.storage_loss import Loss
from rlflow.data.feed.capture_log import Capture, CaptureLog
from rlflow.data.journal.disk_guard import DiskGuard
from rlflow.data.journal.journal import Journal
from rlflow.data.orderbook_state import OrderbookState
from rlflow.errors import JournalFullError
from rlflow.session.records import Batch, Opened
from rlflow.session.rows import Rows
from tests.pipeline import TICKER, MemoryStore, Pipeline, delta, snapshot, trade, wait_until
from tests.session_line import Frame, Line, subscribed
from tests.session_line import delta as change
from tests.session_line import snapshot as book_of

OPENED = Opened(url="ws://test", environment="sim", tickers=(TICKER,))


@attrs.define
class Disk:
    """A disk whose room is switched on and off."""

    free: int = 100

    def free_bytes(self, _directory: Path) -> int:
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(tmp_path: Path, disk: Disk) -> Iterator[Journal]:
    guard = DiskGuard(tmp_path, min_free_bytes=1, every_bytes=0, free_bytes=disk.free_bytes)
    opened = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, disk=guard)
    yield opened
    opened.close()


async def begin(pipeline: Pipeline) -> Capture:
    """Receive a capture's snapshot and wait until it is in the store."""
    capture = pipeline.log.begin(OPENED)
    capture.frames([snapshot(1)])
    await pipeline.writer.flush()
    return capture


async def lose_some(pipeline: Pipeline, capture: Capture, disk: Disk, seq: int) -> int:
    """With the writer held up, receive unprotected deltas until some are lost; return the next `seq`."""
    disk.free = 0
    dropped = pipeline.books.statistics().dropped
    while pipeline.books.statistics().dropped == dropped:
        capture.frames([delta(seq)])
        seq += 1
        await trio.sleep(0.001)
    return seq


async def hold_up(pipeline: Pipeline, capture: Capture, seq: int) -> None:
    """Let the writer wait for the store with one row in hand."""
    pipeline.store.gate.clear()
    before = pipeline.store.commits_begun
    capture.frames([delta(seq)])
    await wait_until(lambda: pipeline.store.commits_begun > before)


async def test_an_answer_lost_for_unprotected_frames_makes_nothing_twice(journal: Journal, disk: Disk) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            disk.free, store.loses_next_answer = 0, True
            capture.frames([delta(2)])
            await wait_until(lambda: store.frames.get(capture.id) == 2)
            capture.frames([delta(3)])
            await wait_until(lambda: store.frames.get(capture.id) == 3)
            pipeline.send.close()
    assert [row.frame_no for row in store.deltas] == [2, 3]


async def test_a_loss_is_told_although_another_capture_is_busy(journal: Journal, disk: Disk) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture, other = await begin(pipeline), await begin(pipeline)
            await hold_up(pipeline, capture, 2)
            lost = await lose_some(pipeline, capture, disk, 3) - 1
            store.gate.set()
            disk.free = 100
            seq = 2
            while store.frames[capture.id] < lost:
                other.frames([delta(seq)])
                seq += 1
                await trio.sleep(0.001)
            pipeline.send.close()


async def test_what_is_journalled_behind_a_loss_but_not_handed_over_is_stored_and_the_tables_get_level(
    journal: Journal, disk: Disk
) -> None:
    """The journal has room again before the writer's channel has: the writer finds the hole in the journal."""
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            await hold_up(pipeline, capture, 2)
            seq = await lose_some(pipeline, capture, disk, 3)
            disk.free = 100
            capture.frames([delta(seq)])
            await wait_until(lambda: pipeline.books.statistics().left_to_journal > 0)
            dropped = pipeline.books.statistics().dropped
            assert dropped > 0, "a loss is not forgotten"
            store.gate.set()
            await pipeline.writer.flush()
            capture.frames([delta(seq + 1)])
            await pipeline.writer.flush()
            view = pipeline.books.view(TICKER)
            pipeline.send.close()
    assert store.counts.total() == seq + 1
    assert store.counts.dropped == dropped
    (checkpoint,) = [row for row in store.snapshots if row.origin == "checkpoint"]
    assert view is not None
    assert (checkpoint.frame_no, checkpoint.yes_bids) == (view.frame_no, view.yes_bids)
    assert store.open_gaps() == []


async def test_a_book_that_became_invalid_in_a_loss_has_an_open_gap(journal: Journal, disk: Disk) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            await hold_up(pipeline, capture, 2)
            seq = await lose_some(pipeline, capture, disk, 3)
            capture.frames([delta(seq + 5)])
            await wait_until(lambda: not is_valid(pipeline))
            store.gate.set()
            await wait_until(lambda: store.frames[capture.id] == seq)
            assert [gap.market_ticker for gap in store.open_gaps()] == [TICKER]
            capture.frames([snapshot(seq + 6)])
            await wait_until(lambda: store.frames[capture.id] == seq + 1)
            assert store.open_gaps() == []
            pipeline.send.close()


def is_valid(pipeline: Pipeline) -> bool:
    view = pipeline.books.view(TICKER)
    return view is not None and view.is_valid


# -- what the tables have behind a loss --------------------------------------------------------------------------------


def bridged(*frames: Frame) -> tuple[Line, Rows]:
    """A connection that lost the delta behind its snapshot, and what these frames became then."""
    line = Line()
    line.receive(subscribed(1, "orderbook_delta"))
    line.receive(book_of(1))
    loss = Loss.of(line.session, line.receive(change(2, "90.00")))
    made = line.receive(*frames)
    loss.bridge(made)
    return line, made


def test_a_delta_behind_a_loss_says_no_sizes_until_its_book_is_stored() -> None:
    """The rows before it lead to other sizes: whoever adds it to those is wrong, or below nothing."""
    line, made = bridged(change(3, "-50.00"), change(4))
    assert [(row.action, row.old_size, row.new_size) for row in made.deltas] == [(None, None, None)] * 2
    assert [(row.frame_no, row.yes_bids) for row in made.snapshots] == [(5, line.yes_bids())]


def test_a_delta_behind_a_loss_says_its_sizes_again_behind_a_snapshot() -> None:
    _, made = bridged(change(3, "-50.00"), book_of(4), change(5), change(6))
    assert [(row.action, row.new_size) for row in made.deltas] == [(None, None), ("add", 600), ("add", 700)]


@pytest.mark.parametrize("rows", [64, 1])
async def test_frames_that_were_dropped_are_told_with_their_trades_and_counted_once(
    journal: Journal, disk: Disk, rows: int
) -> None:
    """Whether the live rows say so, or the writer reads it in the journal."""
    store = MemoryStore()
    pipeline = Pipeline(journal, store, batches=2, rows=rows, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            capture.frames([trade(1)])
            await pipeline.writer.flush()
            disk.free = 0
            # Nobody has a turn meanwhile: what the channel does not take is dropped.
            for seq in range(2, 8):
                capture.frames([delta(seq), trade(seq)])
            disk.free = 100
            capture.frames([snapshot(8), trade(8)])
            for seq in range(9, 17):
                capture.frames([delta(seq)])
            capture.closed("line cut")
            await pipeline.writer.flush()
            books, captures = pipeline.books.statistics(), pipeline.log.statistics()
            pipeline.send.close()
    lost = [gap for gap in store.gaps if "frames dropped" in gap.cause]
    assert {(gap.channel, gap.market_ticker) for gap in lost} == {("orderbook_delta", TICKER), ("trade", None)}
    assert {(gap.frame_no, gap.from_frame) for gap in lost} == {(number, number - 1) for number in (9, 11, 13)}
    assert captures.dropped == 6
    assert store.counts.dropped == books.dropped + 6
    assert captures.frames == store.counts.total() == store.frames[capture.id] - 1
    assert books.messages == captures.journalled + captures.unprotected
    assert (books.left_to_journal > 0) == (rows == 1)


async def test_a_confession_that_is_lost_itself_counts_its_frames_once(disk: Disk, journal: Journal) -> None:
    """The books hear of dropped frames, but nobody takes the rows that say so."""
    store = MemoryStore()
    pipeline = Pipeline(journal, store, batches=1, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            await hold_up(pipeline, capture, 2)
            seq = await lose_some(pipeline, capture, disk, 3)
            while pipeline.log.statistics().dropped == 0:
                capture.frames([delta(seq)])
                seq += 1
            await wait_until(lambda: pipeline.receive.statistics().current_buffer_used == 0)
            capture.frames([delta(seq)])
            await wait_until(lambda: pipeline.receive.statistics().current_buffer_used == 0)
            store.gate.set()
            await wait_until(lambda: store.frames[capture.id] == capture.last_no)
            books, captures = pipeline.books.statistics(), pipeline.log.statistics()
            pipeline.send.close()
    assert store.counts.dropped == books.dropped + captures.dropped
    assert store.counts.total() == captures.frames == capture.last_no


@pytest.mark.parametrize("dies", [True, False])
async def test_trades_that_ended_in_a_loss_have_an_open_gap_of_each_market(
    journal: Journal, disk: Disk, dies: bool
) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            capture.frames([trade(1)])
            await pipeline.writer.flush()
            await hold_up(pipeline, capture, 2)
            seq = await lose_some(pipeline, capture, disk, 3)
            last = b'{"type":"error","sid":2,"seq":2,"msg":{"code":25,"msg":"x"}}' if dies else trade(2)
            capture.frames([last])
            await wait_until(lambda: pipeline.books.last_frame(capture.id) == capture.last_no)
            store.gate.set()
            await wait_until(lambda: store.frames[capture.id] == capture.last_no)
            expected = [("trade", TICKER)] if dies else []
            assert [(gap.channel, gap.market_ticker) for gap in store.open_gaps()] == expected
            capture.frames([trade(1).replace(b'"sid":2', b'"sid":3'), delta(seq)])
            await wait_until(lambda: store.frames[capture.id] == capture.last_no)
            assert store.open_gaps() == []
            pipeline.send.close()


async def test_trades_that_go_on_again_in_a_loss_end_the_gaps_before_it(journal: Journal, disk: Disk) -> None:
    """The rows that said so are lost."""
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = await begin(pipeline)
            capture.frames([trade(1)])
            await pipeline.writer.flush()
            capture.frames([b'{"type":"error","sid":2,"seq":2,"msg":{"code":25,"msg":"x"}}'])
            await pipeline.writer.flush()
            assert [(gap.channel, gap.market_ticker) for gap in store.open_gaps()] == [("trade", TICKER)]
            await hold_up(pipeline, capture, 2)
            await lose_some(pipeline, capture, disk, 3)
            capture.frames([trade(1).replace(b'"sid":2', b'"sid":3')])
            await wait_until(lambda: pipeline.books.last_frame(capture.id) == capture.last_no)
            store.gate.set()
            await wait_until(lambda: store.frames[capture.id] == capture.last_no)
            assert store.open_gaps() == []
            pipeline.send.close()


class NoJournal:
    """A journal on a disk without any room."""

    oldest = end = 0

    def append(self, batch: Batch) -> Batch:  # noqa: ARG002
        raise JournalFullError("full")

    def read(self, start: int, stop: int) -> Iterator[Batch]:
        raise AssertionError((start, stop))


async def test_a_whole_capture_that_was_lost_is_still_told_with_open_gaps() -> None:
    """Not even its beginning fits anywhere; when there is room, the store hears of it, all frames lost."""
    send, receive = trio.open_memory_channel[Batch](100)
    send_rows, receive_rows = trio.open_memory_channel[Rows](1)
    journal = NoJournal()
    log = CaptureLog(journal, send)
    books = OrderbookState(journal, flush_interval_s=0.02)
    store = MemoryStore()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(books.run, receive, send_rows)
            log.begin(OPENED)
            await wait_until(lambda: receive_rows.statistics().current_buffer_used == 1)
            capture = log.begin(OPENED)
            capture.frames([snapshot(1), delta(2), b'{"type":"trade"}'])
            capture.closed("line cut")
            await wait_until(lambda: books.statistics().dropped == 3)
            store.commit([await receive_rows.receive()])
            store.commit([await receive_rows.receive()])
            send.close()
    assert store.closed[capture.id].cause == "line cut"
    assert store.frames[capture.id] == 4
    assert (store.counts.dropped, store.counts.total()) == (3, 3)
    assert {gap.market_ticker for gap in store.open_gaps()} == {TICKER}


async def test_a_capture_whose_beginning_found_the_journal_full_goes_on_in_it(journal: Journal) -> None:
    """The beginning has its place before what is journalled after it, though the books see both together."""

    @attrs.define
    class Refusing:
        """A journal that has no room for the first record."""

        inner: Journal
        refused: int = 0

        @property
        def end(self) -> int:
            return self.inner.end

        def append(self, batch: Batch) -> Batch:
            if not self.refused:
                self.refused += 1
                raise JournalFullError("full")
            return self.inner.append(batch)

    store = MemoryStore()
    pipeline = Pipeline(journal, store)
    pipeline.log = CaptureLog(Refusing(journal), pipeline.send)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(OPENED)
            capture.frames([snapshot(1)])
            capture.frames([delta(2)])
            await wait_until(lambda: store.frames.get(capture.id) == 2)
            pipeline.send.close()
