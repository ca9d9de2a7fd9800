"""What readers of the live books see."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from rlflow.data.journal.journal import Journal
from rlflow.kalshi.notices import BookValid, Heard
from rlflow.session.records import Opened
from tests.pipeline import TICKER, MemoryStore, Pipeline, delta, snapshot


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    journal = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, min_free_bytes=0)
    yield Pipeline(journal, MemoryStore())
    journal.close()


def crossing(seq: int, clock: int, no_price: str) -> bytes:
    return (
        f'{{"type":"orderbook_delta","sid":1,"seq":{seq},"msg":{{"market_ticker":"{TICKER}","clock":{clock},'
        f'"price_dollars":"{no_price}","delta_fp":"1.00","side":"no"}}}}'
    ).encode()


async def test_a_subscriber_gets_the_newest_view_only(pipeline: Pipeline) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            subscription = pipeline.books.subscribe()
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            for number in range(2, 40):
                capture.frames([delta(number)])
            await pipeline.writer.flush()
            views = await subscription.receive()
            assert set(views) == {TICKER}
            assert views[TICKER].yes_bids == ((4000, 10_000 + 38 * 100),)
            pipeline.send.close()


async def test_a_book_that_is_crossed_within_one_action_is_held_back(pipeline: Pipeline) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            capture.frames([crossing(2, 7, "0.7000")])
            await pipeline.writer.flush()
            assert pipeline.books.settled_view(TICKER) is None
            assert pipeline.books.statistics().unsettled == 1
            undo = crossing(3, 7, "0.7000").replace(b'"1.00"', b'"-1.00"')
            capture.frames([undo])
            await pipeline.writer.flush()
            view = pipeline.books.settled_view(TICKER)
            assert view is not None
            assert view.is_valid
            pipeline.send.close()


async def test_the_feed_hears_everything_in_order(pipeline: Pipeline) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            with pipeline.books.listen(capture.id) as notices:
                capture.frames([snapshot(1)])
                heard, valid = await notices.receive(), await notices.receive()
                assert isinstance(heard, Heard)
                assert isinstance(valid, BookValid)
                capture.closed("over")
                with pytest.raises(trio.EndOfChannel):
                    await notices.receive()
            pipeline.send.close()


async def test_a_closed_capture_leaves_its_books_behind_invalid(pipeline: Pipeline) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            capture.frames([snapshot(1)])
            capture.closed("peer closed")
            await pipeline.writer.flush()
            view = pipeline.books.view(TICKER)
            assert view is not None
            assert not view.is_valid
            assert view.cause == "peer closed"
            assert pipeline.books.tickers() == (TICKER,)
            gaps = pipeline.books.statistics().gaps
            assert gaps.rows == 1
            assert [(gap.channel, gap.cause, gap.markets) for gap in gaps.recent] == [
                ("orderbook_delta", "peer closed", 1)
            ]
            pipeline.send.close()


async def test_books_that_the_venue_contradicts_are_counted(pipeline: Pipeline) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(pipeline.run)
            capture = pipeline.log.begin(Opened(url="ws://test", environment="sim"))
            asked = snapshot(2).replace(b'"seq"', b'"id":7,"seq"')
            capture.frames([snapshot(1), asked, delta(3), asked.replace(b'"seq":2', b'"seq":4')])
            await pipeline.writer.flush()
            gaps = pipeline.books.statistics().gaps
            assert (gaps.rows, gaps.contradicted) == (1, 1)
            pipeline.send.close()
