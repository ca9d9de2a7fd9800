"""The store on a real PostgreSQL: what is written, exactly once, whatever breaks."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import attrs
import msgspec
import psycopg
import pytest

from rlflow.data.database import Database
from rlflow.data.store import postgres
from rlflow.errors import DatabaseAwayError, OtherWriterError, StoreError
from rlflow.session.records import Batch, Closed, Kind, local_batch
from rlflow.session.rows import Counts, RejectRow, ResumeState, Rows
from rlflow.session.session import Session
from tests.cut_line import breakable_line
from tests.faults.line import line_to
from tests.faults.scene import through, to_server
from tests.rows_by_hand import (
    MARKET,
    MS,
    NOON_NS,
    OPENED,
    closing,
    delta,
    first,
    following,
    gap,
    gap_end,
    received,
    snapshot,
    trade,
)
from tests.running import wait_for
from tests.session_line import snapshot as snapshot_frame
from tests.session_line import subscribed

DAY_NS = 86_400 * 10**9


def connect(url: str, **options: Any) -> Database:
    values: dict[str, Any] = {"environment": "sim", "wall_ns": lambda: NOON_NS}
    return Database.connect(url, **values | options)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with connect(database_url) as database:
        yield database


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables that a commit touches."""
    tables = "captures", "orderbook_snapshots", "orderbook_deltas", "trades", "feed_gaps", "rejected_frames"
    return {
        name: database.connection.execute(f"SELECT * FROM rl_{name} ORDER BY 1".encode()).fetchall() for name in tables
    }


def fetch(database: Database, query: str) -> list[tuple[Any, ...]]:
    return database.connection.execute(query.encode()).fetchall()


def cut_line(url: str, database: Database) -> None:
    """Break the connection as a restart of the server would."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (database.connection.info.backend_pid,))


def test_rows_reach_their_tables_with_exact_values(database: Database) -> None:
    rows = first()
    rows = attrs.evolve(
        rows,
        deltas=[delta(2, "no", 5505, -25, 350)],
        rejects=[RejectRow(3, received(3), "a reason\twith\\tricks\x00", b'{"\x00\\x":1}\n', "digest")],
        gaps=[gap(3, channel="trade", market_ticker=None, to_ns=received(3))],
    )
    database.commit([rows])
    assert fetch(
        database,
        """SELECT market_ticker, timestamp_ms, sequence_number, yes_bids::text, yes_asks::text, no_bids::text,
           no_asks::text, yes_spread, no_spread, yes_mid_price::text, no_mid_price::text, frame_no, received_ns,
           sending_ts_ms, sid, clock, origin FROM rl_orderbook_snapshots""",
    ) == [
        (
            *(MARKET, received(1) // 10**6 - 3, 1),
            *("[[42, 3.5], [41, 12]]", "[[44.95, 20], [46, 0.1]]", "[[55.05, 20], [54, 0.1]]", "[[58, 3.5], [59, 12]]"),
            *(3, 3, "43.475", "56.525", 1, received(1), received(1) // 10**6 - 3, 1, 10, "venue"),
        )
    ]
    assert fetch(
        database,
        """SELECT market_ticker, timestamp_ms, sequence_number, side, action, price, price_e4, delta::text,
           old_size::text, new_size::text, frame_no, received_ns, sending_ts_ms, sid, clock FROM rl_orderbook_deltas""",
    ) == [
        (
            *(MARKET, received(2) // 10**6 - 11, 2, "no", "reduce", 55, 5505, "-0.25", "3.50", "3.25"),
            *(2, received(2), received(2) // 10**6 - 3, 1, 20),
        )
    ]
    assert fetch(
        database,
        """SELECT market_ticker, trade_id, yes_price, yes_price_e4, count::text, taker_side, is_block_trade,
           sending_ts_ms FROM rl_trades""",
    ) == [(MARKET, "trade-3", 42, 4250, "1.50", "yes", False, None)]
    assert fetch(database, "SELECT reason, raw, traceback_digest FROM rl_rejected_frames") == [
        ("a reason\twith\\tricks\ufffd", b'{"\x00\\x":1}\n', "digest")
    ]
    assert fetch(database, "SELECT channel, market_ticker, expected_seq, to_ns FROM rl_feed_gaps") == [
        ("trade", None, 3, received(3))
    ]


def test_a_one_sided_book_has_neither_spread_nor_mid(database: Database) -> None:
    rows = first()
    database.commit([attrs.evolve(rows, snapshots=[snapshot(1, yes_bids=())])])
    assert fetch(
        database, "SELECT yes_bids::text, no_asks::text, yes_spread, yes_mid_price FROM rl_orderbook_snapshots"
    ) == [("[]", "[]", None, None)]


def test_a_delta_of_an_invalid_book_has_neither_action_nor_sizes(database: Database) -> None:
    rows = first()
    database.commit([attrs.evolve(rows, deltas=[delta(2, "yes", 4200, 100, None, clock=None, sending_ts_ms=None)])])
    assert fetch(database, "SELECT action, old_size, new_size, clock FROM rl_orderbook_deltas") == [(None,) * 4]


def test_a_capture_is_read_as_it_was_written(database: Database) -> None:
    rows = first()
    last = closing(rows)
    database.commit([rows, last])
    record = database.capture(rows.capture)
    assert record is not None
    assert record.opened == OPENED
    assert record.opened_ns == received(0)
    assert (record.committed_frame, record.last_received_ns) == (4, received(4))
    assert record.counts == Counts(stored=3)
    assert record.local_records == 1
    assert (record.closed, record.closed_ns) == (Closed("peer closed", 1001), received(4))
    assert (record.rows_from_ns, record.rows_to_ns) == (NOON_NS - DAY_NS // 2, NOON_NS + DAY_NS // 2)
    assert database.captures() == (record,)
    assert database.capture(uuid4()) is None


def test_counts_and_state_move_with_the_committed_frame(database: Database) -> None:
    rows = first()
    counts = Counts(stored=1, control=2, duplicate=3, unknown=4, rejected=5, sampled_out=6, dropped=7)
    behind = following(rows, delta(31, "yes", 4200, 100, 200), counts=counts, resume=ResumeState(last_received_ns=7))
    database.commit([rows])
    database.commit([behind])
    record = database.capture(rows.capture)
    assert record is not None
    assert record.counts == msgspec.structs.replace(counts, stored=4)
    point = database.resume_point(rows.capture)
    assert point is not None
    assert (point.committed_frame, point.state, point.opened) == (31, behind.resume, OPENED)


def test_committed_is_none_for_an_unknown_capture(database: Database) -> None:
    assert database.committed(uuid4()) is None
    assert database.resume_point(uuid4()) is None


@pytest.mark.parametrize("again", [0, 1])
def test_committing_twice_is_refused_and_changes_nothing(database: Database, again: int) -> None:
    rows = first()
    batches = [rows, following(rows, delta(4, "yes", 4200, 100, 200))]
    for batch in batches:
        database.commit([batch])
    before = everything(database)
    with pytest.raises(OtherWriterError, match="another process"):
        database.commit([batches[again]])
    assert everything(database) == before


def test_a_hole_between_commits_is_refused_and_changes_nothing(database: Database) -> None:
    rows = first()
    hole = following(rows, delta(4, "yes", 4200, 100, 200), after_frame=4, upto_frame=5)
    for batch in ([rows, hole], [hole]):
        with pytest.raises(OtherWriterError):
            database.commit(batch)
        assert not any(everything(database).values())


def test_one_capture_of_another_writer_keeps_the_whole_batch_out(database: Database) -> None:
    mine, taken = first(), first()
    database.commit([taken])
    before = everything(database)
    with pytest.raises(OtherWriterError):
        database.commit([mine, taken])
    assert everything(database) == before


def test_of_two_writers_at_once_one_loses(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows])
    behind = following(rows, delta(4, "yes", 4200, 100, 200))
    with connect(database_url) as other:
        other.commit([behind])
        with pytest.raises(OtherWriterError):
            database.commit([behind])
        assert len(fetch(database, "SELECT FROM rl_orderbook_deltas")) == 2


def test_a_line_cut_before_a_commit_loses_nothing_and_repeats_nothing(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows])
    behind = following(rows, delta(4, "yes", 4200, 100, 200))
    cut_line(database_url, database)
    with pytest.raises(DatabaseAwayError):
        database.commit([behind])
    with pytest.raises(DatabaseAwayError):
        database.committed(rows.capture)
    with connect(database_url) as anew:
        assert anew.committed(rows.capture) == 3
        anew.commit([behind])
        assert fetch(anew, "SELECT frame_no FROM rl_orderbook_deltas ORDER BY 1") == [(2,), (4,)]


def test_a_line_cut_after_a_commit_shows_in_committed(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows])
    cut_line(database_url, database)
    with connect(database_url) as anew:
        assert anew.committed(rows.capture) == rows.upto_frame
        with pytest.raises(OtherWriterError):
            anew.commit([rows])


def test_a_commit_whose_answer_is_lost_was_made_once(database_url: str) -> None:
    rows = first()
    with connect(database_url) as database:
        database.commit([rows])
    behind = following(rows, delta(4, "yes", 4200, 100, 200))
    with breakable_line(database_url) as line, connect(line.url) as database:
        line.breaks_at = b"COMMIT"
        with pytest.raises(DatabaseAwayError):
            database.commit([behind])
    with connect(database_url) as anew:
        assert anew.committed(rows.capture) == 4
        assert fetch(anew, "SELECT frame_no FROM rl_orderbook_deltas ORDER BY 1") == [(2,), (4,)]


def test_a_line_cut_in_the_middle_of_a_commit_writes_nothing(database_url: str) -> None:
    rows = first()
    with connect(database_url) as database:
        database.commit([rows])
        before = everything(database)
    behind = following(rows, *[delta(number, "yes", 4300, 1, number - 4) for number in range(4, 2_000)], gap(4))
    with breakable_line(database_url) as line, connect(line.url) as database:
        line.breaks_at = b"COPY rl_feed_gaps"
        with pytest.raises(DatabaseAwayError):
            database.commit([behind])
    with connect(database_url) as anew:
        assert everything(anew) == before
        anew.commit([behind])
        assert anew.committed(rows.capture) == behind.upto_frame


def test_an_answer_that_never_comes_is_not_waited_for(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line stands, the server has committed, and nothing ever comes back: no keep-alive notices that."""
    rows = first()
    with connect(database_url) as database:
        database.commit([rows])
    behind = following(rows, delta(4, "yes", 4200, 100, 200))
    with line_to(to_server(database_url)) as line, connect(through(database_url, line.port)) as database:
        line.hold_answer_to = b"COMMIT"
        monkeypatch.setattr(postgres, "ANSWER_LIMIT_S", 3.0)
        with pytest.raises(DatabaseAwayError, match="no answer"):
            database.commit([behind])
        with pytest.raises(DatabaseAwayError):
            database.committed(rows.capture)
    with connect(database_url) as anew:
        assert anew.committed(rows.capture) == 4


def test_what_may_take_long_is_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "ANSWER_LIMIT_S", 1.0)
    with database.connection.transaction():
        postgres.take_time(database.connection)
        assert fetch(database, "SELECT pg_sleep(2)::text") == [("",)]
    with pytest.raises(DatabaseAwayError), postgres.translated():
        database.connection.execute("SELECT pg_sleep(20)")


def test_recorders_of_one_store_know_of_each_other_while_they_are_connected(
    database: Database, database_url: str
) -> None:
    database.begin_recording(1)
    with connect(database_url) as again:
        again.begin_recording(1)
        assert database.other_recorders(1) == (), "a connection of its own that has not ended yet"
    with connect(database_url) as other, connect(database_url, db_schema="elsewhere") as elsewhere:
        other.begin_recording(2)
        elsewhere.begin_recording(3)
        assert len(database.other_recorders(1)) == len(other.other_recorders(2)) == 1
        assert elsewhere.other_recorders(3) == ()
    wait_for("the end of the others", lambda: database.other_recorders(1) == () or None)


def test_an_absent_server_is_told_apart_from_a_wrong_store() -> None:
    with pytest.raises(DatabaseAwayError):
        connect("postgresql://nobody@127.0.0.1:1/nothing")


def test_rows_of_another_environment_are_refused(database: Database) -> None:
    opened = msgspec.structs.replace(OPENED, environment="prod")
    with pytest.raises(StoreError, match="must not mix"):
        database.commit([first(opened=opened)])
    assert not any(everything(database).values())


def test_a_snapshot_ends_the_open_gaps_of_its_market(database: Database) -> None:
    rows, other = first(), first()
    again = following(
        rows, gap(4), gap(4, market_ticker="OTHER"), snapshot(6), gap_end(6), gap(8, from_ns=received(6)), gap(9)
    )
    database.commit([rows, again, other])
    ends = "SELECT frame_no, market_ticker, to_ns FROM rl_feed_gaps ORDER BY id"
    assert fetch(database, ends) == [
        (4, MARKET, received(6)),
        (4, "OTHER", None),
        (8, MARKET, None),
        (9, MARKET, None),
    ]
    database.commit([following(other, snapshot(30), gap_end(30))])
    assert fetch(database, ends)[2:] == [(8, MARKET, received(30)), (9, MARKET, received(30))]


def connection_of(market: str, opened_ns: int, *, is_closed: bool = False) -> Rows:
    """A connection with the book of one market and its trades, and perhaps its end."""
    capture = uuid4()
    session = Session(capture)
    made = session.feed(local_batch(OPENED, capture, 0, opened_ns))
    frames = (subscribed(1, "orderbook_delta"), subscribed(2, "trade"), snapshot_frame(1, market))
    raw = tuple(json.dumps(frame).encode() for frame in frames)
    made.absorb(session.feed(Batch(Kind.FRAMES, capture, 1, opened_ns + MS, raw)))
    if is_closed:
        made.absorb(session.feed(local_batch(Closed("line cut"), capture, 4, opened_ns + 2 * MS)))
    return made


def test_open_gaps_of_a_market_do_not_end_with_a_connection_of_others(database: Database) -> None:
    back_ns = NOON_NS + 3_600 * 10**9
    database.commit([connection_of("A", NOON_NS, is_closed=True)])
    database.commit([connection_of("B", NOON_NS + 10**9)])
    gaps = "SELECT channel, market_ticker, to_ns FROM rl_feed_gaps ORDER BY id"
    assert fetch(database, gaps) == [("orderbook_delta", "A", None), ("trade", "A", None)]
    database.commit([connection_of("A", back_ns)])
    assert fetch(database, gaps) == [("orderbook_delta", "A", back_ns + MS), ("trade", "A", back_ns + MS)]


def test_an_open_gap_without_a_market_of_an_older_store_ends_with_any_trades(database: Database) -> None:
    rows = first()
    database.commit([rows, following(rows, gap(4, channel="trade", market_ticker=None, sid=2))])
    database.commit([connection_of("B", NOON_NS + 10**9)])
    assert fetch(database, "SELECT to_ns FROM rl_feed_gaps") == [(NOON_NS + 10**9 + MS,)]


def test_a_gap_that_ends_before_it_began_by_the_clock_ends_at_once(database: Database) -> None:
    rows = first()
    database.commit([rows, following(rows, gap(4), gap_end(5, received_ns=received(1)))])
    assert fetch(database, "SELECT to_ns - from_ns FROM rl_feed_gaps") == [(0,)]


def test_a_refused_row_becomes_a_rejected_frame_and_a_gap(database: Database) -> None:
    rows = first()
    huge = delta(7, "yes", 4200, 10**17, 0)
    good = [delta(number, "yes", 4300, 10, (number - 4) * 10) for number in range(4, 20) if number != 7]
    bad_trade = trade(20, count=-5)
    batch = following(rows, *good, huge, bad_trade, gap_end(3))
    other = first()
    database.commit([rows, batch, other])
    assert fetch(database, "SELECT frame_no FROM rl_orderbook_deltas WHERE price_e4 = 4300 ORDER BY 1") == [
        (row.frame_no,) for row in good
    ]
    assert fetch(database, "SELECT frame_no, reason LIKE 'PostgreSQL refused a row: %' FROM rl_rejected_frames") == [
        (7, True),
        (20, True),
    ]
    raw = fetch(database, "SELECT raw FROM rl_rejected_frames WHERE frame_no = 7")[0][0]
    assert msgspec.json.decode(raw)[0]["delta"] == 10**17
    assert fetch(database, "SELECT channel, market_ticker, frame_no, from_frame, to_ns FROM rl_feed_gaps") == [
        ("orderbook_delta", MARKET, 7, 6, None),
        ("trade", None, 20, 19, received(20)),
    ]
    record = database.capture(rows.capture)
    assert record is not None
    assert record.counts == Counts(stored=3 + 15, rejected=2)
    assert database.statistics().refused_frames == 2
    assert database.committed(other.capture) == 3


def test_a_refused_checkpoint_is_left_out_without_a_gap(database: Database) -> None:
    rows = first()
    checkpoint = snapshot(4, origin="checkpoint", sid=2**70)
    database.commit([rows, following(rows, checkpoint, counts=Counts(control=1))])
    assert fetch(database, "SELECT FROM rl_feed_gaps UNION ALL SELECT FROM rl_rejected_frames") == []
    assert fetch(database, "SELECT frame_no FROM rl_orderbook_snapshots") == [(1,)]


def test_rows_of_any_day_find_their_partition(database: Database) -> None:
    rows = first()
    far = [delta(4, "yes", 100, 1, received_ns=day * DAY_NS + 5) for day in (0, 365, 25_000)]
    database.commit(
        [rows, following(rows, *[msgspec.structs.replace(row, frame_no=4 + i) for i, row in enumerate(far)])]
    )
    assert fetch(database, "SELECT tableoid::regclass::text FROM rl_orderbook_deltas ORDER BY 1") == [
        ("rl_orderbook_deltas_19700101",),
        ("rl_orderbook_deltas_19710101",),
        ("rl_orderbook_deltas_20261122",),
        ("rl_orderbook_deltas_20380613",),
    ]


def test_a_partition_dropped_by_another_process_is_made_again(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows])
    with connect(database_url) as other:
        fetch_drop = "DROP TABLE rl_orderbook_deltas_20261122"
        other.connection.execute(fetch_drop.encode())
    database.commit([following(rows, delta(4, "yes", 4200, 100, 200))])
    assert fetch(database, "SELECT frame_no FROM rl_orderbook_deltas") == [(4,)]
    assert fetch(database, "SELECT FROM rl_rejected_frames") == []


def test_statistics_and_size_count_what_was_written(database: Database) -> None:
    before = database.size()
    database.commit([first(), first()])
    statistics = database.statistics()
    assert (statistics.commits, statistics.rows, statistics.last_commit_ns) == (1, 6, NOON_NS)
    assert database.size().bytes > before.bytes
    assert str(database.size().newest_day) == "2026-11-29"


def test_an_empty_batch_of_frames_without_rows_moves_the_offset(database: Database) -> None:
    rows = first()
    database.commit([rows])
    database.commit([Rows(rows.capture, 3, 9, received(9), counts=Counts(control=6), resume=rows.resume)])
    assert database.committed(rows.capture) == 9
