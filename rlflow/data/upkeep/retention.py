"""Old days leave the store, whole, and nobody waits for it but who still writes rows of such days.

A day is dropped as the partitions of its tables, never row by row. Before that, every book that goes on into the days
that stay is stored as a checkpoint at their beginning: so every moment of them can still be rebuilt, and a capture that
is open can still be resumed, though its book may not have changed for days. After it goes what was about the dropped
days only: gaps, rejected frames, and in the end captures. Frames that are committed after their day has gone are
carried over as well, when the day goes again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Final

import attrs

from rlflow.data.database import Database
from rlflow.data.store import old_days
from rlflow.data.store.captures import CaptureRecord, cover
from rlflow.data.store.copy_text import COPY_TARGETS
from rlflow.data.store.partitions import DAY_NS, sizes_before
from rlflow.data.store.postgres import Connection, translated
from rlflow.data.store.stored_books import books_at
from rlflow.errors import CommandError
from rlflow.session.rows import SnapshotRow
from rlflow.units import Nanos

# Whoever comes behind a waiting lock waits as well: so it is given up soon, and tried again later.
LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "15s"

# The row of a capture is small, and the journal may still hold its frames: without the row they would come back at the
# next start. One frame in ten seconds makes the two segments that always stay last longer than this; they would be
# written and dropped again then.
CAPTURE_MARGIN_DAYS: Final = 30

_EPOCH = date(1970, 1, 1)

# Until the end of the session, which is the retention's own.
_PATIENCE = "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)"
_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('rlflow retention ' || current_schema(), 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('rlflow retention ' || current_schema(), 0))"

_LAST_FRAME = b"""
    SELECT greatest(
        (SELECT frame_no FROM rl_orderbook_deltas WHERE capture = %(key)s AND received_ns < %(before_ns)s
         ORDER BY frame_no DESC LIMIT 1),
        (SELECT frame_no FROM rl_orderbook_snapshots WHERE capture = %(key)s AND received_ns < %(before_ns)s
         ORDER BY frame_no DESC LIMIT 1),
        (SELECT max(frame_no) FROM rl_feed_gaps WHERE capture = %(key)s AND received_ns < %(before_ns)s))"""

# The markets that had a book by then, but for those that an earlier attempt has carried over since the last frame.
_MARKETS = b"""
    SELECT market_ticker FROM rl_orderbook_snapshots WHERE capture = %(key)s AND received_ns <= %(before_ns)s
    EXCEPT
    SELECT market_ticker FROM rl_orderbook_snapshots
    WHERE capture = %(key)s AND received_ns = %(before_ns)s AND origin = 'checkpoint' AND frame_no >= %(frame)s"""

# What an earlier attempt has carried over, when frames of before have come since.
_DROP_STALE = b"""
    DELETE FROM rl_orderbook_snapshots
    WHERE capture = %(key)s AND received_ns = %(before_ns)s AND origin = 'checkpoint'
      AND market_ticker = ANY(%(tickers)s)"""

# A gap that is open goes with its capture. What ended later is still to be seen from the days that stay.
_DROP_GAPS = b"""
    DELETE FROM rl_feed_gaps AS g USING rl_captures AS c
    WHERE c.capture = g.capture AND g.received_ns < %(before_ns)s
      AND CASE WHEN g.to_ns IS NULL THEN c.last_received_ns < %(before_ns)s AND c.closed_ns IS NOT NULL
               ELSE g.to_ns < %(before_ns)s END"""

# Only of captures whose rows of that time are gone too: the audit counts the frames of all others.
_DROP_REJECTED = b"""
    DELETE FROM rl_rejected_frames AS r USING rl_captures AS c
    WHERE c.capture = r.capture AND r.received_ns < %(before_ns)s AND c.rows_from_ns < %(before_ns)s"""

_OLD_CAPTURES = b"""
    SELECT capture FROM rl_captures AS c
    WHERE closed_ns IS NOT NULL AND last_received_ns < %(captures_before_ns)s
      AND (rows_to_ns IS NULL OR rows_to_ns <= %(captures_before_ns)s)
      AND NOT EXISTS (SELECT FROM rl_trading_actions AS a WHERE a.capture = c.capture)"""
_DROP_WITH_CAPTURE = (
    b"DELETE FROM rl_feed_gaps WHERE capture = ANY(%(keys)s)",
    b"DELETE FROM rl_rejected_frames WHERE capture = ANY(%(keys)s)",
    b"DELETE FROM rl_captures WHERE capture = ANY(%(keys)s)",
)


@attrs.frozen
class RetentionPlan:
    """What is too old."""

    before: date
    """The first UTC day that stays."""
    partitions: tuple[str, ...]
    bytes: int
    """Of the partitions with their indexes."""
    captures: int


@attrs.frozen
class Retired:
    """What has gone."""

    partitions: tuple[str, ...]
    carried_over: int
    """Books stored as they were when the first day that stays began."""
    gaps: int
    rejected: int
    captures: int


def first_day_kept(now_ns: Nanos, keep_days: int) -> date:
    """Return the first UTC day to keep, so that so many whole days stay besides today."""
    return datetime.fromtimestamp(now_ns // 10**9, UTC).date() - timedelta(days=keep_days)


def plan_retention(database: Database, before: date) -> RetentionPlan:
    """Return what `retire` would take away."""
    connection = database.connection
    with translated():
        sizes = sizes_before(connection, before)
        captures = connection.execute(_OLD_CAPTURES, _where(before)).fetchall()
    return RetentionPlan(before, tuple(sizes), sum(sizes.values()), len(captures))


def retire(database: Database, before: date) -> Retired:
    """Take away what was received on UTC days before this one; takes up what an earlier attempt left half done.

    For a connection of its own: it has little patience afterwards.

    Raises:
        DatabaseAwayError: something holds a lock, or a reader a transaction, for long; try again later.
        CommandError: another process is at it.
    """
    connection = database.connection
    with translated(), _alone(connection):
        # Nearly all of it here, where nobody waits for it.
        carried_over = _carry_over(database, before)
        connection.execute(_PATIENCE, (LOCK_TIMEOUT, STATEMENT_TIMEOUT))
        with old_days.dropping(connection):
            carried_over += _carry_over(database, before)
            partitions = database.drop_days_before(before)
        with connection.transaction():
            gaps = connection.execute(_DROP_GAPS, _where(before)).rowcount
            rejected = connection.execute(_DROP_REJECTED, _where(before)).rowcount
            captures = [key for (key,) in connection.execute(_OLD_CAPTURES, _where(before))]
            for statement in _DROP_WITH_CAPTURE:
                connection.execute(statement, {"keys": captures})
    return Retired(tuple(partitions), carried_over, gaps, rejected, len(captures))


def _where(before: date) -> dict[str, Nanos]:
    day = (before - _EPOCH).days
    return {"before_ns": day * DAY_NS, "captures_before_ns": (day - CAPTURE_MARGIN_DAYS) * DAY_NS}


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Keep other processes from doing the same."""
    if connection.execute(_LOCK).fetchone() != (True,):
        raise CommandError("another process is taking old days away at this moment")
    yield
    connection.execute(_UNLOCK)


def _carry_over(database: Database, before: date) -> int:
    """Store the books that go on behind the first moment to keep, if any day is to go; return how many."""
    if not sizes_before(database.connection, before):
        return 0
    before_ns = _where(before)["before_ns"]
    database.make_days([before])
    count = 0
    for record in database.captures():
        # Of a sampled capture no book is known between snapshots.
        if record.rows_from_ns is None or record.rows_from_ns >= before_ns or record.opened.sample_rate > 1:
            continue
        if record.closed is None or record.last_received_ns >= before_ns:
            count += _carry_capture(database.connection, record, before_ns)
    return count


def _carry_capture(connection: Connection, record: CaptureRecord, before_ns: Nanos) -> int:
    where: dict[str, object] = {"key": record.key, "before_ns": before_ns}
    with connection.transaction():
        found = connection.execute(_LAST_FRAME, where).fetchone()
        if found is None or found[0] is None:
            return 0
        where["frame"] = frame = found[0]
        where["tickers"] = tickers = [ticker for (ticker,) in connection.execute(_MARKETS, where)]
        books = books_at(connection, record.where, tickers, frame).values() if tickers else ()
        # At the last frame of the days that go, but received when the first day to keep begins.
        rows = [book.checkpoint(frame, before_ns) for book in books if book.cause is None]
        connection.execute(_DROP_STALE, where)
        if rows:
            # Nothing else of the capture may be of that day, or of any since.
            cover(connection, record.key, before_ns)
            _store(connection, record.key, rows)
    return len(rows)


def _store(connection: Connection, key: int, rows: Iterable[SnapshotRow]) -> None:
    (target,) = (target for target in COPY_TARGETS if target.rows == "snapshots")
    with connection.cursor().copy(target.statement) as copy:
        copy.write(target.format_block(list(rows), key))
