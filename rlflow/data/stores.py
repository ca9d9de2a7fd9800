"""Where each environment's data is kept: a database of the embedded server each, or a schema each in the user's own.

Everything blocks; call it in a thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import psycopg
from psycopg import sql

from rlflow.config import ENVIRONMENTS, Settings
from rlflow.data.database import Database
from rlflow.data.embedded import EmbeddedPostgres
from rlflow.errors import CommandError, DatabaseAwayError

ALL_ENVIRONMENTS = (*ENVIRONMENTS, "recordings")


@attrs.define
class Stores:
    """The databases that the settings lead to. Starts the embedded server when first needed; `close` lets it go."""

    settings: Settings
    _server: EmbeddedPostgres | None = None

    def connect(self, environment: str) -> Database:
        """Connect to the store of an environment, making it where needed.

        Raises:
            DatabaseAwayError: it cannot be reached now.
            StoreError: it is there but not one that we may write to.
        """
        return Database.connect(
            self.address(environment), db_schema=self.settings.schema_for(environment), environment=environment
        )

    def address(self, environment: str) -> str:
        """Return the PostgreSQL address of an environment's database."""
        if self.settings.database_url is not None:
            return self.settings.database_url
        return self._embedded().url(f"rlflow_{environment}")

    def existing(self) -> list[str]:
        """Return the environments that have a store already."""
        if self.settings.database_url is not None:
            return _environments(self.settings.database_url, {self.settings.schema_for(e) for e in ALL_ENVIRONMENTS})
        with _connection(self._embedded().url("postgres")) as connection:
            found = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        return [environment for environment in ALL_ENVIRONMENTS if f"rlflow_{environment}" in found]

    def choose(self, environment: str | None) -> str:
        """Return the environment to read: the one asked for, else the only one there is.

        Raises:
            CommandError: there is none, or more than one to choose from.
        """
        found = self.existing()
        if environment is not None:
            if environment not in found:
                raise CommandError(f"nothing is stored for {environment}; stored: {', '.join(found) or 'nothing'}", 1)
            return environment
        if len(found) != 1:
            what = (
                f"there are several stores: choose with --env {'|'.join(found)}" if found else "nothing is stored yet"
            )
            raise CommandError(what, 2 if found else 1)
        return found[0]

    def close(self) -> None:
        """Let the embedded server go; whoever is the last to do so stops it."""
        if self._server is not None:
            self._server.release()
            self._server = None

    def _embedded(self) -> EmbeddedPostgres:
        if self._server is None:
            directory: Path = self.settings.data_dir
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._server = EmbeddedPostgres.start(directory)
        else:
            self._server.ensure_running()
        return self._server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environments(url: str, schemas: set[str]) -> list[str]:
    """Return what the stores in these schemas say that they are of."""
    with _connection(url) as connection:
        query = "SELECT schemaname FROM pg_catalog.pg_tables WHERE tablename = 'rl_meta' AND schemaname = ANY(%s)"
        found = [schema for (schema,) in connection.execute(query, [sorted(schemas)]).fetchall()]
        return [
            environment
            for schema in found
            for (environment,) in connection.execute(
                sql.SQL("SELECT environment FROM {}").format(sql.Identifier(schema, "rl_meta"))
            )
        ]


@contextmanager
def _connection(url: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise DatabaseAwayError(f"the database does not answer: {error}") from error
