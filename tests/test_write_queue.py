"""The writer and the live books over a real journal, with a store in memory that can be away or lose answers."""

import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from rlflow.data import write_queue
from rlflow.data.journal.disk_guard import DiskGuard
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.raw import RawStore
from rlflow.data.write_queue import WriteQueue
from rlflow.data.writer.catch_up import CatchUp
from rlflow.errors import OtherWriterError
from rlflow.session.records import Batch, Opened
from rlflow.session.rows import Rows
from tests.pipeline import (
    TICKER,
    MemoryStore,
    Pipeline,
    assert_all_stored_once,
    delta,
    record,
    run_to_the_end,
    snapshot,
    wait_until,
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, min_free_bytes=0)
    yield opened
    opened.close()


async def test_what_is_received_is_stored_once(journal: Journal) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store)
    await run_to_the_end(pipeline, 50)
    assert_all_stored_once(store, 1, 50)
    assert pipeline.writer.stored_counts() == store.counts
    assert pipeline.writer.statistics().backlog_bytes == 0


@pytest.mark.parametrize(("batches", "rows"), [(1, 1000), (1000, 1), (1, 1)])
async def test_what_the_channels_cannot_take_comes_by_the_journal(journal: Journal, batches: int, rows: int) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store, batches=batches, rows=rows)
    await run_to_the_end(pipeline, 300)
    assert_all_stored_once(store, 1, 300)
    statistics = pipeline.books.statistics()
    assert (statistics.read_back > 0) == (batches == 1)
    assert (statistics.left_to_journal > 0) == (rows == 1)
    assert statistics.dropped == 0


async def test_an_answer_that_was_lost_makes_nothing_twice(journal: Journal) -> None:
    store = MemoryStore(loses_next_answer=True)
    await run_to_the_end(Pipeline(journal, store), 50)
    assert_all_stored_once(store, 1, 50)


async def test_a_database_that_is_away_at_first_gets_everything_later(journal: Journal) -> None:
    store = MemoryStore(is_away=True)
    pipeline = Pipeline(journal, store, rows=4)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            record(pipeline, 100)
            await trio.sleep(0.1)
            assert not pipeline.writer.statistics().is_connected
            assert pipeline.books.view(TICKER) is not None
            store.is_away = False
            await pipeline.writer.flush()
            pipeline.send.close()
    assert_all_stored_once(store, 1, 100)


async def test_a_database_that_takes_nothing_is_asked_ever_more_seldom_and_never_called_well(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "FIRST_RETRY_S", 0.001)
    store = MemoryStore(is_read_only=True)
    pipeline = Pipeline(journal, store)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            record(pipeline, 10)
            await wait_until(lambda: pipeline.writer.statistics().last_error is not None)
            seen = set()
            give_up = trio.current_time() + 0.5
            while trio.current_time() < give_up:
                seen.add(pipeline.writer.statistics().is_connected)
                await trio.sleep(0.001)
            assert seen == {False}
            assert store.connections < 12, "it doubles the pause, so half a second has room for nine"
            store.is_read_only = False
            await pipeline.writer.flush()
            await wait_until(lambda: pipeline.writer.statistics().is_connected)
            pipeline.send.close()
    assert_all_stored_once(store, 1, 10)


async def test_a_stop_without_a_database_leaves_everything_to_the_next_start(journal: Journal) -> None:
    away = Pipeline(journal, MemoryStore(is_away=True))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(away.run)
            record(away, 100)
            away.send.close()
    store = MemoryStore()
    await run_to_the_end(Pipeline(journal, store), 100)
    assert_all_stored_once(store, 2, 100)


async def test_a_journal_that_is_in_the_database_already_adds_nothing(journal: Journal) -> None:
    store = MemoryStore()
    await run_to_the_end(Pipeline(journal, store), 100)
    again = Pipeline(journal, store)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(again.run)
            await again.writer.flush()
            again.send.close()
    assert_all_stored_once(store, 1, 100)


async def test_a_store_that_went_back_in_time_gets_a_gap_for_what_is_nowhere(journal: Journal) -> None:
    """A restored backup knows less than what the journal still has begins with: the middle is lost, and said so."""
    store = MemoryStore()
    await run_to_the_end(Pipeline(journal, store), 50)
    (capture,) = store.frames
    batches = list(journal.read(0, journal.end))
    restored = MemoryStore()
    CatchUp(journal, restored, "sim", 0).step(batches[4].start, budget_s=10)
    assert restored.frames[capture] == 3

    @attrs.define
    class Late:
        """The journal without its beginning: the snapshot and the first deltas were retired."""

        oldest: int
        whole: Journal

        @property
        def end(self) -> int:
            return self.whole.end

        def read(self, start: int, stop: int) -> Iterator[Batch]:
            return self.whole.read(start, stop)

        def bind(self, store_id: str) -> None:
            pass

        def retire(self, upto: int) -> int:  # noqa: ARG002
            return 0

        def make_room(self) -> None:
            pass

    writer = WriteQueue(
        Late(batches[10].start, journal),
        restored.connect,
        lambda: journal.end,
        environment="sim",
        batch_size=100,
        flush_interval_s=0.02,
    )
    _, receive_rows = trio.open_memory_channel[Rows](1)
    done = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run, receive_rows, done)
            await writer.flush()
            nursery.cancel_scope.cancel()
    assert [row.frame_no for row in restored.deltas] == [2, 3, *range(10, 51)]
    assert any("frames up to 9 are neither" in gap.cause for gap in restored.gaps)
    assert restored.counts.dropped == 6
    assert restored.frames[capture] == 51


async def test_a_full_journal_drops_nothing_while_the_database_keeps_up(tmp_path: Path) -> None:
    small = Journal.open(tmp_path / "small", max_bytes=4096, segment_bytes=512, min_free_bytes=0)
    store = MemoryStore()
    pipeline = Pipeline(small, store, batches=1000, rows=1000)
    await run_to_the_end(pipeline, 100)
    assert pipeline.log.statistics().unprotected > 0
    assert_all_stored_once(store, 1, 100)
    small.close()


async def test_frames_that_nobody_could_take_are_said_to_be_lost(tmp_path: Path) -> None:
    """Journal full and the writer's channel full: the live book stays right, the tables get a gap and a checkpoint."""
    small = Journal.open(tmp_path / "small", max_bytes=4096, segment_bytes=512, min_free_bytes=0)
    store = MemoryStore()
    pipeline = Pipeline(small, store, batches=1000, rows=4, batch_size=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim", tickers=(TICKER,)))
            capture.frames([snapshot(1)])
            store.gate.clear()
            for number in range(2, 61):
                capture.frames([delta(number)])
            await wait_until(lambda: pipeline.books.statistics().dropped > 0)
            store.gate.set()
            await wait_until(lambda: pipeline.writer.statistics().channel_used == 0)
            for number in range(61, 101):
                capture.frames([delta(number)])
                await trio.sleep(0.001)
            capture.closed("test over")
            await wait_until(lambda: store.frames.get(capture.id) == 101)
            pipeline.send.close()
    assert store.counts.dropped > 0
    assert store.counts.total() == 100
    assert any("dropped" in gap.cause for gap in store.gaps)
    checkpoints = [row for row in store.snapshots if row.origin == "checkpoint"]
    assert checkpoints
    for row in checkpoints:
        assert row.yes_bids == ((4000, 10_000 + (row.frame_no - 1) * 100),)
    small.close()


async def test_raw_frames_give_way_while_the_database_is_away(tmp_path: Path) -> None:
    """It may be away because of the very disk that they fill, and it would be for ever."""
    raw = RawStore(tmp_path / "raw", keep_days=3)
    room = 10**9

    def kept() -> int:
        return len(os.listdir(raw.directory))

    def free_bytes(_: Path) -> int:
        return room - 100 * kept()

    guard = DiskGuard(tmp_path, 1_000, every_bytes=0, free_bytes=free_bytes)
    full = Journal.open(tmp_path / "journal", max_bytes=2**20, segment_bytes=512, disk=guard, raw=raw)
    store = MemoryStore()
    await run_to_the_end(Pipeline(full, store), 50)
    full.retire(full.end)
    before = kept()
    assert before > 5
    store.is_away, room = True, 999 + 100 * before
    pipeline = Pipeline(full, store)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            await wait_until(lambda: kept() < before)
            record(pipeline, 50)
            assert pipeline.log.statistics().unprotected == 0
            store.is_away = False
            await pipeline.writer.flush()
            pipeline.send.close()
    assert_all_stored_once(store, 2, 50)
    full.close()


async def test_another_writer_on_the_same_store_ends_the_process(journal: Journal) -> None:
    store = MemoryStore()
    pipeline = Pipeline(journal, store)
    with pytest.RaisesGroup(OtherWriterError, flatten_subgroups=True), trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            await pipeline.writer.flush()
            store.frames[capture.id] = 7
            capture.frames([delta(2)])
            await trio.sleep(5)


async def test_the_journal_gets_room_while_the_writer_is_still_catching_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long outage the journal is full: frames stay unprotected, and may be lost, until it has room."""
    monkeypatch.setattr("rlflow.data.writer.catch_up.ROWS_PER_COMMIT", 1)
    monkeypatch.setattr("rlflow.data.write_queue.STEP_S", 0.0)
    small = Journal.open(tmp_path / "small", max_bytes=8192, segment_bytes=1024, min_free_bytes=0)

    @attrs.define
    class PausingStore(MemoryStore):
        """Holds the thirtieth commit up."""

        def commit(self, rows: list[Rows]) -> list[Rows]:
            if self.commits_begun == 29:
                self.gate.clear()
            return super().commit(rows)

    store = PausingStore(is_away=True)
    pipeline = Pipeline(small, store, rows=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            record(pipeline, 35)
            await trio.sleep(0.05)
            store.is_away = False
            await wait_until(lambda: store.commits_begun == 30)
            assert pipeline.writer.statistics().is_catching_up
            assert small.oldest > 0
            store.gate.set()
            pipeline.send.close()
    small.close()


async def test_a_writer_that_had_nothing_to_do_is_not_late_when_something_comes(journal: Journal) -> None:
    now = 0.0
    store = MemoryStore()
    pipeline = Pipeline(journal, store)
    pipeline.writer = WriteQueue(
        journal,
        store.connect,
        lambda: pipeline.books.cursor,
        environment="sim",
        batch_size=100,
        flush_interval_s=0.02,
        clock=lambda: now,
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            await pipeline.writer.flush()
            now = 1000.0
            await wait_until(lambda: pipeline.writer._progress_at == 1000.0)
            store.gate.clear()
            capture.frames([delta(2)])
            assert pipeline.writer.statistics().backlog_bytes > 0
            assert pipeline.writer.statistics().stalled_s == 0
            now = 1400.0
            assert pipeline.writer.statistics().stalled_s == pytest.approx(400, abs=0.1)
            store.gate.set()
            await pipeline.writer.flush()
            assert pipeline.writer.statistics().stalled_s == 0
            pipeline.send.close()
