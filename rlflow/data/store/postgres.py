"""Connections to PostgreSQL that cannot hang for ever, and its errors as ours."""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from rlflow.errors import DatabaseAwayError, StoreError

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 60_000
ANSWER_LIMIT_S = 75.0
"""The server ends a statement before this. One that has not answered by then hangs, or something between us does."""


class RowRefusedError(Exception):
    """PostgreSQL does not accept the content of a row; nothing was written."""


class _BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for no answer for ever; keep-alives show only that the peer's kernel lives."""

    is_patient = False
    """Whether this transaction may take as long as it must."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the server; a connection whose answer did not come in time is closed, since it may still come."""
        self.is_patient = self.is_patient and self.pgconn.transaction_status != TransactionStatus.IDLE
        if self.is_patient or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_LIMIT_S)
        except errors._WaitTimeout:  # the only name it has
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {ANSWER_LIMIT_S:g} s") from None


def connect(url: str) -> Connection:
    """Return a new connection in autocommit mode whose every wait is bounded.

    Raises:
        DatabaseAwayError: it cannot be reached now.
    """
    with translated():
        connection = _BoundedConnection.connect(
            url,
            autocommit=True,
            application_name="rlflow",
            client_encoding="utf8",
            connect_timeout=CONNECT_TIMEOUT_S,
            # A line that went dead is noticed within some 25 s, whether nothing is on it or only bytes of ours.
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=25_000,
        )
        # Not as start-up options: those belong to the address, where some hosters want their own.
        connection.execute(
            # The server notices a host that died as soon as we notice its death: locks end with their connection.
            """SELECT set_config('statement_timeout', %s, false), set_config('synchronous_commit', 'on', false),
                      set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
                      set_config('tcp_keepalives_count', '3', false)""",
            (str(STATEMENT_TIMEOUT_MS),),
        )
    return connection


def take_time(connection: Connection) -> None:
    """Let the statements of the transaction that the connection is in take as long as they must."""
    connection.execute("SET LOCAL statement_timeout = 0")
    if isinstance(connection, _BoundedConnection):
        connection.is_patient = True


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours; those that show a bug of ours stay what they are."""
    try:
        yield
    except psycopg.Error as error:
        # Classes of PostgreSQL's appendix A: data exception, integrity violation, a limit of the program exceeded.
        if (error.sqlstate or "")[:2] in {"22", "23", "54"}:
            raise RowRefusedError(_first_line(error)) from error
        if isinstance(error, psycopg.OperationalError | errors.ReadOnlySqlTransaction):
            raise DatabaseAwayError(_first_line(error)) from error
        if isinstance(error, psycopg.ProgrammingError | psycopg.InternalError | psycopg.NotSupportedError):
            raise StoreError(f"PostgreSQL: {_first_line(error)}") from error
        raise


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
