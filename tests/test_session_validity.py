"""When a book is not trusted, is not settled, is stored whole, and who is told."""

import pytest

from rlflow.kalshi.notices import BooksInvalid, BookValid, Heard
from rlflow.session.books import Limits
from rlflow.session.records import Closed, Opened, Stale
from tests.session_line import Frame, Line, delta, gaps, line_with_two_books, snapshot, subscribed, trade
from tests.session_strategies import CAPTURE


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_a_negative_level_makes_only_its_own_book_invalid(line: Line) -> None:
    rows = line.receive(delta(3, "-5.01"), delta(4))
    assert gaps(rows) == [("orderbook_delta", "A", "impossible size")]
    assert [(row.delta, row.action) for row in rows.deltas] == [(-501, None), (100, None)]
    assert line.is_valid("B")
    assert line.yes_bids() == ((4000, 500),)


CROSSING: Frame = {"price_dollars": "0.6000", "delta_fp": "1.00"}
RESOLVING: Frame = {"price_dollars": "0.5000", "delta_fp": "-7.00", "side": "no"}


@pytest.mark.parametrize(("first", "second"), [({"clock": 9}, {"clock": 9, "ts_ms": 5}), ({"ts_ms": 5}, {"ts_ms": 5})])
def test_a_book_may_be_crossed_within_one_action(line: Line, first: Frame, second: Frame) -> None:
    line.receive(delta(3, **CROSSING, **first))
    assert line.is_valid("A")
    assert not line.session.view("A").is_settled
    assert line.session.take_changed() == {"A"}
    rows = line.receive(delta(4, **RESOLVING, **second))
    assert rows.gaps == []
    assert line.session.view("A").is_settled
    assert rows.resume.crossed == ()


@pytest.mark.parametrize(
    ("first", "second"), [({"clock": 9, "ts_ms": 5}, {"clock": 10, "ts_ms": 5}), ({"ts_ms": 5}, {"ts_ms": 6}), ({}, {})]
)
def test_a_book_still_crossed_when_the_action_is_over_is_wrong(line: Line, first: Frame, second: Frame) -> None:
    line.receive(delta(3, **CROSSING, **first))
    crossed_ns = line.now_ns
    rows = line.receive(delta(4, **RESOLVING, **second))
    (gap,) = rows.gaps
    assert (gap.market_ticker, gap.cause, gap.from_frame, gap.from_ns) == ("A", "crossed", 5, crossed_ns)
    assert rows.deltas[0].action is None
    assert not line.is_valid("A")
    assert line.session.view("A").is_settled


def test_a_locked_book_is_fine(line: Line) -> None:
    rows = line.receive(delta(3, price_dollars="0.5000"), delta(4))
    assert rows.gaps == []
    assert line.session.books["A"].is_settled


def test_another_markets_deltas_do_not_end_the_action_but_time_does(line: Line) -> None:
    line.receive(delta(3, **CROSSING, clock=9))
    assert line.receive(delta(4, ticker="B", clock=10), after_ms=250).gaps == []
    rows = line.receive(trade(2), after_ms=1)
    assert gaps(rows) == [("orderbook_delta", "A", "crossed")]
    assert not line.is_valid("A")


def test_a_snapshot_resolves_a_crossed_book(line: Line) -> None:
    line.receive(delta(3, **CROSSING, clock=9))
    rows = line.receive(snapshot(4, clock=9))
    assert rows.gaps == []
    assert line.session.books["A"].is_settled
    assert line.receive(trade(2), after_ms=1000).gaps == []


def test_what_a_snapshot_includes_already_is_stored_but_not_applied(line: Line) -> None:
    rows = line.receive(snapshot(3, clock=50), delta(4, clock=50), delta(5, "-9.00", clock=49), delta(6, clock=51))
    assert [row.action for row in rows.deltas] == [None, None, "add"]
    assert line.yes_bids() == ((4000, 600),)
    assert rows.gaps == []


def test_a_book_is_stored_whole_after_so_many_deltas_and_includes_the_last() -> None:
    line = Line(limits=Limits(checkpoint_deltas=2))
    rows = line.receive(snapshot(1, clock=3), delta(2), delta(3), delta(4), delta(5, "-8.00"))
    checkpoints = [row for row in rows.snapshots if row.origin == "checkpoint"]
    assert [(row.frame_no, row.yes_bids, row.clock) for row in checkpoints] == [
        (3, ((4000, 700),), None),
        (5, (), None),
    ]
    assert rows.counts.stored == 5


def test_a_book_is_stored_whole_at_its_first_delta_half_an_hour_after_its_snapshot(line: Line) -> None:
    line.receive(delta(3), after_ms=29 * 60_000)
    rows = line.receive(delta(4), delta(5), after_ms=60_000)
    assert [(row.origin, row.frame_no) for row in rows.snapshots] == [("checkpoint", 7)]


def test_a_crossed_book_is_not_stored_whole_until_it_is_settled() -> None:
    line = Line(limits=Limits(checkpoint_deltas=1))
    line.receive(snapshot(1))
    assert line.receive(delta(2, **CROSSING, clock=9)).snapshots == []
    assert len(line.receive(delta(3, **RESOLVING, clock=9)).snapshots) == 1


def test_a_sampled_capture_stores_checkpoints_with_deltas_only() -> None:
    line = Line(Opened(url="", environment="sim", sample_rate=2), limits=Limits(checkpoint_deltas=1))
    rows = line.receive(snapshot(1), delta(2), delta(3), delta(4))
    assert [row.frame_no for row in rows.deltas] == [2, 4]
    assert [row.frame_no for row in rows.snapshots] == [1, 2, 4]
    assert (rows.counts.stored, rows.counts.sampled_out) == (3, 1)
    assert line.yes_bids() == ((4000, 800),)


def test_all_valid_books_can_be_stored_whole_and_stand_on_that(line: Line) -> None:
    line.receive(snapshot(3, "C", clock=7), delta(4, "-9.00"))
    rows = line.session.checkpoint_all()
    assert [(row.market_ticker, row.frame_no, row.origin) for row in rows] == [
        ("B", 7, "checkpoint"),
        ("C", 7, "checkpoint"),
    ]
    assert line.receive(delta(5, ticker="C", clock=6)).deltas[0].action == "add"


def test_a_stale_record_makes_the_named_books_invalid_with_a_gap(line: Line) -> None:
    rows = line.record(Stale(tickers=("A", "X"), cause="no snapshot\0came"))
    assert gaps(rows) == [("orderbook_delta", ticker, r"no snapshot\x00came") for ticker in "AX"]
    assert [gap.sid for gap in rows.gaps] == [1, None]
    assert line.is_valid("B")
    assert rows.counts.total() == 0
    assert line.session.take_notices() == [BooksInvalid(None, ("A", "X"), r"no snapshot\x00came")]
    line.receive(snapshot(3, "X"))
    assert line.session.books["X"].sid == 1


def test_a_stale_record_takes_back_all_behind_the_last_word_about_the_book(line: Line) -> None:
    rows = line.receive(delta(3))
    line.receive(delta(4, ticker="B"))
    (gap,) = line.record(Stale(tickers=("A",), cause="no snapshot came")).gaps
    assert (gap.from_frame, gap.from_ns) == (rows.upto_frame, rows.received_ns)
    (gap,) = line.record(Stale(tickers=("A",), cause="still none")).gaps
    assert gap.from_frame == gap.frame_no - 1


OTHER_BOOK: Frame = {"yes_dollars_fp": [["0.3000", "2.00"]]}


def test_a_book_that_the_venue_contradicts_when_asked_has_a_gap_since_its_last_frame(line: Line) -> None:
    heard = line.receive(delta(3, clock=8))
    line.receive(delta(4, ticker="B", clock=9))
    rows = line.receive(snapshot(5, **OTHER_BOOK, clock=10) | {"id": 7})
    (gap,) = rows.gaps
    assert (gap.market_ticker, gap.sid, gap.cause) == ("A", 1, "the venue's book was another")
    assert (gap.from_frame, gap.from_ns) == (heard.upto_frame, heard.received_ns)
    assert (gap.frame_no, gap.received_ns) == (rows.upto_frame, rows.received_ns)
    assert [(end.channel, end.market_ticker, end.frame_no) for end in rows.gap_ends] == [
        (channel, "A", rows.upto_frame) for channel in ("orderbook_delta", "trade")
    ]
    assert line.is_valid("A")
    assert line.yes_bids() == ((3000, 200),)


@pytest.mark.parametrize("clock", [8, None])
def test_a_book_that_was_wrong_at_its_last_frame_has_a_gap_since_the_venue_last_sent_it(
    line: Line, clock: int | None
) -> None:
    whole = line.receive(snapshot(3, clock=7))
    line.session.checkpoint_all()
    line.receive(delta(4, clock=8))
    (gap,) = line.receive(snapshot(5, **OTHER_BOOK, clock=clock) | {"id": 7}).gaps
    assert (gap.from_frame, gap.from_ns) == (whole.upto_frame, whole.received_ns)


def test_a_book_that_the_venue_confirms_when_asked_has_no_gap(line: Line) -> None:
    rows = line.receive(delta(3), snapshot(4, yes_dollars_fp=[["0.4000", "6.00"]]) | {"id": 7})
    assert rows.gaps == []


def test_a_snapshot_that_nobody_asked_for_contradicts_nothing(line: Line) -> None:
    """The venue empties a book by one when its market closes."""
    assert line.receive(snapshot(3, yes_dollars_fp=[], no_dollars_fp=[])).gaps == []


def test_a_book_within_an_action_is_not_contradicted(line: Line) -> None:
    assert line.receive(delta(3, **CROSSING, clock=9), snapshot(4, **OTHER_BOOK) | {"id": 7}).gaps == []


def test_a_broken_connection_leaves_open_gaps_and_a_whole_recording_none(line: Line) -> None:
    state = line.all.resume
    rows = line.record(Closed(cause="peer closed", code=1006))
    assert gaps(rows) == [
        ("orderbook_delta", "A", "peer closed"),
        ("orderbook_delta", "B", "peer closed"),
        ("trade", "A", "peer closed"),
        ("trade", "B", "peer closed"),
    ]
    assert {gap.to_ns for gap in rows.gaps} == {None}
    assert {(gap.from_frame, gap.from_ns) for gap in rows.gaps} == {(5, state.last_received_ns)}
    assert not line.is_valid("A")
    assert rows.closed == Closed(cause="peer closed", code=1006)
    assert line.session.take_notices() == []

    whole = Line()
    whole.receive(snapshot(1))
    assert whole.record(Closed(cause="end of recording", is_complete=True)).gaps == []
    assert whole.is_valid("A")


def test_the_commander_hears_control_frames_and_snapshots_before_what_follows_from_them() -> None:
    line = Line()
    line.receive(subscribed(1, "orderbook_delta"), snapshot(1) | {"id": 7}, delta(2), snapshot(3))
    kinds = [type(notice) for notice in line.session.take_notices()]
    assert kinds == [Heard, Heard, BookValid, Heard]
    assert line.session.take_notices() == []


def test_changed_books_are_named_once(line: Line) -> None:
    line.receive(delta(3), delta(4), trade(2))
    assert line.session.take_changed() == {"A"}
    assert line.session.take_changed() == set()


def test_a_view_says_where_it_stands(line: Line) -> None:
    line.receive(delta(3, ts_ms=77))
    view = line.session.view("A")
    assert (view.capture, view.frame_no, view.sequence_number, view.timestamp_ms) == (CAPTURE, 6, 3, 77)
    assert (view.received_ns, view.is_valid, view.cause, view.spread) == (line.now_ns, True, None, 1000)
    line.receive(delta(5))
    assert (line.session.view("A").is_valid, line.session.view("A").cause) == (False, "sequence gap")
    with pytest.raises(KeyError):
        line.session.view("nothing")
