"""Which frames of a subscription count, and what is missing when one does not follow."""

import pytest

from rlflow.kalshi.notices import OUT_OF_ORDER, BooksInvalid, BookValid
from rlflow.session.records import Opened
from rlflow.session.rows import GapRow
from tests.session_line import Line, delta, ends, error, gaps, line_with_two_books, ok, snapshot, subscribed, trade
from tests.session_venue import MS


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_a_lost_frame_makes_every_book_of_the_subscription_stale(line: Line) -> None:
    rows = line.receive(delta(4))
    first = GapRow(
        channel="orderbook_delta",
        market_ticker="A",
        sid=1,
        frame_no=6,
        received_ns=line.now_ns,
        from_frame=4,
        from_ns=line.now_ns - MS,
        to_ns=None,
        cause="sequence gap",
        expected_seq=3,
        received_seq=4,
    )
    assert rows.gaps[0] == first
    assert [gap.market_ticker for gap in rows.gaps] == ["A", "B"]
    assert not line.is_valid("A")
    assert not line.is_valid("B")
    assert [(row.action, row.old_size, row.new_size, row.delta) for row in rows.deltas] == [(None, None, None, 100)]
    assert line.session.take_notices() == [BooksInvalid(1, ("A", "B"), "sequence gap")]


def test_a_book_is_valid_again_at_its_own_snapshot(line: Line) -> None:
    line.receive(delta(4))
    rows = line.receive(snapshot(5, "B"))
    assert ends(rows) == [("orderbook_delta", "B"), ("trade", "B")]
    assert line.is_valid("B")
    assert not line.is_valid("A")
    assert line.session.take_notices()[1:] == [BookValid(1, "B")]


def test_a_lost_trade_is_a_gap_that_ends_where_it_was_noticed(line: Line) -> None:
    rows = line.receive(trade(4))
    (gap,) = rows.gaps
    assert (gap.channel, gap.market_ticker, gap.expected_seq, gap.received_seq) == ("trade", None, 2, 4)
    assert (gap.from_frame, gap.to_ns) == (5, line.now_ns)
    assert len(rows.trades) == 1
    assert line.is_valid("A")


def test_control_frames_and_unknown_types_take_their_place_in_the_sequence(line: Line) -> None:
    news = {"type": "orderbook_news", "sid": 1, "seq": 4, "msg": {}}
    scoped = error(27, sid=1, seq=5)
    rows = line.receive(ok(3, "A", "B"), news, scoped, delta(6), {"type": "ticker", "sid": 1, "msg": {}}, delta(7))
    assert rows.gaps == []
    assert (rows.counts.control, rows.counts.unknown, rows.counts.stored) == (2, 2, 2)
    assert gaps(line.receive(ok(9, "A", "B"))) == [
        ("orderbook_delta", "A", "sequence gap"),
        ("orderbook_delta", "B", "sequence gap"),
    ]


def test_an_ok_without_seq_does_not_advance(line: Line) -> None:
    frame = ok(0, "A", "B")
    del frame["seq"]
    assert line.receive(frame, delta(3)).gaps == []


def test_the_same_bytes_with_the_same_seq_are_a_duplicate(line: Line) -> None:
    rows = line.receive(delta(3), delta(3), delta(4))
    assert (rows.counts.duplicate, rows.counts.stored, rows.rejects, rows.gaps) == (1, 2, [], [])
    assert line.yes_bids() == ((4000, 700),)


def test_other_bytes_with_the_same_seq_are_out_of_order(line: Line) -> None:
    rows = line.receive(delta(3), delta(3, "2.00"))
    assert [row.reason for row in rows.rejects] == ["out of order: seq 3 after 3"]
    assert line.yes_bids() == ((4000, 600),)


def test_two_frames_out_of_order_are_dropped_and_the_third_ends_the_trust(line: Line) -> None:
    line.receive(delta(3), delta(4))
    rows = line.receive(delta(2), delta(3))
    assert (rows.counts.rejected, rows.gaps) == (2, [])
    assert line.is_valid("A")
    rows = line.receive(delta(2))
    assert gaps(rows) == [("orderbook_delta", ticker, OUT_OF_ORDER) for ticker in "AB"]
    assert line.session.take_notices() == [BooksInvalid(1, ("A", "B"), OUT_OF_ORDER)]
    rows = line.receive(delta(3), delta(2))
    assert rows.gaps == []


def test_a_good_frame_forgives_those_out_of_order(line: Line) -> None:
    rows = line.receive(delta(3), delta(4), delta(2), delta(3), delta(5), delta(2), delta(3))
    assert rows.counts.rejected == 4
    assert rows.gaps == []


def test_a_snapshot_below_means_that_the_subscription_restarted(line: Line) -> None:
    rows = line.receive(delta(3), snapshot(2), delta(3))
    assert gaps(rows) == [("orderbook_delta", ticker, "the subscription restarted") for ticker in "AB"]
    assert line.is_valid("A")
    assert not line.is_valid("B")
    assert line.yes_bids() == ((4000, 600),)


def test_a_one_below_means_that_the_subscription_restarted(line: Line) -> None:
    line.receive(trade(2))
    assert gaps(line.receive(trade(1, trade_id="other"))) == [("trade", None, "the subscription restarted")]


def test_a_subscription_announced_twice_restarted_after_it_was_last_heard(line: Line) -> None:
    last_ns = line.now_ns
    line.receive(trade(2), after_ms=60_000)
    rows = line.receive(subscribed(1, "orderbook_delta"), snapshot(1))
    assert gaps(rows) == [("orderbook_delta", ticker, "the subscription restarted") for ticker in "AB"]
    assert {(gap.from_frame, gap.from_ns) for gap in rows.gaps} == {(4, last_ns)}
    assert line.is_valid("A")


def test_a_subscription_whose_data_comes_before_its_announcement_goes_on() -> None:
    line = Line()
    rows = line.receive(snapshot(1), delta(2), trade(1))
    rows = line.receive(subscribed(1, "orderbook_delta"), subscribed(2, "trade"), delta(3), trade(2))
    assert (rows.gaps, rows.counts.control, rows.counts.stored) == ([], 2, 2)
    assert line.is_valid("A")
    assert gaps(line.receive(delta(5))) == [("orderbook_delta", "A", "sequence gap")]
    rows = line.receive(subscribed(1, "orderbook_delta"))
    assert gaps(rows) == [("orderbook_delta", "A", "the subscription restarted")]


def test_holes_are_no_gaps_in_a_sparse_recording_but_a_fall_is() -> None:
    line = Line(Opened(url="", environment="recordings", sparse_seq=True))
    assert line.receive(snapshot(100), delta(170), trade(5), trade(9)).gaps == []
    assert gaps(line.receive(delta(22))) == [("orderbook_delta", "A", "the subscription restarted")]
    assert gaps(line.receive(trade(3))) == [("trade", None, "the subscription restarted")]


def test_data_on_an_unknown_sid_announces_it_and_the_first_seq_is_its_base() -> None:
    line = Line()
    rows = line.receive(snapshot(7), delta(8), trade(3))
    assert rows.gaps == []
    assert rows.counts.stored == 3
    assert ends(rows) == [("orderbook_delta", "A"), ("trade", None), ("trade", "A")]


def test_data_of_another_channel_than_its_subscription_is_refused(line: Line) -> None:
    rows = line.receive(delta(2, sid=2))
    assert [row.reason for row in rows.rejects] == ["a delta on channel trade"]
    assert gaps(rows) == [("trade", None, "a frame was refused")]
    assert line.is_valid("A")
