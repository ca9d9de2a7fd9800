"""When a younger connection's book is shown in place of the oldest one's."""

from uuid import UUID

import attrs

from rlflow.data.books.overtaking import BEHIND_NS
from rlflow.data.books.shown_books import ShownBooks
from rlflow.session.session import Session
from tests.session_line import Line, delta, snapshot, subscribed

MS = 10**6


@attrs.define
class Twice:
    """The market A over two connections, the first of them the older, and a clock that the test moves."""

    old: Line = attrs.Factory(Line)
    new: Line = attrs.Factory(Line)
    now_ns: int = 0
    shown: ShownBooks = attrs.field(init=False)
    seqs: dict[int, int] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        sessions: dict[UUID, Session] = {UUID(int=1): self.old.session, UUID(int=2): self.new.session}
        self.shown = ShownBooks(sessions, lambda: self.now_ns)
        for line in (self.old, self.new):
            line.receive(subscribed(1, "orderbook_delta"), snapshot(1, clock=1))
            self.seqs[id(line)] = 1
            self.shown.publish(line.session, line.session.take_changed())

    def change(self, line: Line, *clocks: int, ticker: str = "A") -> None:
        """Let a connection bring changes of one contract each."""
        for clock in clocks:
            self.seqs[id(line)] += 1
            line.receive(delta(self.seqs[id(line)], clock=clock, ticker=ticker))
        self.shown.publish(line.session, line.session.take_changed())

    @property
    def size(self) -> int:
        """What is bid by the book that is shown, in contracts; 5 at first, one more with each change."""
        view = self.shown.view("A")
        assert view is not None
        return view.yes_bids[0][1] // 100


def test_an_older_book_that_falls_behind_is_not_shown_any_more() -> None:
    both = Twice()
    both.change(both.new, 2, 3)
    assert both.size == 5
    both.now_ns += BEHIND_NS
    both.change(both.new, 4)
    assert both.size == 8


async def test_readers_are_told_though_the_market_itself_has_gone_quiet() -> None:
    both = Twice()
    both.change(both.new, 2)
    subscription = both.shown.subscribe()
    both.now_ns += BEHIND_NS
    both.shown.overtake()
    assert (await subscription.receive())["A"].yes_bids == ((4000, 600),)


def test_an_older_book_that_is_late_by_less_is_shown_however_busy_the_market_is() -> None:
    both = Twice()
    for clock in range(2, 100):
        both.change(both.new, clock + 1)
        both.now_ns += 300 * MS
        both.change(both.old, clock)
        assert both.size == 5 + clock - 1


def test_an_older_book_is_shown_again_once_it_has_all_that_the_other_has() -> None:
    both = Twice()
    both.change(both.new, 2, 3, 4)
    both.now_ns += BEHIND_NS
    both.shown.overtake()
    both.change(both.old, 2, 3)
    assert (both.size, both.shown.lapses) == (8, 0)
    both.change(both.old, 4, 5)
    assert both.size == 9


def test_books_without_clock_are_not_compared() -> None:
    both = Twice()
    for line in (both.old, both.new):
        line.receive(snapshot(2, clock=None))
        both.seqs[id(line)] = 2
    line.receive(delta(3))
    for line in (both.old, both.new):
        both.now_ns += BEHIND_NS
        both.shown.publish(line.session, line.session.take_changed())
    assert both.size == 5


def test_a_book_that_is_lost_is_forgotten() -> None:
    both = Twice()
    both.change(both.new, 2)
    both.now_ns += BEHIND_NS
    both.change(both.new, 3)
    both.seqs[id(both.new)] += 1
    both.change(both.new, 9)
    assert both.size == 5
    both.now_ns += BEHIND_NS
    both.shown.overtake()
    assert (both.size, both.shown.lapses) == (5, 0)
