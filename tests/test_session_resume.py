"""What must not be fed, what was lost on the way, and going on behind it."""

import json
from uuid import UUID

import pytest
from msgspec import structs

from rlflow.kalshi.notices import BooksInvalid
from rlflow.session.records import Batch, Closed, Dropped, Kind, local_batch
from rlflow.session.rows import ResumePoint, ResumeState
from rlflow.session.session import Session
from tests.session_line import (
    OPENED,
    Line,
    delta,
    error,
    gaps,
    line_with_two_books,
    snapshot,
    subscribed,
    trade,
)
from tests.session_replay import resume_point
from tests.session_strategies import CAPTURE
from tests.session_venue import MS, START_NS


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_numbers_must_go_on_and_belong_to_the_capture(line: Line) -> None:
    other = UUID(int=7)
    for batch, words in (
        (Batch(Kind.FRAMES, CAPTURE, 9, START_NS, (b"{}",)), "frame 9 where 6 should follow"),
        (Batch(Kind.FRAMES, other, 6, START_NS, (b"{}",)), "a batch of capture"),
        (local_batch(OPENED, CAPTURE, 6, START_NS), "OPENED has number 6"),
        (Batch(Kind.FRAMES, CAPTURE, 0, START_NS, (b"{}",)), "FRAMES has number 0"),
    ):
        with pytest.raises(ValueError, match=words):
            line.session.feed(batch)
    assert line.session.upto_frame == 5


def test_nothing_comes_after_the_closing_record(line: Line) -> None:
    line.record(Closed(cause="stopped"))
    with pytest.raises(ValueError, match="after the capture was closed"):
        line.receive(delta(3))


def test_a_batch_that_was_processed_already_gives_empty_rows(line: Line) -> None:
    batch = Batch(Kind.FRAMES, CAPTURE, 6, line.now_ns + 1, (json.dumps(delta(3)).encode(),))
    first = line.session.feed(batch)
    again = line.session.feed(batch)
    assert len(again) == again.counts.total() == 0
    assert (again.after_frame, again.upto_frame, again.resume) == (6, 6, first.resume)


def test_frames_that_were_lost_before_they_were_stored_are_counted_and_leave_gaps(line: Line) -> None:
    before_ns, lost_ns = line.now_ns, line.now_ns + MS
    rows = line.session.lose(20, lost_ns, "dropped")
    assert (rows.after_frame, rows.upto_frame, rows.counts.dropped) == (5, 20, 15)
    assert gaps(rows) == [
        ("orderbook_delta", "A", "dropped"),
        ("orderbook_delta", "B", "dropped"),
        ("trade", None, "dropped"),
    ]
    assert {(gap.frame_no, gap.from_frame, gap.from_ns) for gap in rows.gaps} == {(6, 5, before_ns)}
    line.all.absorb(rows)
    rows = line.receive(delta(40), trade(17), snapshot(41))
    assert rows.gaps == []
    assert line.is_valid("A")


def test_dropped_frames_are_lost_in_both_channels_since_the_last_that_was_taken(line: Line) -> None:
    before_ns = line.now_ns
    rows = line.record(Dropped(5_000, "no room"), after_ms=60_000)
    assert (rows.after_frame, rows.upto_frame, rows.counts.dropped) == (5, 5_005, 5_000)
    assert gaps(rows) == [
        ("orderbook_delta", "A", "no room"),
        ("orderbook_delta", "B", "no room"),
        ("trade", None, "no room"),
    ]
    assert {(gap.frame_no, gap.from_frame, gap.from_ns) for gap in rows.gaps} == {(6, 5, before_ns)}
    (trades,) = [gap for gap in rows.gaps if gap.channel == "trade"]
    assert trades.to_ns == line.now_ns
    assert [notice.cause for notice in line.session.take_notices() if isinstance(notice, BooksInvalid)] == [
        "no room"
    ] * 2
    rows = line.receive(trade(1_700), delta(3_300), snapshot(3_301))
    assert (rows.gaps, len(rows.trades)) == ([], 1)
    assert line.is_valid("A")


def test_the_first_trades_of_a_subscription_that_were_dropped_are_missing() -> None:
    line = Line()
    line.receive(subscribed(1, "orderbook_delta"), subscribed(2, "trade"))
    line.record(Dropped(3, "no room"))
    rows = line.receive(trade(3))
    assert (len(rows.trades), gaps(line.all)) == (1, [("trade", None, "no room")])


def test_dropped_frames_are_skipped_where_they_are_told_of_already(line: Line) -> None:
    told = local_batch(Dropped(4, "no room"), CAPTURE, 9, line.now_ns + MS)
    line.session.feed(told)
    again = line.session.feed(told)
    assert (len(again), again.counts.total(), again.upto_frame) == (0, 0, 9)
    with pytest.raises(ValueError, match="frame 11 where 10 should follow"):
        line.session.feed(local_batch(Dropped(4, "no room"), CAPTURE, 14, line.now_ns + MS))


def test_the_lost_beginning_of_a_capture_is_a_gap_of_both_channels() -> None:
    line = Line()
    rows = line.session.lose(3, START_NS, "dropped")
    assert gaps(rows) == [("orderbook_delta", None, "dropped"), ("trade", None, "dropped")]
    assert {gap.to_ns for gap in rows.gaps} == {START_NS}


def test_a_sampled_capture_is_resumed_with_invalid_books_and_their_gaps(line: Line) -> None:
    line.receive(delta(4, ticker="B"), snapshot(5, "B"))
    point = resume_point(line.all, line.opened)
    state = point.state
    session = Session.resume(ResumePoint(CAPTURE, point.committed_frame, line.opened, state, ()))
    assert session.resume_state() == state
    rows = session.feed(Batch(Kind.FRAMES, CAPTURE, 8, line.now_ns + MS, (json.dumps(delta(6)).encode(),)))
    (gap,) = rows.gaps
    assert (gap.market_ticker, gap.cause, gap.from_frame) == ("B", "resumed without the book", 7)
    assert (gap.frame_no, gap.from_ns) == (8, line.now_ns)
    assert session.take_notices() == [BooksInvalid(1, ("B",), "resumed without the book")]
    assert rows.deltas[0].action is None


@pytest.mark.parametrize("clock", [8, 9])
def test_a_resumed_session_knows_where_a_book_was_right_that_the_venue_contradicts(line: Line, clock: int) -> None:
    line.receive(snapshot(3, clock=7))
    line.receive(delta(4, clock=8))
    resumed = Session.resume(resume_point(line.all, line.opened))
    asked = json.dumps(snapshot(5, clock=clock, yes_dollars_fp=[]) | {"id": 7}).encode()
    batch = Batch(Kind.FRAMES, CAPTURE, line.session.upto_frame + 1, line.now_ns + MS, (asked,))
    rows = resumed.feed(batch)
    assert [gap.from_frame for gap in rows.gaps] == [6 if clock == 8 else 7]
    assert rows == line.session.feed(batch)


def test_frames_lost_behind_a_resume_make_one_gap_a_book(line: Line) -> None:
    session = Session.resume(ResumePoint(CAPTURE, line.session.upto_frame, line.opened, line.all.resume, ()))
    rows = session.lose(9, line.now_ns + MS, "dropped")
    assert [(gap.market_ticker, gap.cause) for gap in rows.gaps if gap.market_ticker] == [
        ("A", "dropped"),
        ("B", "dropped"),
    ]
    late = Batch(Kind.FRAMES, CAPTURE, 10, line.now_ns + 2 * MS, (json.dumps(snapshot(99)).encode(),))
    assert session.feed(late).gaps == []


def test_a_state_that_does_not_say_when_a_subscription_was_heard_is_resumed_too(line: Line) -> None:
    """One of an older version, whose subscription had no data yet."""
    sids = tuple(structs.replace(sid, last_frame_no=0, last_received_ns=0) for sid in line.all.resume.sids)
    state = structs.replace(line.all.resume, sids=sids)
    session = Session.resume(ResumePoint(CAPTURE, line.session.upto_frame, line.opened, state, ()))
    dead = Batch(Kind.FRAMES, CAPTURE, 6, line.now_ns + MS, (json.dumps(error(25, sid=2)).encode(),))
    assert [gap.from_frame for gap in session.feed(dead).gaps if gap.channel == "trade"] == [5, 5]


def test_frames_that_were_processed_cannot_be_lost(line: Line) -> None:
    with pytest.raises(ValueError, match="frame 5 cannot be lost"):
        line.session.lose(5, line.now_ns, "dropped")


def test_a_capture_of_which_nothing_is_known_is_resumed_with_a_gap_of_both_channels() -> None:
    session = Session.resume(ResumePoint(CAPTURE, 41, OPENED, ResumeState(), ()))
    rows = session.feed(Batch(Kind.FRAMES, CAPTURE, 42, START_NS, (json.dumps(snapshot(9)).encode(),)))
    assert gaps(rows) == [
        ("orderbook_delta", None, "resumed without the book"),
        ("trade", None, "resumed without the book"),
    ]
    assert session.books["A"].is_valid
