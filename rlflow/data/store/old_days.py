"""Days gone by: nobody writes rows into them while they are being dropped.

Retention carries books over and then drops what they were made of. Rows that a writer catching up commits in between
would be in neither. So it waits, and with it nobody else: who records live writes rows of today.
"""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import LiteralString

from rlflow.data.store.postgres import Connection

_WRITE = "SELECT pg_advisory_lock_shared(hashtextextended('rlflow old days ' || current_schema(), 0))"
_WRITTEN = "SELECT pg_advisory_unlock_shared(hashtextextended('rlflow old days ' || current_schema(), 0))"
_DROP = "SELECT pg_advisory_lock(hashtextextended('rlflow old days ' || current_schema(), 0))"
_DROPPED = "SELECT pg_advisory_unlock(hashtextextended('rlflow old days ' || current_schema(), 0))"


@contextmanager
def writing(connection: Connection, days: Set[int], *, today: int) -> Iterator[None]:
    """Write rows of these UTC days; waits for who drops days if one of them is before `today`.

    Raises:
        psycopg.errors.QueryCanceled: waited for as long as a statement may take.
    """
    if min(days, default=today) >= today:
        yield
        return
    with _locked(connection, _WRITE, _WRITTEN):
        yield


@contextmanager
def dropping(connection: Connection) -> Iterator[None]:
    """Drop days; waits until those who write rows of such days have committed them.

    Raises:
        psycopg.errors.LockNotAvailable: the connection's lock timeout has passed.
    """
    with _locked(connection, _DROP, _DROPPED):
        yield


@contextmanager
def _locked(connection: Connection, lock: LiteralString, unlock: LiteralString) -> Iterator[None]:
    connection.execute(lock)
    try:
        yield
    finally:
        # With a connection that broke the lock went, too.
        if not connection.closed:
            connection.execute(unlock)
