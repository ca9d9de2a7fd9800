"""A store of an older version becomes what a new one is, with its data, its day partitions and what is half done."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.store import postgres
from rlflow.data.store.migrations import MIGRATIONS
from rlflow.data.store.partitions import DAY_NS, day_of, partition_name
from rlflow.data.store.postgres import Connection
from rlflow.data.store.schema import open_store, schema_script
from rlflow.errors import DatabaseAwayError
from tests.rows_by_hand import NOON_NS, first, following, trade

# From version 2 back to 1, as it was installed: in the order of columns and without anything new.
TO_1 = b"""
    DROP INDEX rl_trades_rest_idx;
    ALTER TABLE rl_trades DROP CONSTRAINT rl_trades_origin_frame_check;
    ALTER TABLE rl_trades DROP COLUMN origin;
    ALTER TABLE rl_trades ALTER COLUMN sequence_number SET NOT NULL;
    ALTER TABLE rl_trades ALTER COLUMN capture SET NOT NULL;
    ALTER TABLE rl_trades ALTER COLUMN frame_no SET NOT NULL;
    ALTER TABLE rl_trades ALTER COLUMN sid SET NOT NULL;
    DROP INDEX rl_feed_gaps_unfilled_idx;
    ALTER TABLE rl_feed_gaps DROP COLUMN filled_ns;
    ALTER TABLE rl_feed_gaps DROP COLUMN filled_trades;
    ALTER TABLE rl_markets DROP COLUMN yes_sub_title;
    ALTER TABLE rl_markets DROP COLUMN settlement_timer_s;
    ALTER TABLE rl_markets DROP COLUMN settled_ts_ms;
    DROP TABLE rl_fee_changes;
    UPDATE rl_meta SET schema_version = 1;
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with postgres.connect(database_url) as connection:
        yield connection


def connect(url: str, schema: str = "public") -> Database:
    return Database.connect(url, db_schema=schema, environment="sim", wall_ns=lambda: NOON_NS)


def shape(connection: Connection, schema: str) -> list[tuple[Any, ...]]:
    """Every column, constraint, index and comment of a schema's tables, partitions included."""
    found = connection.execute(
        """SELECT relname, 'column', format('%%s %%s %%s %%s %%s', attname, format_type(atttypid, atttypmod),
                  attnotnull, attgenerated, pg_get_expr(adbin, adrelid))
           FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           LEFT JOIN pg_attrdef ON adrelid = pg_class.oid AND adnum = attnum
           WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p')
           UNION ALL
           SELECT relname, 'place', string_agg(attname, ' ' ORDER BY attnum) FROM pg_class JOIN pg_attribute
               ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p') GROUP BY relname
           UNION ALL
           SELECT relname, 'constraint', conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
           FROM pg_class JOIN pg_constraint ON conrelid = pg_class.oid AND contype <> 'n'
           WHERE relnamespace = %(schema)s::regnamespace
           UNION ALL
           SELECT relname, 'index', regexp_replace(pg_get_indexdef(indexrelid), '^.* (ON|ON ONLY) \\S+ USING', '')
           FROM pg_class JOIN pg_index ON indrelid = pg_class.oid WHERE relnamespace = %(schema)s::regnamespace
           UNION ALL
           SELECT relname, 'comment', obj_description(oid) FROM pg_class
           WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p')
           ORDER BY 1, 2, 3""",
        {"schema": schema},
    ).fetchall()
    return [tuple(str(field).replace(f"{schema}.", "") for field in row) for row in found]


def test_a_store_of_version_1_becomes_what_a_new_one_is(database_url: str, connection: Connection) -> None:
    rows = first()
    behind = following(rows, trade(4))
    with connect(database_url) as database:
        database.commit([rows, behind])
    connection.execute(TO_1)
    with connect(database_url) as upgraded, connect(database_url, "fresh") as fresh:
        assert (shape(connection, "public"), len(MIGRATIONS)) == (shape(fresh.connection, "fresh"), 1)
        assert connection.execute("SELECT origin, count(*) FROM rl_trades GROUP BY 1").fetchall() == [("venue", 2)]
        upgraded.commit([following(behind, trade(5, received_ns=NOON_NS + 20 * DAY_NS))])
        assert audit(upgraded).is_clean
        assert connection.execute("SELECT schema_version FROM rl_meta").fetchone() == (1 + len(MIGRATIONS),)


def test_the_newest_script_is_what_the_migrations_lead_to_from_the_first(connection: Connection) -> None:
    connection.execute(schema_script().encode())
    connection.execute("INSERT INTO rl_meta (schema_version, environment) VALUES (2, 'sim')")
    before = shape(connection, "public")
    connection.execute(TO_1)
    assert shape(connection, "public") != before
    assert open_store(connection, db_schema="public", environment="sim").schema_version == 1 + len(MIGRATIONS)
    assert shape(connection, "public") == before


def test_a_partition_that_is_being_dropped_is_no_hindrance(database_url: str, connection: Connection) -> None:
    rows = first()
    with connect(database_url) as database:
        database.commit([rows, following(rows, trade(4, received_ns=NOON_NS - 3 * DAY_NS))])
    today, old = (partition_name("rl_trades", day_of(NOON_NS) - back) for back in (0, 3))
    connection.execute(TO_1)
    connection.execute(f"ALTER TABLE rl_trades DETACH PARTITION {today}".encode())
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_trades")
        connection.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(f"ALTER TABLE rl_trades DETACH PARTITION {old} CONCURRENTLY".encode())
    with connect(database_url) as upgraded:
        assert upgraded.connection.execute("SELECT count(*) FROM rl_trades").fetchone() == (1,)
        assert old in upgraded.drop_days_before(date(2026, 11, 20))


def test_a_reader_that_does_not_end_is_waited_for_only_so_long(database_url: str, connection: Connection) -> None:
    connect(database_url).close()
    connection.execute(TO_1)
    hasty = tuple(step.replace("lock_timeout = '5s'", "lock_timeout = '100ms'") for step in MIGRATIONS)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_trades")
        with pytest.raises(DatabaseAwayError, match="lock timeout"), postgres.translated():
            open_store(connection, db_schema="public", environment="sim", migrations=hasty)
    assert open_store(connection, db_schema="public", environment="sim").schema_version == 1 + len(MIGRATIONS)


@pytest.mark.parametrize(
    "values",
    ["'rest', NULL, NULL, NULL, NULL", "'venue', 1, 2, 3, 4"],
)
def test_a_trade_has_a_frame_or_comes_from_rest(database_url: str, values: str) -> None:
    insert = """INSERT INTO rl_trades (market_ticker, trade_id, count, taker_side, is_block_trade, received_ns,
                yes_price_e4, origin, capture, frame_no, sid, sequence_number)
                VALUES ('M', 't', 1, 'yes', false, %s, 5000, """
    with connect(database_url) as database:
        database.connection.execute(f"{insert}{values})".encode(), (NOON_NS,))
        mixed = values.replace("rest", "venue") if "rest" in values else values.replace("venue", "rest")
        with pytest.raises(psycopg.errors.CheckViolation, match="origin_frame"):
            database.connection.execute(f"{insert}{mixed})".encode(), (NOON_NS,))
