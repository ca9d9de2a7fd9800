"""What committed frames became is counted once, whatever happens to the answer, and only for this process's frames."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from rlflow.data.journal.journal import Journal
from rlflow.session.records import Opened
from rlflow.session.rows import Counts
from tests.pipeline import MemoryStore, Pipeline, delta, record, run_to_the_end, snapshot, wait_until


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, min_free_bytes=0)
    yield opened
    opened.close()


@pytest.mark.parametrize("rows", [1, 1000])
async def test_an_answer_that_was_lost_leaves_nothing_uncounted(journal: Journal, rows: int) -> None:
    """Live rows, or with a channel of one place rows made from the journal."""
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=rows)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            for seq in range(2, 400):
                store.loses_next_answer = seq % 100 == 0
                capture.frames([delta(seq)])
                if seq % 50 == 0:
                    await wait_until(lambda: not store.loses_next_answer)
            await pipeline.writer.flush()
            pipeline.send.close()
    assert store.counts.total() == 399
    assert pipeline.writer.stored_counts() == store.counts


async def test_frames_of_an_earlier_process_are_not_counted_as_received_by_this_one(journal: Journal) -> None:
    away = Pipeline(journal, MemoryStore(is_away=True))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(away.run)
            record(away, 100)
            away.send.close()
    assert away.writer.stored_counts() == Counts()
    store = MemoryStore()
    pipeline = Pipeline(journal, store, rows=1)
    await run_to_the_end(pipeline, 60)
    assert store.counts.stored == 160
    assert pipeline.writer.stored_counts() == Counts(stored=60)
