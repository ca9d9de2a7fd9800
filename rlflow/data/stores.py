"""Where each environment's data is kept: a database of the embedded server each, or a schema each in the user's own.

Everything blocks; call it in a thread.
"""

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
from psycopg import sql

from rlflow.config import ENVIRONMENTS, Settings
from rlflow.data.database import Database
from rlflow.data.embedded.files import holds_data
from rlflow.data.embedded.programs import find_programs
from rlflow.data.embedded.shared_server import EmbeddedPostgres
from rlflow.data.store import postgres
from rlflow.errors import CommandError, DatabaseAwayError, Problem, SettingsError

ALL_ENVIRONMENTS = (*ENVIRONMENTS, "recordings")


@attrs.define
class Stores:
    """The databases that the settings lead to. Starts the embedded server when first needed; `close` lets it go."""

    settings: Settings
    _server: EmbeddedPostgres | None = None
    _is_closed: bool = attrs.field(default=False, init=False)
    # A check that was given up at a stop may still be in its thread, and must not start the server anew.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

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

    def program(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs (`psql`, `pg_dump`), to be run before `close`."""
        if self.settings.database_url is not None:
            return find_programs() / name
        return self._embedded().program(name)

    def existing(self) -> list[str]:
        """Return the environments that something is stored of. Starts no server that has nothing to say."""
        if self.settings.database_url is not None:
            schemas = {self.settings.schema_for(environment) for environment in ALL_ENVIRONMENTS}
            return _recorded(self.settings.database_url, schemas)
        try:
            if not holds_data(self.settings.data_dir):
                return []
        except OSError as error:
            raise self._unusable(error) from error
        with postgres.connect(self._embedded().url("postgres")) as connection, postgres.translated():
            databases = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        return [
            environment
            for name in ALL_ENVIRONMENTS
            if f"rlflow_{name}" in databases
            for environment in _recorded(self.address(name), [self.settings.schema_for(name)])
        ]

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
        with self._lock:
            self._is_closed = True
            if self._server is not None:
                self._server.release()
                self._server = None

    def _embedded(self) -> EmbeddedPostgres:
        with self._lock:
            return self._start_or_join()

    def _start_or_join(self) -> EmbeddedPostgres:
        if self._is_closed:
            raise DatabaseAwayError("the embedded database was let go")
        if self._server is None:
            try:
                self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(error) from error
            self._server = EmbeddedPostgres.start(self.settings.data_dir)
        else:
            self._server.ensure_running()
        return self._server

    def _unusable(self, error: OSError) -> SettingsError:
        problem = f"{self.settings.data_dir} cannot be used ({error.strerror}); name another directory"
        return SettingsError([Problem("RL_DATA_DIR", problem)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _recorded(url: str, schemas: Iterable[str]) -> list[str]:
    """Return what the stores in these schemas say that they are of, those without any capture left out."""
    with postgres.connect(url) as connection, postgres.translated():
        # By their columns too: an `rl_meta` may be anybody's.
        stores = connection.execute(
            """SELECT table_schema FROM information_schema.columns
               WHERE table_schema = ANY(%s) AND (table_name, column_name) IN
                     (('rl_meta', 'environment'), ('rl_captures', 'committed_frame'))
               GROUP BY table_schema HAVING count(*) = 2 ORDER BY table_schema""",
            [sorted(schemas)],
        ).fetchall()
        query = sql.SQL("SELECT environment FROM {} WHERE EXISTS (SELECT FROM {})")
        return [
            environment
            for (schema,) in stores
            for (environment,) in connection.execute(
                query.format(sql.Identifier(schema, "rl_meta"), sql.Identifier(schema, "rl_captures"))
            )
        ]
