"""The embedded PostgreSQL: one server per data directory, shared by every rlflow process that needs it.

Two lock files stand beside the data. `start.lock` is held exclusively for the moment of starting or stopping.
`users.lock` is held shared by every process for as long as it uses the server; who leaves and then gets it exclusively
was the last one, and stops the server. The kernel drops the locks of a killed process, so a `kill -9` leaves at most a
running server, which the next process joins and the last one stops.

A server runs if it answers a connection. Process ids on disk are never trusted: after a crash they may be anybody's.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import psycopg
import structlog
from psycopg import errors, sql

from rlflow.data.embedded_files import MAJOR_VERSION, SYSTEM_DIRECTORY, Home, find_binaries, locate
from rlflow.data.embedded_server import Server
from rlflow.errors import DatabaseAwayError, StoreError

START_LIMIT_S = 300.0
_POLL_S = 0.05
_LOG = structlog.get_logger()


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
    """This process's hold on the embedded server; `release` ends it. Every method blocks: call them in a thread."""

    _server: Server
    _durable: bool
    _users_lock: int | None

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
        home = locate(data_dir, system_directory)
        hold = cls(Server(home, find_binaries(system_directory)), durable, None)
        hold.ensure_running()
        return hold

    def ensure_running(self) -> None:
        """Start the server again if it has died under us; raises as `start` does."""
        deadline = time.monotonic() + START_LIMIT_S
        with _exclusive(self._server.home, deadline):
            hold = self._users_lock
            if hold is None:
                hold = _open_lock(self._server.home, "users.lock")
            fcntl.flock(hold, fcntl.LOCK_SH)
            try:
                _run_server(self._server, durable=self._durable, deadline=deadline)
            except BaseException:
                if self._users_lock is None:
                    os.close(hold)
                raise
            self._users_lock = hold

    def url(self, database: str) -> str:
        """The address of a database, which is made if it is not there yet; DatabaseAwayError if none can be reached."""
        try:
            with self._server.connect() as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
                if found is None:
                    # Another process may be making it at this moment; either way it is there afterwards.
                    with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        except psycopg.OperationalError as error:
            raise DatabaseAwayError(f"the embedded database does not answer: {error}") from error
        return self._server.url(database)

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs (`psql`, `pg_dump`), to be run while this hold lasts."""
        return self._server.binaries / name

    def status(self) -> EmbeddedStatus:
        """Ask the server how it is."""
        home = self._server.home
        pid = self._server.recorded_pid() if self._server.is_answering() else None
        return EmbeddedStatus(home.directory, home.account.name, MAJOR_VERSION, pid)

    def release(self, *, delete: bool = False) -> None:
        """Let go of the server; the last process that does stops it. Harmless if repeated.

        Args:
            delete: the last one also deletes the server's files, for tests.
        """
        if self._users_lock is None:
            return
        hold, self._users_lock = self._users_lock, None
        try:
            with _exclusive(self._server.home, time.monotonic() + START_LIMIT_S):
                if not _try_lock(hold):
                    return
                if self._server.is_answering():
                    self._server.stop()
                if delete:
                    _delete(self._server.home)
        finally:
            os.close(hold)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _run_server(server: Server, *, durable: bool, deadline: float) -> None:
    version = server.home.data_version()
    if version is None:
        server.initialise(durable=durable, limit_s=deadline - time.monotonic())
    elif version != MAJOR_VERSION:
        raise StoreError(_upgrade_hint(server.home, version))
    while not server.is_answering():
        if time.monotonic() > deadline:
            raise StoreError(
                f"the embedded database did not answer within {START_LIMIT_S:.0f} s; see {server.home.log}"
            )
        if server.is_alive():
            # Recovering from a crash, or on its way out: both end.
            time.sleep(_POLL_S)
        else:
            _start_server(server, durable=durable, limit_s=deadline - time.monotonic())


def _start_server(server: Server, *, durable: bool, limit_s: float) -> None:
    server.forget_foreign_process()
    try:
        server.start(durable=durable, limit_s=limit_s)
    except StoreError:
        # The one that a killed process was just starting may have been faster.
        if not (server.is_answering() or server.is_alive()):
            raise


def _upgrade_hint(home: Home, version: int) -> str:
    return f"{home.data} was made by PostgreSQL {version}, this rlflow runs {MAJOR_VERSION}"


def _delete(home: Home) -> None:
    shutil.rmtree(home.sockets, ignore_errors=True)
    shutil.rmtree(home.directory)


@contextlib.contextmanager
def _exclusive(home: Home, deadline: float) -> Iterator[None]:
    lock = _open_lock(home, "start.lock")
    try:
        # flock has no time limit of its own.
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise StoreError(f"another process has held {home.directory / 'start.lock'} for too long")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(lock)


def _open_lock(home: Home, name: str) -> int:
    lock = os.open(home.directory / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = home.directory.stat()
        os.fchown(lock, owner.st_uid, owner.st_gid)
    return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
