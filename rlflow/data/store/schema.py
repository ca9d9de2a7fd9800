"""The tables' definition: found, installed into an empty schema, brought up to date, or refused.

`schema.sql` always describes the newest version. An older store is upgraded by `MIGRATIONS`, one step per version, in
one transaction with the version number. A newer one is refused: the code that wrote it knows something that we do not.
Tables of other people are none of our business, unless they have our names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import attrs
from psycopg import sql

from rlflow.data.store.migrations import MIGRATIONS
from rlflow.data.store.postgres import Connection, take_time
from rlflow.errors import StoreError

NEWEST_VERSION: Final = 1 + len(MIGRATIONS)

OLDEST_SERVER = 160_000
_PACKAGE = Path(__file__).parents[2]
_OTHER_PLACE = "set RL_DB_SCHEMA to another schema, or DATABASE_URL to another database"


@attrs.frozen
class Store:
    """What `rl_meta` says of a store."""

    store_id: UUID
    environment: str
    schema_version: int


def schema_script(package: Path = _PACKAGE) -> str:
    """Return the text of `schema.sql`: beside the modules in an installed wheel, else one above them in a checkout.

    An editable install has a copy beside the package's metadata too, which may be old and is not looked at.
    """
    for candidate in (package / "schema.sql", package.parent / "schema.sql"):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8")
    raise StoreError(f"schema.sql lies neither in {package} nor above it; install rlflow anew")


def open_store(
    connection: Connection,
    *,
    db_schema: str,
    environment: str,
    migrations: Sequence[str] = MIGRATIONS,
) -> Store:
    """Make the connection work in `db_schema`, with the newest tables in it, and return what store that is.

    Blocks while another process does the same. The connection must be in autocommit mode.

    Raises:
        StoreError: it is not a store of ours, a newer one, one of another environment, or PostgreSQL is too old.
    """
    _check_server(connection)
    use_schema(connection, db_schema)
    with connection.transaction():
        store = read_store(connection, db_schema)
        if store is None or store.schema_version <= len(migrations):
            _lock(connection, db_schema)
            store = _install_or_upgrade(connection, db_schema, environment, migrations)
    _check_store(store, db_schema, environment, newest=1 + len(migrations))
    return store


def _install_or_upgrade(connection: Connection, db_schema: str, environment: str, migrations: Sequence[str]) -> Store:
    """Do what is still to do now that nobody else can."""
    store = read_store(connection, db_schema)
    if store is None:
        if (
            connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (db_schema,)).fetchone()
            is None
        ):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(db_schema)))
        connection.execute(schema_script().encode())
        connection.execute(
            "INSERT INTO rl_meta (schema_version, environment) VALUES (%s, %s)", (1 + len(migrations), environment)
        )
    elif store.environment == environment:
        for version, script in enumerate(migrations[store.schema_version - 1 :], start=store.schema_version + 1):
            take_time(connection)
            connection.execute(script.encode())
            connection.execute("UPDATE rl_meta SET schema_version = %s", (version,))
    installed = read_store(connection, db_schema)
    assert installed is not None
    return installed


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise StoreError(f"PostgreSQL 16 or newer is needed, this is {connection.info.server_version // 10_000}")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(f"the database must have the encoding UTF8, not {encoding}")


def _check_store(store: Store, db_schema: str, environment: str, *, newest: int) -> None:
    if store.schema_version > newest:
        raise StoreError(
            f"schema {db_schema!r} has tables of version {store.schema_version}, this rlflow knows {newest}: "
            f"install a newer rlflow, or {_OTHER_PLACE}"
        )
    if store.environment != environment:
        raise StoreError(
            f"schema {db_schema!r} holds data of environment {store.environment!r}, not {environment!r}, "
            f"and they must not mix: {_OTHER_PLACE}"
        )


def use_schema(connection: Connection, db_schema: str) -> None:
    """Let the connection's names without a schema mean this one's, whether it exists or not."""
    connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(db_schema)))


def read_store(connection: Connection, db_schema: str) -> Store | None:
    """Return what `rl_meta` says, None where none of our tables is; StoreError where they are somebody else's."""
    tables = [
        name
        for (name,) in connection.execute(
            """SELECT relname FROM pg_catalog.pg_class AS class
               JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
               WHERE space.nspname = %s AND class.relname LIKE 'rl\\_%%' AND class.relkind IN ('r', 'p', 'v', 'm', 'f')
               ORDER BY relname""",
            (db_schema,),
        )
    ]
    if not tables:
        return None
    columns = connection.execute(
        """SELECT count(*) FROM information_schema.columns WHERE table_schema = %s AND table_name = 'rl_meta'
           AND column_name IN ('schema_version', 'store_id', 'environment')""",
        (db_schema,),
    ).fetchone()
    row = (
        connection.execute("SELECT store_id, environment, schema_version FROM rl_meta").fetchone()
        if columns == (3,)
        else None
    )
    if row is None:
        raise StoreError(f"table {tables[0]!r} in schema {db_schema!r} is not ours: {_OTHER_PLACE}")
    return Store(*row)


def _lock(connection: Connection, db_schema: str) -> None:
    """Wait until no other process installs or upgrades here; held until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('rlflow schema ' || %s, 0))", (db_schema,))
