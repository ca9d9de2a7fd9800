"""What health remembers, and that it looks at positions and not at what the parts say of themselves."""

from typing import Any

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rlflow.api.watch import MARKS, Backlog, Progress, Rate, Since, Standstill, Watch, watch_service
from tests.service_figures import FIGURES


def figures_at(*, end: int, books: int, written: int, synced: int | None = None) -> Any:
    return attrs.evolve(
        FIGURES,
        journal=attrs.evolve(FIGURES.journal, end=end, synced=end if synced is None else synced),
        books=attrs.evolve(FIGURES.books, cursor=books),
        writer=attrs.evolve(FIGURES.writer, backlog_bytes=end - written),
    )


def test_a_cursor_that_does_not_move_while_the_journal_grows_is_noticed() -> None:
    watch, found = Watch(), Progress()
    for second in range(20):
        found = watch.look(float(second), figures_at(end=100 + second, books=100, written=100 + second))
    assert found.books_stalled_s == 19
    assert found.sync_stalled_s == 0
    assert watch.look(20.0, figures_at(end=200, books=101, written=200)).books_stalled_s == 0


def test_a_journal_that_is_not_synced_is_noticed() -> None:
    watch, found = Watch(), Progress()
    for second in range(5):
        found = watch.look(float(second), figures_at(end=100 + second, books=100, written=100, synced=99))
    assert found.sync_stalled_s == 4


@given(st.lists(st.tuples(st.floats(0.01, 1000), st.integers(0, 3), st.integers(0, 3)), max_size=50))
def test_what_moves_between_two_looks_or_has_nothing_to_do_never_stands_still(
    steps: list[tuple[float, int, int]],
) -> None:
    stand, now, position, goal, moved_at = Standstill(), 0.0, 0, 0, 0.0
    stand.look(now, position, goal)
    for wait, grows, moves in steps:
        now += wait
        goal += grows
        before = position
        position = min(position + moves, goal)
        if position != before or position >= goal:
            moved_at = now
        assert stand.look(now, position, goal) == now - moved_at


def test_the_age_of_a_backlog_is_that_of_its_oldest_part() -> None:
    backlog = Backlog()
    assert backlog.look(0, 10, 10) == 0
    assert backlog.look(1, 10, 20) == 0
    assert backlog.look(5, 10, 30) == 4
    assert backlog.look(6, 20, 30) == 1
    assert backlog.look(7, 30, 30) == 0


def test_what_an_earlier_process_left_is_as_old_as_this_one_at_least() -> None:
    backlog = Backlog()
    assert backlog.look(0, 0, 500) == 0
    assert backlog.look(9, 100, 500) == 9


def test_a_day_of_backlog_is_remembered_in_bounded_space_and_about_right() -> None:
    backlog, age = Backlog(), 0.0
    for second in range(20_000):
        age = backlog.look(second, 0, second + 1)
    assert age > 19_000
    assert len(backlog._marks) <= MARKS + 1
    assert abs(backlog.look(20_000, 10_000, 20_000) - 10_000) < 100


def test_rates_begin_with_the_first_look() -> None:
    rate = Rate()
    assert rate.look(100.0, 5000) == 0
    assert rate.look(110.0, 5100) == 10
    assert rate.look(400.0, 5100) == 0


def test_a_status_that_comes_back_counts_anew() -> None:
    since = Since()
    assert since.look(0, {"a": "healthy"}) == {"a": 0}
    assert since.look(5, {"a": "degraded"}) == {"a": 0}
    assert since.look(6, {"a": "degraded"}) == {"a": 1}
    assert since.look(7, {"a": "healthy"}) == {"a": 0}


async def test_it_looks_though_nobody_asks(autojump_clock: MockClock) -> None:
    watch, seen = Watch(), list[Progress]()
    stuck = figures_at(end=100, books=50, written=100)
    with trio.move_on_after(30.5):
        await watch_service(lambda: seen.append(watch.look(trio.current_time(), stuck)))
    assert seen[-1].books_stalled_s == 30
