"""What single frames become: changes, snapshots, trades, and bytes that are none of these."""

import pytest

from rlflow.session.records import Opened
from tests.session_line import Frame, Line, delta, gaps, line_with_two_books, snapshot, trade


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_a_delta_says_what_it_did_to_its_level(line: Line) -> None:
    rows = line.receive(delta(3, "1.50"), delta(4, "-2.00"), delta(5, "-4.50"), delta(6, "0.01"))
    assert [(row.action, row.old_size, row.new_size) for row in rows.deltas] == [
        ("add", 500, 650),
        ("reduce", 650, 450),
        ("remove", 450, 0),
        ("add", 0, 1),
    ]
    assert rows.counts.stored == 4


def test_an_unrequested_snapshot_with_the_next_seq_replaces_the_book(line: Line) -> None:
    rows = line.receive({"type": "orderbook_snapshot", "sid": 1, "seq": 3, "msg": {"market_ticker": "A"}})
    assert rows.gaps == []
    assert (rows.snapshots[0].yes_bids, rows.snapshots[0].no_bids) == ((), ())
    assert line.is_valid("A")
    assert line.yes_bids() == ()


def test_no_prices_are_stored_as_no_prices_whatever_the_wire_says() -> None:
    line = Line(Opened(url="", environment="sim", use_yes_price=True))
    rows = line.receive(snapshot(1), delta(2, side="no", price_dollars="0.5000"), delta(3))
    assert rows.snapshots[0].no_bids == ((5000, 700),)
    assert rows.snapshots[0].yes_bids == ((4000, 500),)
    rows = line.receive(delta(4, side="no", price_dollars="0.4500"))
    assert rows.deltas[0].price == 5500


def test_legacy_cents_become_exact_prices() -> None:
    line = Line(Opened(url="", environment="recordings", legacy=True))
    body = {"market_ticker": "A", "yes": [[1, 670]], "no": [[57, 10]]}
    rows = line.receive(
        {"type": "orderbook_snapshot", "sid": 1, "seq": 2, "msg": body},
        {"type": "orderbook_delta", "sid": 1, "seq": 3, "msg": {"market_ticker": "A", "price": 57, "delta": -10}
         | {"side": "no", "ts": "2025-11-11T15:15:58.922457+00:00"}},
    )  # fmt: skip
    assert rows.snapshots[0].no_bids == ((5700, 1000),)
    assert (rows.deltas[0].price, rows.deltas[0].new_size) == (5700, 0)
    assert rows.deltas[0].timestamp_ms == 1_762_874_158_922


def test_a_trade_is_stored_with_the_takers_side(line: Line) -> None:
    rows = line.receive(trade(2, taker_outcome_side="no", taker_side="yes", ts=1_795_305_600))
    (row,) = rows.trades
    assert (row.taker_side, row.count, row.yes_price, row.is_block_trade) == ("no", 200, 4500, False)
    assert row.timestamp_ms == 1_795_305_600_000


@pytest.mark.parametrize("body", [{"count_fp": "0.00"}, {"taker_side": None}, {"yes_price_dollars": "1.5"}])
def test_a_trade_that_cannot_be_is_kept_as_rejected_and_leaves_a_gap(line: Line, body: Frame) -> None:
    rows = line.receive(trade(2, **body))
    assert rows.trades == []
    assert gaps(rows) == [("trade", None, "a frame was refused")]
    assert rows.gaps[0].to_ns == line.now_ns
    assert rows.counts.rejected == len(rows.rejects) == 1


def test_bytes_that_are_no_json_are_kept_and_the_next_frame_shows_the_hole(line: Line) -> None:
    rows = line.receive(b'{"type":"orderbook_delta","sid":1,"seq":3', delta(4))
    assert rows.rejects[0].raw == b'{"type":"orderbook_delta","sid":1,"seq":3'
    assert gaps(rows) == [("orderbook_delta", ticker, "sequence gap") for ticker in "AB"]


def test_a_refused_frame_with_a_readable_envelope_takes_its_place_and_leaves_one_gap(line: Line) -> None:
    rows = line.receive(delta(3, market_ticker=5), delta(4))
    assert gaps(rows) == [("orderbook_delta", ticker, "a frame was refused") for ticker in "AB"]
    assert rows.counts.rejected == 1
    rows = line.receive(delta(6, market_ticker=5), delta(7))
    assert gaps(rows) == [("orderbook_delta", ticker, "sequence gap") for ticker in "AB"]


def test_a_refused_frame_that_would_not_have_counted_leaves_no_gap(line: Line) -> None:
    bad = delta(3, market_ticker=5)
    rows = line.receive(bad, bad)
    assert (rows.counts.rejected, rows.counts.duplicate, len(rows.gaps)) == (1, 1, 2)
    rows = line.receive(delta(2, market_ticker=5))
    assert [row.reason for row in rows.rejects] == ["out of order: seq 2 after 3"]
    assert rows.gaps == []


@pytest.mark.parametrize(
    "body",
    [
        {"yes_dollars_fp": [["0.4000", "-1.00"]]},
        {"yes_dollars_fp": [["0.4000", "1.00"], ["0.4000", "1.00"]]},
        {"no_dollars_fp": [["0.40001", "1.00"]]},
    ],
)
def test_a_snapshot_of_no_possible_book_is_refused(line: Line, body: Frame) -> None:
    rows = line.receive(snapshot(3, **body))
    assert (rows.snapshots, rows.gap_ends) == ([], [])
    assert rows.counts.rejected == 1
    assert not line.is_valid("A")


def test_a_level_of_size_zero_in_a_snapshot_is_no_level(line: Line) -> None:
    rows = line.receive(snapshot(3, yes_dollars_fp=[["0.4000", "0.00"], ["0.3000", "1.00"]]))
    assert rows.snapshots[0].yes_bids == ((3000, 100),)


def test_a_failure_of_our_own_code_is_a_rejection_with_a_digest(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug: \0")

    monkeypatch.setattr("rlflow.session.books.Books._is_checkpoint_due", fail)
    first, second = line.receive(delta(3)), line.receive(snapshot(4), delta(5))
    assert first.deltas == second.deltas == []
    assert first.counts.rejected == first.counts.total() == 1
    assert gaps(first) == [("orderbook_delta", ticker, "a frame was refused") for ticker in "AB"]
    assert first.rejects[0].reason == r"RuntimeError: a bug: \x00"
    assert first.rejects[0].traceback_digest == second.rejects[0].traceback_digest is not None


def test_numbers_that_fit_no_table_never_reach_the_rows(line: Line) -> None:
    line.receive(delta(2**63 - 1))
    rows = line.receive(snapshot(1), delta(2**63), b'{"type":5,"sid":1,"seq":' + b"9" * 30 + b"}")
    assert max(gap.expected_seq or 0 for gap in rows.gaps) < 2**63
    assert max(gap.received_seq or 0 for gap in rows.gaps) < 2**63
    assert rows.counts.rejected == 2
