"""Old days go, and nothing else: what stays can be rebuilt, audited and resumed, and nobody waits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import attrs
import msgspec
import psycopg
import pytest
import trio

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.history.rebuild import book_at
from rlflow.data.history.replay import replay
from rlflow.data.store.partitions import DAY_NS, TABLES, partition_name
from rlflow.data.upkeep import retention, retention_task
from rlflow.data.upkeep.retention import first_day_kept, plan_retention, retire
from rlflow.data.upkeep.retention_task import Retention
from rlflow.errors import CommandError, DatabaseAwayError
from rlflow.orderbook import BookView
from rlflow.session.rows import Counts, RejectRow, ResumeState, Rows
from tests import running
from tests.rows_by_hand import MARKET, MS, NOON_NS, OPENED, closing, delta, first, following, gap, snapshot, trade
from tests.running import wait_for as look_for

TODAY = date(2026, 11, 22)
OTHER = "KXTEST-26NOV22-QUIET"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with connect(database_url) as database:
        yield database


def connect(url: str) -> Database:
    return Database.connect(url, environment="sim", wall_ns=lambda: NOON_NS)


def days_ago(days: float, frame_no: int = 0) -> int:
    return NOON_NS - int(days * DAY_NS) + frame_no * MS


def began(days: float) -> Rows:
    """A capture that began so many days ago."""
    rows = first()
    return attrs.evolve(
        rows,
        snapshots=[
            snapshot(1, received_ns=days_ago(days, 1)),
            snapshot(1, received_ns=days_ago(days, 1), market_ticker=OTHER, clock=None),
        ],
        deltas=[delta(2, "yes", 4200, -150, 350, received_ns=days_ago(days, 2))],
        trades=[trade(3, received_ns=days_ago(days, 3))],
        received_ns=days_ago(days, 3),
        first_received_ns=days_ago(days),
        resume=state_of_both(rows),
    )


def state_of_both(rows: Rows) -> ResumeState:
    sid = msgspec.structs.replace(rows.resume.sids[0], tickers=(MARKET, OTHER))
    return msgspec.structs.replace(rows.resume, sids=(sid,))


def story(database: Database) -> Rows:
    """A capture over five days that is still open; one market changes every day, the other never."""
    rows = began(5)
    parts = [rows]
    for number, days in enumerate((4, 3, 2, 1, 0), start=4):
        change = delta(number, "yes", 4300, 70, (number - 4) * 70, received_ns=days_ago(days, number))
        parts.append(following(parts[-1], change, received_ns=days_ago(days, number)))
    database.commit(parts)
    return parts[-1]


def books(database: Database) -> dict[tuple[str, int], BookView | None]:
    """Both books at many moments of the last two days."""
    moments = range(days_ago(2.5), days_ago(-0.1), DAY_NS // 8)
    return {(market, at): book_at(database, market, at_ns=at) for market in (MARKET, OTHER) for at in moments}


def test_whole_days_are_kept_besides_today() -> None:
    assert first_day_kept(NOON_NS, 1) == TODAY - timedelta(days=1)
    assert first_day_kept(NOON_NS // DAY_NS * DAY_NS, 30) == date(2026, 10, 23)


def test_every_moment_of_the_days_that_stay_can_still_be_rebuilt(database: Database) -> None:
    last = story(database)
    before = books(database)
    point = database.resume_point(last.capture)
    replayed = [one.row for one in replay(database, MARKET, start_ns=days_ago(2.5))]
    retired = retire(database, TODAY - timedelta(days=2))
    assert retired.partitions == tuple(
        partition_name(table, NOON_NS // DAY_NS - back) for table in sorted(TABLES) for back in (5, 4, 3)
    )
    assert retired.carried_over == 2
    after = books(database)
    assert {key: levels(view) for key, view in after.items()} == {key: levels(view) for key, view in before.items()}
    assert book_at(database, MARKET, at_ns=days_ago(3)) is None
    resumed = database.resume_point(last.capture)
    assert point is not None
    assert resumed is not None
    assert [
        (book.ticker, book.yes_bids, book.no_bids) for book in sorted(resumed.books, key=lambda one: one.ticker)
    ] == [(book.ticker, book.yes_bids, book.no_bids) for book in sorted(point.books, key=lambda one: one.ticker)]
    assert [one.row for one in replay(database, MARKET)][1:] == replayed[1:]
    report = audit(database)
    assert report.is_clean
    assert "days were dropped" in report.notes[0]


def levels(view: BookView | None) -> object:
    return None if view is None else (view.is_valid, view.yes_bids, view.no_bids)


def test_a_capture_that_has_been_quiet_since_the_dropped_days_keeps_its_books(database: Database) -> None:
    rows = began(3)
    database.commit([rows])
    before = book_at(database, MARKET)
    assert retire(database, TODAY - timedelta(days=2)).carried_over == 2
    assert levels(book_at(database, MARKET)) == levels(before)
    # Again and again, until it says something.
    assert retire(database, TODAY - timedelta(days=1)).carried_over == 2
    point = database.resume_point(rows.capture)
    assert point is not None
    assert {book.ticker for book in point.books} == {MARKET, OTHER}
    database.commit([following(rows, delta(4, "yes", 4200, 100, 200, received_ns=days_ago(0)))])
    after = book_at(database, MARKET)
    assert after is not None
    assert dict(after.yes_bids)[4200] == 300
    assert audit(database).is_clean


def test_doing_it_again_changes_nothing(database: Database) -> None:
    story(database)
    retire(database, TODAY - timedelta(days=2))
    assert attrs.astuple(retire(database, TODAY - timedelta(days=2))) == ((), 0, 0, 0, 0)
    assert retire(database, TODAY - timedelta(days=1)).carried_over == 2
    assert audit(database).is_clean


def test_an_attempt_that_broke_off_is_taken_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    story(database)

    def break_off(_self: Database, _day: date) -> list[str]:
        raise DatabaseAwayError("away")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "drop_days_before", break_off)
        with pytest.raises(DatabaseAwayError):
            retire(database, TODAY - timedelta(days=2))
    assert audit(database).is_clean
    retired = retire(database, TODAY - timedelta(days=2))
    assert (len(retired.partitions), retired.carried_over) == (9, 0)
    assert audit(database).is_clean


@pytest.mark.parametrize("is_dropped", [False, True])
def test_frames_of_a_day_that_was_carried_over_already_are_carried_over_too(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, is_dropped: bool
) -> None:
    """They come from the journal, after an outage, when an attempt has gone well, or has broken off halfway."""
    rows, before = began(3), TODAY - timedelta(days=2)
    late = following(rows, delta(4, "yes", 4200, 500, 200, received_ns=days_ago(3, 4)), received_ns=days_ago(3, 4))
    database.commit([rows])
    with monkeypatch.context() as broken:
        if not is_dropped:
            broken.setattr(Database, "drop_days_before", lambda _self, _day: [])
        retire(database, before)
    database.commit([late])
    retire(database, before)
    database.commit([following(late, delta(5, "yes", 4200, 1, 700, received_ns=days_ago(0)))])
    assert size_at_4200(database) == 701
    assert audit(database).is_clean


def size_at_4200(database: Database) -> int:
    view = book_at(database, MARKET)
    assert view is not None
    assert view.is_valid
    return dict(view.yes_bids)[4200]


def test_a_book_that_was_lost_after_it_was_carried_over_is_not_known(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, before = began(3), TODAY - timedelta(days=2)
    lost = gap(4, received_ns=days_ago(3, 4), from_ns=days_ago(3, 3), to_ns=days_ago(3, 5))
    database.commit([rows])
    with monkeypatch.context() as broken:
        broken.setattr(Database, "drop_days_before", lambda _self, _day: [])
        retire(database, before)
    database.commit([following(rows, lost, received_ns=days_ago(3, 4))])
    retire(database, before)
    view = book_at(database, MARKET)
    assert view is None or not view.is_valid


def test_who_writes_a_day_that_goes_waits_and_nobody_else(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, other, before = began(3), began(0), TODAY - timedelta(days=2)
    late = following(rows, delta(4, "yes", 4200, 500, 200, received_ns=days_ago(3, 4)), received_ns=days_ago(3, 4))
    database.commit([rows])
    drop = Database.drop_days_before

    with connect(database_url) as writer, connect(database_url) as live, ThreadPoolExecutor() as threads:
        commits = []

        def drop_while_somebody_writes(own: Database, day: date) -> list[str]:
            commits.append(threads.submit(writer.commit, [late]))
            wait_for_waiting(live)
            live.commit([other])
            return drop(own, day)

        monkeypatch.setattr(Database, "drop_days_before", drop_while_somebody_writes)
        assert len(retire(database, before).partitions) == 3
        monkeypatch.undo()
        assert commits[0].result(timeout=60) == [late]
        live.commit([attrs.evolve(closing(other), received_ns=days_ago(0, 4))])
        retire(database, before)
        writer.commit([following(late, delta(5, "yes", 4200, 1, 700, received_ns=days_ago(0, 5)))])
    assert size_at_4200(database) == 701
    assert audit(database).is_clean


def wait_for_waiting(database: Database) -> None:
    """Return once a writer waits for who drops days."""
    query = """SELECT FROM pg_stat_activity
               WHERE wait_event_type = 'Lock' AND wait_event = 'advisory' AND datname = current_database()"""
    running.wait_for("a writer that waits", lambda: database.connection.execute(query).fetchone())


def test_a_book_inside_a_gap_is_not_carried_over(database: Database) -> None:
    rows = began(5)
    lost = gap(4, received_ns=days_ago(4), from_ns=days_ago(4.5))
    later = delta(6, "yes", 4300, 70, None, received_ns=days_ago(0))
    found = following(rows, lost, trade(4, received_ns=days_ago(4)))
    database.commit([rows, found, following(found, later)])
    assert retire(database, TODAY).carried_over == 1
    view = book_at(database, MARKET, at_ns=days_ago(0, 9))
    assert view is None or not view.is_valid
    assert audit(database).is_clean


def test_what_was_about_the_dropped_days_goes_and_the_rest_stays(database: Database) -> None:
    ancient = began(60)
    mishap = following(
        ancient,
        gap(4, received_ns=days_ago(60), from_ns=days_ago(60, -1), to_ns=days_ago(59)),
        rejects=[RejectRow(5, days_ago(60), "spoilt", b"{")],
        upto_frame=5,
        received_ns=days_ago(60),
        counts=Counts(control=1, rejected=1),
    )
    ended = attrs.evolve(closing(mishap), received_ns=days_ago(60))
    recent = began(5)
    open_gap = following(recent, gap(4, received_ns=days_ago(5, 4), from_ns=days_ago(5, 3)), received_ns=days_ago(5, 4))
    database.commit([ancient, mishap, ended, recent, open_gap])
    plan = plan_retention(database, TODAY)
    assert (plan.captures, len(plan.partitions), plan.bytes > 0) == (1, 6, True)
    retired = retire(database, TODAY)
    assert (retired.gaps, retired.rejected, retired.captures) == (1, 1, 1)
    assert [record.capture for record in database.captures()] == [recent.capture]
    assert [found.frame_no for found in audit(database).gaps] == [4]
    assert audit(database).is_clean


def test_rejected_frames_of_a_capture_that_keeps_its_rows_stay(database: Database) -> None:
    """Else the audit could not balance its frames any more."""
    rows = attrs.evolve(
        first(),
        first_received_ns=days_ago(3),
        rejects=[RejectRow(1, days_ago(3), "spoilt", b"{")],
        snapshots=[],
        deltas=[],
        counts=Counts(stored=1, rejected=1, control=1),
    )
    database.commit([rows])
    assert retire(database, TODAY).rejected == 0
    assert audit(database).is_clean


def test_a_capture_that_a_decision_was_made_on_stays(database: Database) -> None:
    rows = began(60)
    database.commit([rows, attrs.evolve(closing(rows), received_ns=days_ago(60))])
    database.connection.execute(
        """WITH episode AS (
               INSERT INTO rl_trading_episodes (episode_number, market_ticker) VALUES (1, 'X') RETURNING id)
           INSERT INTO rl_trading_actions (episode_id, action_timestamp_ms, step_number, action_type, position_before,
                                           position_after, capture)
           SELECT id, 1, 0, 'hold', 0, 0, (SELECT capture FROM rl_captures) FROM episode"""
    )
    assert retire(database, TODAY).captures == 0


def test_an_open_reader_makes_it_give_up_soon_and_try_again(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STATEMENT_TIMEOUT", "6s")
    last = story(database)
    with psycopg.connect(database_url) as reader, connect(database_url) as own, ThreadPoolExecutor() as threads:
        reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
        attempt = threads.submit(retire, own, TODAY - timedelta(days=2))
        wait_for_detaching(database)
        # Nobody waits meanwhile: neither the writer nor readers, new or old.
        database.commit([following(last, delta(20, "yes", 4300, 1, 350))])
        assert len(list(replay(database, MARKET))) > 2
        assert not attempt.done()
        assert isinstance(attempt.exception(), DatabaseAwayError)
        assert reader.execute("SELECT count(*) FROM rl_trades").fetchone() == (1,)
    with connect(database_url) as own:
        retire(own, TODAY - timedelta(days=2))
    assert plan_retention(database, TODAY - timedelta(days=2)).partitions == ()
    assert audit(database).is_clean


def wait_for_detaching(database: Database) -> None:
    """Return once a DETACH waits for somebody."""
    query = """SELECT FROM pg_stat_activity
               WHERE query LIKE '%DETACH%' AND wait_event_type = 'Lock' AND datname = current_database()"""
    look_for("a DETACH that waits", lambda: database.connection.execute(query).fetchone())


def test_only_one_process_takes_days_away(database: Database, database_url: str) -> None:
    with connect(database_url) as other:
        other.connection.execute(retention._LOCK)
        with pytest.raises(CommandError, match="another process"):
            retire(database, TODAY)


def test_a_sampled_capture_has_no_books_to_carry_over(database: Database) -> None:
    rows = began(5)
    assert rows.opened is not None
    rows = attrs.evolve(rows, opened=msgspec.structs.replace(OPENED, sample_rate=2))
    database.commit([rows, following(rows, delta(4, "yes", 4300, 1, received_ns=days_ago(0)))])
    assert retire(database, TODAY).carried_over == 0


# -- the task ----------------------------------------------------------------------------------------------------------


async def test_the_task_drops_days_until_cancelled(database: Database, database_url: str) -> None:
    story(database)
    task = Retention(lambda: connect(database_url), 2, wall_ns=lambda: NOON_NS)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await wait_for(lambda: task.statistics().last_ns is not None)
            nursery.cancel_scope.cancel()
    assert (task.statistics().partitions, task.statistics().problem) == (9, None)


async def test_the_task_tries_again_what_could_not_be(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_task, "RETRY_S", 0.01)
    story(database)
    is_away = threading.Event()
    is_away.set()

    def connect_perhaps() -> Database:
        if is_away.is_set():
            raise DatabaseAwayError("away")
        return connect(database_url)

    task = Retention(connect_perhaps, 2, wall_ns=lambda: NOON_NS)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await wait_for(lambda: task.statistics().problem == "away")
            is_away.clear()
            await wait_for(lambda: task.statistics().partitions == 9)
            nursery.cancel_scope.cancel()


async def test_a_clock_that_jumps_ahead_makes_no_day_old(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_task, "RETRY_S", 0.01)
    story(database)
    wall = [NOON_NS - 30 * DAY_NS]
    task = Retention(lambda: connect(database_url), 2, wall_ns=lambda: wall[0], clock_ns=lambda: 0)
    wall[0] = NOON_NS
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await wait_for(lambda: "720.0 h ahead" in (task.statistics().problem or ""))
            wall[0] = NOON_NS - 30 * DAY_NS
            await wait_for(lambda: task.statistics().last_ns is not None)
            nursery.cancel_scope.cancel()
    assert task.statistics().partitions == 0


async def test_for_ever_is_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    def never() -> Database:
        raise AssertionError

    with trio.move_on_after(1e6) as scope:
        await Retention(never, 0).run()
    assert scope.cancelled_caught


async def wait_for(is_so: object) -> None:
    assert callable(is_so)
    while not is_so():  # noqa: ASYNC110 - there is no event for what a thread does
        await trio.sleep(0.01)
