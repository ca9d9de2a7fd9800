"""Day partitions: made beside open readers, dropped without stopping anybody."""

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.data.database import Database
from rlflow.data.store import partitions
from rlflow.data.store.partitions import DAY_NS, TABLES, day_of, day_of_partition, partition_name
from rlflow.errors import DatabaseAwayError
from tests.rows_by_hand import MARKET, NOON_NS, delta, first, following

TODAY = day_of(NOON_NS)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


def days(database: Database) -> list[str]:
    """The days of the deltas' partitions."""
    found = database.connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'rl_orderbook_deltas'::regclass ORDER BY 1"
    )
    return [name.removeprefix("rl_orderbook_deltas_") for (name,) in found]


@given(day=st.integers(-100_000, 2_900_000), table=st.sampled_from(TABLES))
def test_a_name_says_its_day(day: int, table: str) -> None:
    assert day_of_partition(partition_name(table, day)) == day


@pytest.mark.parametrize(
    "name", ["rl_orderbook_deltas", "rl_trades_2026112", "rl_captures_20261122", "x_rl_trades_20261122"]
)
def test_other_names_have_no_day(name: str) -> None:
    assert day_of_partition(name) is None


def test_a_day_is_named_by_its_utc_date() -> None:
    assert partition_name("rl_trades", TODAY) == "rl_trades_20261122"
    assert [day_of(TODAY * DAY_NS + shift) - TODAY for shift in (-1, 0, DAY_NS - 1, DAY_NS)] == [-1, 0, 0, 1]


def test_the_week_to_come_is_made_at_connecting(database: Database) -> None:
    assert days(database) == [f"202611{day}" for day in range(22, 30)]


def test_the_hour_that_passes_brings_the_next_day(database_url: str) -> None:
    now = [NOON_NS]
    with Database.connect(database_url, environment="sim", wall_ns=lambda: now[0]) as database:
        rows = first()
        now[0] += 13 * 3_600 * 10**9
        database.commit([rows])
        assert days(database)[-1] == "20261130"


def test_a_partition_has_the_indexes_and_checks_of_its_table(database: Database) -> None:
    def shape(table: str) -> list[tuple[str, ...]]:
        return database.connection.execute(
            """SELECT contype::text, conkey::text FROM pg_constraint WHERE conrelid = %s::regclass
               AND contype <> 'n' UNION ALL
               SELECT 'index', indkey::text FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1, 2""",
            (table, table),
        ).fetchall()

    for table in TABLES:
        assert shape(table) == shape(f"{table}_20261122")


def test_there_is_no_default_partition(database: Database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
        database.connection.execute(
            """INSERT INTO rl_trades (market_ticker, sequence_number, trade_id, count, taker_side, is_block_trade,
                                      capture, frame_no, received_ns, sid, yes_price_e4)
               VALUES ('X', 1, 'x', 1, 'yes', false, 1, 1, 0, 1, 1)"""
        )


def test_an_open_reader_does_not_keep_a_new_day_out(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows])
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
        database.commit([following(rows, delta(4, "yes", 4200, 1, 200, received_ns=NOON_NS + 40 * DAY_NS))])
        assert reader.execute("SELECT count(*) FROM rl_orderbook_deltas").fetchone() == (2,)


def test_a_lock_that_does_not_come_is_for_another_time(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
    rows = first()
    database.commit([rows])
    behind = following(rows, delta(4, "yes", 4200, 1, 200, received_ns=NOON_NS + 40 * DAY_NS))
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE rl_orderbook_deltas IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(DatabaseAwayError, match="lock timeout"):
            database.commit([behind])
        other.rollback()
    database.commit([behind])
    assert database.committed(rows.capture) == 4


def test_old_days_are_dropped_beside_an_open_reader_of_new_ones(database: Database, database_url: str) -> None:
    rows = first()
    old = [delta(4 + back, "yes", 4200, 1, 200, received_ns=NOON_NS - back * DAY_NS) for back in (3, 2, 1)]
    database.commit([rows, following(rows, *old)])
    dropped = database.drop_days_before(date(2026, 11, 21))
    assert dropped == [partition_name(table, TODAY - back) for table in sorted(TABLES) for back in (3, 2)]
    assert days(database)[:2] == ["20261121", "20261122"]
    assert database.drop_days_before(date(2026, 11, 21)) == []
    found = database.connection.execute("SELECT count(*) FROM rl_orderbook_deltas WHERE market_ticker = %s", (MARKET,))
    assert found.fetchone() == (2,)


def detach_half(database: Database, database_url: str, table: str, name: str) -> None:
    """Leave a partition as a detaching does that is cancelled while it waits for a reader."""
    with psycopg.connect(database_url) as reader:
        reader.execute(f"SELECT count(*) FROM {table}".encode())
        database.connection.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.connection.execute(f"ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY".encode())
        database.connection.execute("SET statement_timeout = '60s'")


def test_a_day_that_is_half_detached_can_come_back(database: Database, database_url: str) -> None:
    rows = first()
    old = delta(4, "yes", 4200, 1, 200, received_ns=NOON_NS - 3 * DAY_NS)
    database.commit([rows, following(rows, old)])
    detach_half(database, database_url, "rl_trades", partition_name("rl_trades", TODAY - 3))
    again = first()
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as other:
        other.commit([again, following(again, old)])
    found = database.connection.execute("SELECT count(*) FROM rl_orderbook_deltas WHERE received_ns < %s", [NOON_NS])
    assert found.fetchone() == (2,)


def test_dropping_takes_up_what_was_left_half_done(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows, following(rows, delta(4, "yes", 4200, 1, 200, received_ns=NOON_NS - 3 * DAY_NS))])
    name = partition_name("rl_orderbook_deltas", TODAY - 3)
    database.connection.execute(
        f"ALTER TABLE rl_trades DETACH PARTITION {partition_name('rl_trades', TODAY - 3)}".encode()
    )
    detach_half(database, database_url, "rl_orderbook_deltas", name)
    assert set(database.drop_days_before(date(2026, 11, 20))) == {partition_name(table, TODAY - 3) for table in TABLES}
    assert days(database)[0] == "20261122"


def test_a_dropped_day_can_come_back(database: Database) -> None:
    rows = first()
    database.commit([rows])
    database.drop_days_before(date(2026, 11, 25))
    database.commit([following(rows, delta(4, "yes", 4200, 1, 200))])
    assert days(database)[0] == "20261122"
