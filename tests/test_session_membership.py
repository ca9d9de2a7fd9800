"""Which markets a subscription has, and how subscriptions begin and end."""

import pytest

from rlflow.kalshi.notices import BooksInvalid, Heard
from rlflow.session.records import Closed, Stale
from tests.session_line import Line, delta, ends, error, gaps, line_with_two_books, ok, snapshot, subscribed, trade


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_ok_lists_all_markets_and_drops_the_others_without_a_gap(line: Line) -> None:
    rows = line.receive(ok(3, "A"), delta(4))
    assert rows.gaps == []
    assert set(line.session.books) == {"A"}
    assert line.session.take_changed() == {"A", "B"}
    assert [gap.market_ticker for gap in line.record(Closed(cause="silent")).gaps] == ["A", "A"]


def test_a_crossed_market_that_is_dropped_is_not_judged_any_more(line: Line) -> None:
    line.receive(delta(3, price_dollars="0.6000", clock=9))
    rows = line.receive(ok(4, "B"))
    assert (rows.gaps, rows.resume.crossed) == ([], ())
    assert line.receive(delta(5, ticker="B"), after_ms=1000).gaps == []


def test_a_market_that_comes_back_was_missing_since_it_was_dropped(line: Line) -> None:
    line.receive(ok(3, "A"))
    dropped_ns = line.now_ns
    rows = line.receive(ok(4, "A", "B"))
    (gap,) = rows.gaps
    assert (gap.market_ticker, gap.cause, gap.from_frame, gap.from_ns) == ("B", "was not subscribed", 6, dropped_ns)
    assert gap.to_ns is None
    assert not line.is_valid("B")
    rows = line.receive(snapshot(5, "B"))
    assert ends(rows) == [("orderbook_delta", "B"), ("trade", "B")]
    assert line.is_valid("B")


def test_a_new_market_waits_for_its_snapshot_without_a_gap(line: Line) -> None:
    assert line.receive(ok(3, "A", "B", "C")).gaps == []
    assert line.session.books["C"].cause == "no snapshot yet"
    assert [gap.market_ticker for gap in line.record(Closed(cause="silent")).gaps] == [*"ABC", *"ABC"]


def test_a_dropped_market_that_a_stale_record_names_is_not_missing_any_more(line: Line) -> None:
    line.receive(ok(3, "A"))
    rows = line.record(Stale(tickers=("B",), cause="no snapshot came"))
    assert [(gap.cause, gap.to_ns) for gap in rows.gaps] == [
        ("was not subscribed", line.now_ns),
        ("no snapshot came", None),
    ]
    assert rows.resume.removed == ()
    assert line.receive(snapshot(4, "B")).gaps == []
    assert line.is_valid("B")


def test_markets_dropped_long_ago_get_their_gap_at_once_so_that_the_state_stays_small() -> None:
    line = Line()
    names = [f"M{number}" for number in range(258)]
    line.receive(*(snapshot(seq, ticker) for seq, ticker in enumerate(names, 1)))
    rows = line.receive(ok(259))
    assert [gap.market_ticker for gap in rows.gaps] == ["M0", "M1"]
    assert all(gap.to_ns == line.now_ns for gap in rows.gaps)
    assert len(rows.resume.removed) == 256


def test_an_unsubscribed_sid_is_dead_and_makes_no_gap(line: Line) -> None:
    rows = line.receive({"type": "unsubscribed", "id": 3, "sid": 1, "seq": 3}, delta(4))
    assert rows.gaps == []
    assert [row.reason for row in rows.rejects] == ["its subscription 1 has ended"]
    assert line.session.books == {}
    assert gaps(line.record(Closed(cause="silent"))) == [("trade", None, "silent")]


def test_trades_that_were_unsubscribed_for_a_while_are_a_gap_once_they_are_back(line: Line) -> None:
    line.receive({"type": "unsubscribed", "id": 3, "sid": 2, "seq": 2})
    since_ns = line.now_ns
    rows = line.receive(subscribed(3, "trade"))
    (gap,) = rows.gaps
    assert (gap.channel, gap.cause, gap.from_ns, gap.to_ns) == ("trade", "was not subscribed", since_ns, line.now_ns)


@pytest.mark.parametrize("code", [10, 17, 25])
def test_a_terminal_error_kills_the_subscription_while_the_socket_lives(line: Line, code: int) -> None:
    rows = line.receive(error(code, sid=1, seq=3))
    assert gaps(rows) == [("orderbook_delta", ticker, f"error {code}") for ticker in "AB"]
    notices = line.session.take_notices()
    assert isinstance(notices[0], Heard)
    assert notices[1] == BooksInvalid(1, ("A", "B"), f"error {code}")
    rows = line.receive(error(code, sid=2))
    assert gaps(rows) == [("trade", ticker, f"error {code}") for ticker in "AB"]
    assert {gap.to_ns for gap in rows.gaps} == {None}
    rows = line.receive(delta(4), trade(2))
    assert rows.counts.rejected == 2
    assert line.record(Closed(cause="silent")).gaps == []


@pytest.mark.parametrize("code", [10, 17, 25])
def test_a_subscription_that_died_may_have_lost_all_since_it_was_last_heard(line: Line, code: int) -> None:
    """Only its own numbers would show a hole; what other subscriptions sent meanwhile says nothing about it."""
    last_ns = line.now_ns
    line.receive(trade(2), trade(3), after_ms=60_000)
    rows = line.receive(error(code, sid=1))
    assert {(gap.channel, gap.from_frame, gap.from_ns) for gap in rows.gaps} == {("orderbook_delta", 4, last_ns)}


def test_a_subscription_that_died_with_the_next_seq_has_lost_nothing_before(line: Line) -> None:
    line.receive(trade(2), after_ms=60_000)
    rows = line.receive(error(25, sid=1, seq=3))
    assert {(gap.from_frame, gap.from_ns) for gap in rows.gaps} == {(rows.upto_frame, line.now_ns)}


def test_a_subscription_that_died_without_data_may_have_lost_all_since_it_was_announced() -> None:
    line = Line()
    line.receive(subscribed(1, "orderbook_delta"), subscribed(2, "trade"))
    announced_ns = line.now_ns
    line.receive(snapshot(1), delta(2), after_ms=60_000)
    (gap,) = line.receive(error(25, sid=2)).gaps
    assert (gap.channel, gap.from_frame, gap.from_ns) == ("trade", 2, announced_ns)


def test_lost_trades_go_on_with_the_next_subscription_for_each_market_that_is_there(line: Line) -> None:
    line.receive(error(25, sid=2), ok(3, "A"))
    assert ends(line.receive(snapshot(4))) == [("orderbook_delta", "A")]
    assert ends(line.receive(subscribed(3, "trade"))) == [("trade", None), ("trade", "A")]
    assert ends(line.receive(snapshot(5, "B"))) == [("orderbook_delta", "B"), ("trade", "B")]


def test_lost_trades_do_not_go_on_for_a_market_whose_subscription_is_dead() -> None:
    line = line_with_two_books()
    line.receive(error(25, sid=1), error(25, sid=2))
    assert ends(line.receive(subscribed(3, "trade"), subscribed(4, "orderbook_delta"))) == [("trade", None)]
    assert ends(line.receive(snapshot(1, sid=4))) == [("orderbook_delta", "A"), ("trade", "A")]


def test_trades_without_any_market_are_missing_without_a_name() -> None:
    line = Line()
    line.receive(subscribed(2, "trade"))
    assert gaps(line.record(Closed(cause="silent"))) == [("trade", None, "silent")]


def test_other_errors_do_nothing_to_the_books(line: Line) -> None:
    rows = line.receive(error(27, sid=1, seq=3), {"type": "error", "id": 4, "msg": {"code": 10}}, delta(4))
    assert rows.gaps == []
    assert line.is_valid("A")


def test_a_new_subscription_takes_a_market_over_at_its_snapshot(line: Line) -> None:
    line.receive(error(25, sid=1))
    rows = line.receive(subscribed(3, "orderbook_delta"), snapshot(1, sid=3), delta(2, sid=3))
    assert rows.deltas[0].new_size == 600
    assert line.session.books["A"].sid == 3
    assert [state.tickers for state in rows.resume.sids] == [("B",), (), ("A",)]


def test_a_book_that_another_subscription_takes_over_was_missing_since_the_first_was_last_heard(line: Line) -> None:
    heard = line.receive(delta(3, ticker="B"))
    rows = line.receive(subscribed(3, "orderbook_delta"), snapshot(1, sid=3))
    (gap,) = rows.gaps
    assert (gap.market_ticker, gap.sid, gap.cause) == ("A", 1, "another subscription took over")
    assert (gap.from_frame, gap.from_ns) == (heard.upto_frame, heard.received_ns)
    assert ends(rows) == [("orderbook_delta", "A"), ("trade", "A")]
    assert line.is_valid("A")


@pytest.mark.parametrize("code", [10, 17, 25])
def test_a_snapshot_behind_the_end_of_its_subscription_makes_no_book_valid(line: Line, code: int) -> None:
    line.receive(error(code, sid=1, seq=3))
    rows = line.receive(snapshot(4), delta(5))
    assert [row.reason for row in rows.rejects] == ["its subscription 1 has ended"] * 2
    assert (rows.snapshots, rows.gap_ends) == ([], [])
    assert not line.is_valid("A")


def test_in_a_sparse_recording_a_snapshot_shows_that_a_dead_subscription_lives() -> None:
    line = line_with_two_books(sparse_seq=True)
    line.receive(error(17, sid=1))
    rows = line.receive(snapshot(9), delta(10))
    assert rows.rejects == []
    assert line.is_valid("A")
    assert not line.is_valid("B")


def test_a_delta_of_a_market_that_a_living_subscription_brings_is_not_applied_twice(line: Line) -> None:
    rows = line.receive(snapshot(1, sid=3), delta(3))
    assert [row.reason for row in rows.rejects] == ["a delta of a market that another subscription brings"]
    assert line.yes_bids() == ((4000, 500),)
    assert line.is_valid("A")


def test_a_delta_before_its_snapshot_is_stored_and_leaves_a_gap(line: Line) -> None:
    rows = line.receive(delta(3, ticker="C"), delta(4, ticker="C"))
    assert gaps(rows) == [("orderbook_delta", "C", "a delta before its snapshot")]
    assert [row.action for row in rows.deltas] == [None, None]
    assert line.session.take_notices() == [BooksInvalid(1, ("C",), "a delta before its snapshot")]
