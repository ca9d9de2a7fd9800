"""What holds for every stream: legal ones give true books, faulty ones no wrong book, and every frame counts once."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.orderbook import BookView, Levels
from rlflow.session.books import Limits
from rlflow.session.records import Batch, Closed, Dropped, Kind, Stale
from rlflow.session.rows import ROW_LISTS, Rows
from rlflow.session.session import Session
from tests.oracle import Oracle
from tests.session_replay import feed_all, resume_point, standing
from tests.session_strategies import CAPTURE, Stream, any_streams, frames_of, legal_streams

SMALL = Limits(checkpoint_deltas=3)

untimed = settings(deadline=None)


def one_by_one(stream: Stream) -> list[Batch]:
    """Return the stream with every frame in a batch of its own."""
    return [
        Batch(batch.kind, batch.capture, batch.first_frame_no + offset, batch.received_ns, (frame,))
        for batch in stream.batches
        for offset, frame in enumerate(batch.frames)
    ]


def decoded(frame: bytes) -> object:
    try:
        return json.loads(frame)
    except ValueError:
        return None


def tell(oracle: Oracle, batch: Batch) -> None:
    """Tell the oracle what a batch of one says."""
    oracle.pass_time(batch.received_ns)
    if batch.kind is Kind.FRAMES:
        oracle.feed(decoded(batch.frames[0]), batch.received_ns)
        return
    match batch.local():
        case Stale() as stale:
            oracle.stale(stale.tickers)
        case Dropped():
            oracle.drop()
        case Closed(is_complete=False):
            oracle.close()


def levels(view: BookView) -> tuple[Levels, Levels]:
    return view.yes_bids, view.no_bids


@untimed
@given(legal_streams())
def test_nothing_is_refused_or_missing_in_a_legal_stream(stream: Stream) -> None:
    session = Session(CAPTURE)
    rows = feed_all(session, stream.batches)
    is_broken_off = rows.closed is not None and not rows.closed.is_complete
    came_back = [gap for gap in rows.gaps if gap.cause in ("was not subscribed", "error 25")]
    if not is_broken_off:
        assert [gap for gap in rows.gaps if gap not in came_back] == []
        assert all(book.is_valid for book in session.books.values())
    assert rows.rejects == []
    assert rows.counts.rejected == rows.counts.duplicate == rows.counts.sampled_out == 0
    assert rows.counts.total() == len(stream.frames)


@untimed
@given(any_streams())
def test_a_book_that_is_called_valid_is_the_venues(stream: Stream) -> None:
    session = Session(CAPTURE, SMALL)
    for batch in one_by_one(stream):
        session.feed(batch)
        for ticker, tracked in session.books.items():
            truth = stream.truths.get(tracked.last_frame_no)
            if tracked.is_valid:
                assert truth is not None
                assert (truth.ticker, truth.yes_bids, truth.no_bids) == (ticker, *levels(session.view(ticker)))
                assert tracked.is_settled == (not tracked.book.is_crossed)


@untimed
@given(st.booleans().flatmap(lambda sparse: any_streams(sparse=sparse)))
def test_books_and_their_validity_equal_a_naive_reading(stream: Stream) -> None:
    session = Session(CAPTURE, SMALL)
    oracle = Oracle(use_yes_price=stream.opened.use_yes_price, sparse_seq=stream.opened.sparse_seq)
    for batch in one_by_one(stream):
        session.feed(batch)
        tell(oracle, batch)
        assert set(session.books) == set(oracle.books)
        for ticker, tracked in session.books.items():
            expected = oracle.books[ticker]
            assert tracked.is_valid == expected.is_valid
            assert tracked.is_settled == (expected.crossed is None)
            if tracked.is_valid:
                assert levels(session.view(ticker)) == (expected.bids("yes"), expected.bids("no"))


@untimed
@given(any_streams())
def test_every_frame_is_counted_in_one_place(stream: Stream) -> None:
    session = Session(CAPTURE, SMALL)
    for batch in one_by_one(stream):
        rows = session.feed(batch)
        assert rows.counts.total() == frames_of(batch)
        assert rows.counts.dropped == (frames_of(batch) if batch.kind is Kind.DROPPED else 0)
        data = [*rows.snapshots, *rows.deltas, *rows.trades]
        assert (rows.counts.stored == 1) == bool(data)
        assert rows.counts.rejected == len(rows.rejects)
        numbers = range(batch.after_frame + 1, batch.last_frame_no + 1)
        assert {row.frame_no for name in ROW_LISTS for row in getattr(rows, name)} <= set(numbers)
        assert not any(row.traceback_digest for row in rows.rejects)


@untimed
@given(any_streams())
def test_batches_of_any_size_make_the_same_rows(stream: Stream) -> None:
    together = feed_all(Session(CAPTURE, SMALL), stream.batches)
    apart = feed_all(Session(CAPTURE, SMALL), one_by_one(stream))
    assert together == apart


@untimed
@given(any_streams())
def test_rows_alone_give_every_valid_book_at_every_frame(stream: Stream) -> None:
    session = Session(CAPTURE, SMALL)
    batches = one_by_one(stream)
    views = {}
    rows: Rows | None = None
    for batch in batches:
        made = session.feed(batch)
        views[made.upto_frame] = {ticker: session.view(ticker) for ticker in session.books}
        rows = rows or made
        if rows is not made:
            rows.absorb(made)
    assert rows is not None
    for frame_no, books in views.items():
        for ticker, view in books.items():
            found = standing(rows, ticker, frame_no)
            assert view.is_valid == (found is not None)
            if found is not None:
                assert levels(view) == (found.book.bids("yes"), found.book.bids("no"))


@settings(untimed, max_examples=30)
@given(any_streams())
def test_a_session_resumed_at_any_frame_goes_on_with_the_same_rows(stream: Stream) -> None:
    batches = one_by_one(stream)
    live = Session(CAPTURE, SMALL)
    made = [live.feed(batch) for batch in batches]
    so_far = Rows(CAPTURE, -1, -1, 0)
    for number, rows in enumerate(made):
        so_far.absorb(rows)
        point = resume_point(so_far, stream.opened)
        if rows.closed is not None:
            break
        assert msgspec.json.decode(msgspec.json.encode(point.state), type=type(point.state)) == point.state
        resumed = Session.resume(point, SMALL)
        assert resumed.resume_state() == rows.resume
        assert [resumed.feed(batch) for batch in batches[number + 1 :]] == made[number + 1 :]
        for ticker in live.books:
            if live.books[ticker].is_valid:
                assert resumed.view(ticker) == live.view(ticker)


@untimed
@given(any_streams(), st.integers(0, 40))
def test_a_session_resumed_within_a_batch_skips_what_it_has(stream: Stream, cut: int) -> None:
    batches = one_by_one(stream)[: cut + 1]
    before = feed_all(Session(CAPTURE, SMALL), batches)
    whole = feed_all(Session(CAPTURE, SMALL), stream.batches)
    if before.closed is None:
        resumed = Session.resume(resume_point(before, stream.opened), SMALL)
        before.absorb(feed_all(resumed, stream.batches))
    assert before == whole


@pytest.mark.parametrize("rate", [2, 3])
@given(stream=any_streams())
def test_sampling_thins_the_deltas_and_nothing_else(stream: Stream, rate: int) -> None:
    opened = msgspec.structs.replace(stream.opened, sample_rate=rate)
    first = msgspec.json.encode(opened)
    thinned = [Batch(Kind.OPENED, CAPTURE, 0, stream.batches[0].received_ns, (first,)), *stream.batches[1:]]
    all_rows = feed_all(Session(CAPTURE), stream.batches)
    session = Session(CAPTURE)
    kept = feed_all(session, thinned)
    assert kept.deltas == [row for row in all_rows.deltas if row.frame_no % rate == 0]
    assert (kept.trades, kept.gaps, kept.rejects) == (all_rows.trades, all_rows.gaps, all_rows.rejects)
    assert kept.counts.sampled_out == len(all_rows.deltas) - len(kept.deltas)
    assert kept.counts.total() == stream.received
