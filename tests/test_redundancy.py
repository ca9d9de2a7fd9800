"""One market over two connections: readers see a valid book for as long as either has one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from rlflow.data.feed.capture_log import Capture
from rlflow.data.journal.journal import Journal
from rlflow.orderbook import BookView
from rlflow.session.records import Opened
from tests.pipeline import TICKER, MemoryStore, Pipeline, delta, snapshot


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    journal = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, min_free_bytes=0)
    yield Pipeline(journal, MemoryStore())
    journal.close()


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[None]:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            yield
            pipeline.send.close()


def begin(pipeline: Pipeline) -> Capture:
    return pipeline.log.begin(Opened(url="ws://test", environment="sim", tickers=(TICKER,)))


def seen(pipeline: Pipeline) -> BookView:
    view = pipeline.books.view(TICKER)
    assert view is not None
    return view


async def test_the_older_of_two_valid_books_is_shown(pipeline: Pipeline) -> None:
    async with running(pipeline):
        old, new = begin(pipeline), begin(pipeline)
        new.frames([snapshot(1)])
        await pipeline.writer.flush()
        assert (seen(pipeline).capture, seen(pipeline).is_valid) == (new.id, True)
        old.frames([snapshot(1)])
        await pipeline.writer.flush()
        assert seen(pipeline).capture == old.id
        assert pipeline.books.statistics().valid == 1
        assert pipeline.books.tickers() == (TICKER,)


async def test_a_gap_of_one_is_no_lapse_for_readers(pipeline: Pipeline) -> None:
    async with running(pipeline):
        subscription = pipeline.books.subscribe()
        old, new = begin(pipeline), begin(pipeline)
        old.frames([snapshot(1)])
        new.frames([snapshot(1), delta(2), delta(3)])
        await pipeline.writer.flush()
        assert (await subscription.receive())[TICKER].capture == old.id
        old.frames([delta(9)])
        await pipeline.writer.flush()
        view = (await subscription.receive())[TICKER]
        assert (view.capture, view.is_valid, view.frame_no) == (new.id, True, 3)
        old.frames([snapshot(10)])
        await pipeline.writer.flush()
        assert (await subscription.receive())[TICKER].capture == old.id
        figures = pipeline.books.statistics()
        assert (figures.lapses, figures.valid, figures.gaps.rows) == (0, 1, 1)


async def test_a_connection_that_ends_hands_over_to_the_other(pipeline: Pipeline) -> None:
    async with running(pipeline):
        subscription = pipeline.books.subscribe()
        old, new = begin(pipeline), begin(pipeline)
        old.frames([snapshot(1)])
        new.frames([snapshot(1)])
        old.closed("peer closed")
        await pipeline.writer.flush()
        assert (await subscription.receive())[TICKER].is_valid
        assert pipeline.books.is_valid(TICKER)
        new.closed("peer closed")
        await pipeline.writer.flush()
        assert (await subscription.receive())[TICKER].cause == "peer closed"
        assert not pipeline.books.is_valid(TICKER)
        assert pipeline.books.statistics().lapses == 1


async def test_changes_of_the_book_that_is_not_shown_wake_nobody(pipeline: Pipeline) -> None:
    async with running(pipeline):
        old, new = begin(pipeline), begin(pipeline)
        old.frames([snapshot(1)])
        new.frames([snapshot(1)])
        await pipeline.writer.flush()
        subscription = pipeline.books.subscribe()
        new.frames([delta(2)])
        await pipeline.writer.flush()
        with trio.move_on_after(0.05) as limit:
            await subscription.receive()
        assert limit.cancelled_caught


async def test_without_any_valid_book_the_oldest_says_why(pipeline: Pipeline) -> None:
    async with running(pipeline):
        old, new = begin(pipeline), begin(pipeline)
        for capture in (old, new):
            capture.frames([snapshot(1)])
            capture.stale((TICKER,), f"reason of {capture.id}")
        await pipeline.writer.flush()
        assert seen(pipeline).cause == f"reason of {old.id}"


async def test_both_connections_are_stored(pipeline: Pipeline) -> None:
    async with running(pipeline):
        for capture in (begin(pipeline), begin(pipeline)):
            capture.frames([snapshot(1), delta(2)])
        await pipeline.writer.flush()
        assert (len(pipeline.store.snapshots), len(pipeline.store.deltas)) == (2, 2)


REMOVED = b'{"type":"ok","id":2,"sid":1,"seq":2,"msg":{"market_tickers":[]}}'


async def test_a_market_that_left_its_subscription_is_not_valid_and_not_kept_for_ever(pipeline: Pipeline) -> None:
    async with running(pipeline):
        subscription = pipeline.books.subscribe()
        capture = begin(pipeline)
        capture.frames([snapshot(1)])
        await pipeline.writer.flush()
        await subscription.receive()
        capture.frames([REMOVED])
        await pipeline.writer.flush()
        view = (await subscription.receive())[TICKER]
        assert (view.is_valid, view.cause) == (False, "not subscribed any more")
        assert pipeline.books.statistics().lapses == 0
        pipeline.books.retain(())
        assert pipeline.books.tickers() == ()
        assert pipeline.books.view(TICKER) is None


async def test_markets_of_ended_captures_do_not_pile_up(pipeline: Pipeline) -> None:
    async with running(pipeline):
        for _ in range(3):
            capture = begin(pipeline)
            capture.frames([snapshot(1)])
            capture.closed("over")
            await pipeline.writer.flush()
            assert pipeline.books.tickers() == (TICKER,)
            pipeline.books.retain(("OTHER",))
            assert pipeline.books.tickers() == ()


async def test_a_market_that_is_not_followed_any_more_has_no_valid_book_before_the_venue_confirms(
    pipeline: Pipeline,
) -> None:
    async with running(pipeline):
        pipeline.books.retain([TICKER])
        subscription = pipeline.books.subscribe()
        capture = begin(pipeline)
        capture.frames([snapshot(1)])
        await pipeline.writer.flush()
        assert (await subscription.receive())[TICKER].is_valid
        pipeline.books.retain([])
        view = (await subscription.receive())[TICKER]
        assert (view.is_valid, view.cause) == (False, "not followed any more")
        capture.frames([delta(2)])
        await pipeline.writer.flush()
        assert not seen(pipeline).is_valid
        figures = pipeline.books.statistics()
        assert (figures.valid, figures.lapses) == (0, 0)
        pipeline.books.retain([TICKER])
        assert (await subscription.receive())[TICKER].is_valid
        assert pipeline.books.is_valid(TICKER)
