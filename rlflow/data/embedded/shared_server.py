"""The embedded PostgreSQL: one server per data directory, shared by every rlflow process that needs it.

The first process to come starts the server, the last to leave stops it. A `kill -9` leaves at most a running server,
which the next process joins and the last one stops; a killed server starts again and recovers. A server runs if it
answers a connection: process ids on disk are never trusted, because after a crash they may be anybody's.

`files` says where its files are, `programs` where its programs are, `locks` who uses it; `server` runs the programs.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import psycopg
from psycopg import errors, sql

from rlflow.data.embedded.files import MAJOR_VERSION, SYSTEM_DIRECTORY, locate
from rlflow.data.embedded.locks import Hold, starting_or_stopping
from rlflow.data.embedded.programs import find_programs
from rlflow.data.embedded.server import Server
from rlflow.errors import DatabaseAwayError, StoreError

# A recovery after a crash under full load has to fit.
START_LIMIT_S = 300.0
# Who is at it for longer than this is starting the server, and becomes its user.
_LEAVE_LIMIT_S = 5.0
_POLL_S = 0.05


@attrs.frozen
class EmbeddedStatus:
    """What the embedded server is doing, for the health page and for people."""

    directory: Path
    """Everything of this server lies in here."""
    account: str
    """Who the server runs as."""
    version: int
    """PostgreSQL's major version."""
    process_id: int | None
    """The server's process, None while it does not answer."""


@attrs.define
class EmbeddedPostgres:
    """One use of the embedded server; `release` ends it. Every method blocks: call them in a thread, one at a time."""

    _server: Server
    _durable: bool
    _hold: Hold | None = None

    @classmethod
    def start(cls, data_dir: Path, *, durable: bool = True, system_directory: Path = SYSTEM_DIRECTORY) -> Self:
        """Join the server of a data directory, starting it, and making its data, where needed.

        Takes a fraction of a second, some seconds the first time, and 300 s at most.

        Args:
            data_dir: rlflow's data directory.
            durable: False leaves out fsync, for tests only. Decided by whoever starts the server.
            system_directory: where root's files go if the server's account cannot get into `data_dir`.

        Raises:
            StoreError: it cannot be started, or its data was made by another version of PostgreSQL.
        """
        with _translated():
            server = Server(locate(data_dir, system_directory), find_programs(system_directory))
        embedded = cls(server, durable)
        embedded.ensure_running()
        return embedded

    def ensure_running(self) -> None:
        """Start the server again if it has died under us, or was released; raises as `start` does."""
        if self._hold is not None and self._server.is_answering():
            return
        deadline = time.monotonic() + START_LIMIT_S
        home = self._server.home
        with _translated(), starting_or_stopping(home, limit_s=START_LIMIT_S) as lock:
            hold = self._hold or Hold(home)
            try:
                _ensure_data(self._server, durable=self._durable, deadline=deadline, lock=lock)
                _run_server(self._server, durable=self._durable, deadline=deadline)
            except BaseException:
                if hold is not self._hold:
                    hold.leave()
                raise
            self._hold = hold

    def url(self, database: str) -> str:
        """The address of a database, which is made if it is not there yet; DatabaseAwayError if none can be reached."""
        try:
            with _translated(), self._server.connect() as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
                if found is None:
                    # Another process may be making it at this moment; either way it is there afterwards.
                    with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        except psycopg.OperationalError as error:
            raise DatabaseAwayError(f"the embedded database does not answer: {error}") from error
        return self._server.url(database)

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs (`psql`, `pg_dump`), to be run while this use lasts."""
        return self._server.programs / name

    def status(self) -> EmbeddedStatus:
        """Ask the server how it is."""
        home = self._server.home
        pid = self._server.recorded_pid() if self._server.is_answering() else None
        return EmbeddedStatus(home.directory, home.account.name, MAJOR_VERSION, pid)

    def release(self, *, delete: bool = False) -> None:
        """Let go of the server; the last process that does stops it. Harmless if repeated.

        Args:
            delete: the last one also deletes the data, for tests.
        """
        if self._hold is None:
            return
        hold, self._hold = self._hold, None
        home = self._server.home
        try:
            with contextlib.suppress(TimeoutError), starting_or_stopping(home, limit_s=_LEAVE_LIMIT_S):
                if hold.is_last():
                    _end_server(self._server, delete=delete)
        finally:
            hold.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _ensure_data(server: Server, *, durable: bool, deadline: float, lock: int) -> None:
    data = server.home.find_data()
    if data is None:
        server.initialise(durable=durable, limit_s=deadline - time.monotonic(), lock=lock)
    elif (version := (data / "PG_VERSION").read_text().strip()) != str(MAJOR_VERSION):
        aside = data.with_name(f"version-{version}")
        raise StoreError(
            f"{data} was made by PostgreSQL {version}, and this rlflow runs {MAJOR_VERSION}. To upgrade it, run "
            f"`rlflow db dump --env ENV > ENV.sql` for each store with the rlflow that made it, `mv {data} {aside}`, "
            "and `rlflow db psql --env ENV < ENV.sql` with this one"
        )


def _run_server(server: Server, *, durable: bool, deadline: float) -> None:
    while not server.is_answering():
        if time.monotonic() > deadline:
            raise StoreError(f"the embedded database did not answer in {START_LIMIT_S:.0f} s; see {server.home.log}")
        if server.is_alive():
            # Recovering from a crash, or on its way out: both end.
            time.sleep(_POLL_S)
        else:
            _start_server(server, durable=durable, limit_s=deadline - time.monotonic())


def _start_server(server: Server, *, durable: bool, limit_s: float) -> None:
    server.forget_foreign_processes()
    try:
        server.start(durable=durable, limit_s=limit_s)
    except StoreError:
        # The one that a killed process was just starting may have been faster.
        if not (server.is_answering() or server.is_alive()):
            raise


def _end_server(server: Server, *, delete: bool) -> None:
    if server.is_alive():
        server.stop()
    if delete:
        # The locks stay: somebody may be waiting for them at this moment.
        shutil.rmtree(server.home.data, ignore_errors=True)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StoreError(f"the embedded database did not start in {START_LIMIT_S:.0f} s: {error}") from error
    except OSError as error:
        raise StoreError(f"the embedded database cannot use its files: {error}") from error
