"""Connections to PostgreSQL that cannot hang for ever, and its errors as ours."""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import errors

from rlflow.errors import DatabaseAwayError, StoreError

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 60_000


class RowRefusedError(Exception):
    """PostgreSQL does not accept the content of a row; nothing was written."""


def connect(url: str) -> Connection:
    """Return a new connection in autocommit mode whose every wait is bounded.

    Raises:
        DatabaseAwayError: it cannot be reached now.
    """
    with translated():
        connection = psycopg.connect(
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
            "SELECT set_config('statement_timeout', %s, false), set_config('synchronous_commit', 'on', false)",
            (str(STATEMENT_TIMEOUT_MS),),
        )
    return connection


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
