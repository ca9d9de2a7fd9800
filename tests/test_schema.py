"""Installing, upgrading and refusing stores."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

import rlflow
from rlflow.data.database import Database
from rlflow.data.store import postgres
from rlflow.data.store.postgres import Connection
from rlflow.data.store.schema import Store, open_store, schema_script
from rlflow.errors import StoreError
from tests.rows_by_hand import first

ROOT = Path(rlflow.__file__).parent.parent


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with postgres.connect(database_url) as connection:
        yield connection


def tables(connection: Connection, schema: str = "public") -> set[str]:
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))
    return {name for (name,) in found}


def opened(
    connection: Connection, *, schema: str = "public", environment: str = "sim", steps: tuple[str, ...] = ()
) -> Store:
    return open_store(connection, db_schema=schema, environment=environment, migrations=steps)


def test_the_tables_go_into_an_empty_schema(connection: Connection) -> None:
    store = opened(connection)
    assert (store.environment, store.schema_version) == ("sim", 1)
    assert {"rl_meta", "rl_captures", "rl_orderbook_snapshots", "rl_orderbook_deltas", "rl_trades"} <= tables(
        connection
    )
    assert {"rl_models", "rl_trading_episodes", "rl_trading_actions", "rl_markets"} <= tables(connection)
    assert opened(connection) == store


def test_the_users_columns_are_all_there(connection: Connection) -> None:
    opened(connection)
    wanted = {
        "rl_orderbook_snapshots": "id market_ticker timestamp_ms sequence_number yes_bids yes_asks no_bids no_asks "
        "yes_spread no_spread yes_mid_price no_mid_price",
        "rl_orderbook_deltas": "id market_ticker timestamp_ms sequence_number side action price old_size new_size",
        "rl_models": "id model_name version algorithm market_ticker hyperparameters training_metrics status",
        "rl_trading_episodes": "id model_id episode_number market_ticker total_return sharpe_ratio max_drawdown",
        "rl_trading_actions": "id episode_id action_timestamp_ms step_number action_type price quantity "
        "position_before position_after",
    }
    for table, columns in wanted.items():
        found = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
            (table,),
        ).fetchall()
        assert [name for (name,) in found][: len(columns.split())] == columns.split()


def test_every_table_says_what_it_is(connection: Connection) -> None:
    opened(connection)
    silent = connection.execute(
        """SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
           AND obj_description(oid) IS NULL"""
    ).fetchall()
    assert silent == []


def test_an_awkward_schema_name_is_made_and_used(connection: Connection) -> None:
    name = 'My "Data", 1'
    store = opened(connection, schema=name)
    assert "rl_meta" in tables(connection, name)
    assert not tables(connection)
    assert opened(connection, schema=name) == store


def test_two_schemas_of_one_database_are_two_stores(database_url: str) -> None:
    with (
        Database.connect(database_url, db_schema="one", environment="sim") as one,
        Database.connect(database_url, db_schema="two", environment="replay") as two,
    ):
        assert one.store_id != two.store_id
        rows = first()
        one.commit([rows])
        assert (one.committed(rows.capture), two.committed(rows.capture)) == (3, None)


def test_other_peoples_tables_are_left_alone(connection: Connection) -> None:
    connection.execute("CREATE TABLE orders (id int)")
    opened(connection)
    assert "orders" in tables(connection)


@pytest.mark.parametrize(
    "foreign",
    ["CREATE TABLE rl_models (id int)", "CREATE TABLE rl_meta (id int)", "CREATE VIEW rl_own_view AS SELECT 1 AS one"],
)
def test_tables_with_our_names_that_are_not_ours_are_refused(connection: Connection, foreign: str) -> None:
    connection.execute(foreign.encode())
    before = tables(connection)
    with pytest.raises(StoreError, match="RL_DB_SCHEMA"):
        opened(connection)
    assert tables(connection) == before


def test_another_environment_is_refused(connection: Connection) -> None:
    opened(connection, environment="prod")
    with pytest.raises(StoreError, match=r"'prod', not 'sim'.*RL_DB_SCHEMA"):
        opened(connection)


def test_an_unknown_environment_is_refused_by_the_table(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        opened(connection, environment="production")
    assert not tables(connection)


STEPS = ("ALTER TABLE rl_markets ADD COLUMN first_new text", "ALTER TABLE rl_markets RENAME first_new TO second_new")


def test_an_older_store_is_upgraded_step_by_step(connection: Connection) -> None:
    old = opened(connection)
    new = opened(connection, steps=STEPS)
    assert (new.store_id, new.schema_version) == (old.store_id, 3)
    connection.execute("SELECT second_new FROM rl_markets")
    assert opened(connection, steps=STEPS) == new


def test_an_upgrade_goes_on_where_the_store_stands(connection: Connection) -> None:
    opened(connection)
    opened(connection, steps=STEPS[:1])
    assert opened(connection, steps=STEPS).schema_version == 3
    connection.execute("SELECT second_new FROM rl_markets")


def test_a_failing_upgrade_changes_nothing(connection: Connection) -> None:
    opened(connection)
    with pytest.raises(psycopg.errors.SyntaxError):
        opened(connection, steps=(STEPS[0], "no SQL"))
    assert opened(connection).schema_version == 1


def test_a_store_of_another_environment_is_not_upgraded(connection: Connection) -> None:
    opened(connection, environment="prod")
    with pytest.raises(StoreError):
        opened(connection, steps=STEPS)
    assert opened(connection, environment="prod").schema_version == 1


def test_a_newer_store_is_refused(connection: Connection) -> None:
    opened(connection, steps=STEPS)
    with pytest.raises(StoreError, match=r"version 3, this rlflow knows 1"):
        opened(connection)


def test_processes_that_install_at_once_get_one_store(database_url: str) -> None:
    found: list[Store] = []

    def install() -> None:
        with postgres.connect(database_url) as connection:
            found.append(opened(connection, schema="shared"))

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_script_is_found_in_a_wheel_and_in_a_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "rlflow").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"schema\.sql"):
        schema_script(checkout / "rlflow")
    shutil.copy(ROOT / "schema.sql", checkout)
    assert schema_script(checkout / "rlflow") == (ROOT / "schema.sql").read_text()
    (checkout / "rlflow" / "schema.sql").write_text("of the wheel")
    assert schema_script(checkout / "rlflow") == "of the wheel"


def test_a_database_without_utf8_is_refused(postgres_url: str) -> None:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode())
        try:
            url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
            with postgres.connect(url) as connection, pytest.raises(StoreError, match="UTF8, not LATIN1"):
                opened(connection)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
