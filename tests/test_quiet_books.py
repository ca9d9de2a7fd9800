"""Which single books are asked for, and which are not believed any more."""

import pytest

from rlflow.data.books.silences import Silence, silences
from rlflow.data.following.quiet_books import LONGEST_FACTOR, MAX_ASKED, Doubts, QuietBooks
from rlflow.data.following.quiet_feeds import ANSWER_S, QUIET_S
from tests.session_line import Line, delta, line_with_two_books, snapshot, trade

SECOND = 10**9


def silence(
    ticker: str = "A",
    silent_s: float = QUIET_S,
    frame: int = 7,
    *,
    has_changed: bool = False,
    is_contradicted: bool = False,
) -> Silence:
    return Silence(ticker, frame, silent_s, has_changed, is_contradicted)


def test_a_book_of_which_nothing_is_heard_is_asked_for_and_then_not_believed() -> None:
    quiet = QuietBooks()
    assert quiet.judge([silence(silent_s=QUIET_S - 1)], 0) == Doubts()
    assert quiet.judge([silence()], 1) == Doubts(ask=("A",))
    assert quiet.judge([silence()], ANSWER_S) == Doubts()
    assert quiet.judge([silence()], 1 + ANSWER_S) == Doubts(distrust=("A",))
    assert quiet.judge([], 2 + ANSWER_S) == Doubts()


def test_a_book_that_is_heard_of_is_believed() -> None:
    quiet = QuietBooks()
    quiet.judge([silence()], 0)
    assert quiet.judge([silence(silent_s=3, frame=8)], ANSWER_S) == Doubts()


def test_the_longest_silent_come_first_and_the_others_in_later_rounds() -> None:
    quiet = QuietBooks()
    books = [silence(f"M{number:03}", QUIET_S + number) for number in range(MAX_ASKED + 2)]
    assert set(quiet.judge(books, 0).ask) == {book.ticker for book in books[2:]}
    assert quiet.judge(books, 1) == Doubts()
    heard = [silence(book.ticker, 0, frame=8) for book in books[2:]]
    assert quiet.judge([*books[:2], *heard], ANSWER_S).ask == ("M001", "M000")


def test_a_book_that_never_changes_is_asked_for_ever_more_seldom() -> None:
    quiet = QuietBooks()
    asked, heard_at, frame = [], 0, 1
    for now in range(0, 3_600, 10):
        doubts = quiet.judge([silence(silent_s=now - heard_at, frame=frame)], now)
        if doubts.ask:
            asked.append(now - heard_at)
            heard_at, frame = now, frame + 1
    assert asked[:5] == [QUIET_S * factor for factor in (1, 2, 4, 8, LONGEST_FACTOR)]
    assert set(asked[4:]) == {QUIET_S * LONGEST_FACTOR}
    quiet.judge([silence(silent_s=0, frame=99, has_changed=True)], 4_000)
    assert quiet.judge([silence(silent_s=QUIET_S, frame=99, has_changed=True)], 5_000).ask == ("A",)


def test_a_trade_that_changes_no_book_puts_its_market_first() -> None:
    quiet = QuietBooks()
    books = [silence("A", 500), silence("B", 5, is_contradicted=True)]
    assert quiet.judge(books, 0).ask == ("B", "A")


@pytest.fixture
def line() -> Line:
    return line_with_two_books()


def test_silence_is_counted_from_the_last_frame_about_a_book(line: Line) -> None:
    now_ns = line.now_ns
    line.receive(delta(3), after_ms=5_000)
    found = silences(line.session, ("A", "B", "C"), now_ns + 7 * SECOND)
    assert found == [silence("A", 2, 6, has_changed=True), silence("B", 7, 4)]


@pytest.mark.parametrize(("is_block_trade", "is_followed", "expected"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_a_trade_contradicts_a_book_that_does_not_change_with_it(
    line: Line, is_block_trade: int, is_followed: int, expected: bool
) -> None:
    line.receive(trade(2, is_block_trade=bool(is_block_trade)), after_ms=3_000)
    line.receive(delta(3, ticker="A" if is_followed else "B"))
    assert not any(each.is_contradicted for each in silences(line.session, "A", line.now_ns))
    (found,) = silences(line.session, "A", line.now_ns + 3 * SECOND)
    assert found.is_contradicted == expected


def test_a_book_that_is_not_trusted_is_nobodys_doubt(line: Line) -> None:
    line.receive(delta(9))
    line.receive(snapshot(10, "B"))
    assert [each.ticker for each in silences(line.session, "AB", line.now_ns)] == ["B"]
