"""The rows of `rl_captures`: begun, moved on from one committed frame to the next, and read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import attrs
import msgspec

from rlflow.data.store.copy_text import json_text, storable
from rlflow.data.store.partitions import DAY_NS, day_of
from rlflow.data.store.postgres import Connection
from rlflow.data.store.stored_books import StoredCapture
from rlflow.errors import OtherWriterError
from rlflow.session.records import Closed, Opened
from rlflow.session.rows import Counts, ResumeState, Rows
from rlflow.units import Nanos

_BEGIN: Final = """
    INSERT INTO rl_captures (
        capture_id, url, use_yes_price, legacy, sparse_seq, sample_rate, tickers, opened_ns,
        committed_frame, last_received_ns, resume_state,
        stored, control, duplicate, unknown, rejected, sampled_out, dropped,
        closed_ns, closed_cause, closed_code, is_complete, rows_from_ns, rows_to_ns)
    VALUES (
        %(capture)s, %(url)s, %(use_yes_price)s, %(legacy)s, %(sparse_seq)s, %(sample_rate)s, %(tickers)s,
        %(opened_ns)s, %(upto_frame)s, %(received_ns)s, %(resume_state)s::jsonb,
        %(stored)s, %(control)s, %(duplicate)s, %(unknown)s, %(rejected)s, %(sampled_out)s, %(dropped)s,
        %(closed_ns)s, %(closed_cause)s, %(closed_code)s, %(is_complete)s, %(rows_from_ns)s, %(rows_to_ns)s)
    ON CONFLICT (capture_id) DO NOTHING
    RETURNING capture"""

_ADVANCE: Final = """
    UPDATE rl_captures SET
        committed_frame = %(upto_frame)s, last_received_ns = %(received_ns)s, resume_state = %(resume_state)s::jsonb,
        stored = stored + %(stored)s, control = control + %(control)s, duplicate = duplicate + %(duplicate)s,
        unknown = unknown + %(unknown)s, rejected = rejected + %(rejected)s,
        sampled_out = sampled_out + %(sampled_out)s, dropped = dropped + %(dropped)s,
        closed_ns = coalesce(%(closed_ns)s, closed_ns), closed_cause = coalesce(%(closed_cause)s, closed_cause),
        closed_code = coalesce(%(closed_code)s, closed_code), is_complete = coalesce(%(is_complete)s, is_complete),
        rows_from_ns = least(rows_from_ns, %(rows_from_ns)s), rows_to_ns = greatest(rows_to_ns, %(rows_to_ns)s)
    WHERE capture_id = %(capture)s AND committed_frame = %(after_frame)s
    RETURNING capture"""

_READ: Final = """
    SELECT capture, capture_id, url, use_yes_price, legacy, sparse_seq, sample_rate, tickers,
           opened_ns, committed_frame, last_received_ns, closed_ns, closed_cause, closed_code, is_complete,
           stored, control, duplicate, unknown, rejected, sampled_out, dropped, rows_from_ns, rows_to_ns
    FROM rl_captures WHERE %(capture)s::uuid IS NULL OR capture_id = %(capture)s
    ORDER BY opened_ns, capture"""

_COVER: Final = "UPDATE rl_captures SET rows_to_ns = greatest(rows_to_ns, %s) WHERE capture = %s"


@attrs.frozen
class CaptureRecord:
    """One capture as the store has it."""

    key: int
    """The number that stands for the capture in rows."""
    capture: UUID
    opened: Opened
    opened_ns: Nanos
    committed_frame: int
    last_received_ns: Nanos
    closed: Closed | None
    """None while it is open, or was never seen to end."""
    closed_ns: Nanos | None
    counts: Counts
    """What became of the frames up to `committed_frame`."""
    rows_from_ns: Nanos | None
    """The receive times of its rows lie in [rows_from_ns, rows_to_ns), whole UTC days; None: it has no rows."""
    rows_to_ns: Nanos | None

    @property
    def local_records(self) -> int:
        """How many numbers up to `committed_frame` were no frames but notes of ours, such as closed."""
        return self.committed_frame - self.counts.total()

    @property
    def where(self) -> StoredCapture:
        """What finding its rows takes."""
        return StoredCapture(
            key=self.key,
            capture=self.capture,
            sample_rate=self.opened.sample_rate,
            committed_frame=self.committed_frame,
            rows_from_ns=self.rows_from_ns or 0,
            rows_to_ns=self.rows_to_ns or 0,
        )


def days_of(rows: Rows) -> set[int]:
    """Return the UTC days of the rows' partitions."""
    parts = (rows.snapshots, rows.deltas, rows.trades)
    return {day_of(received_ns) for part in parts for received_ns in {row.received_ns for row in part}}


def move_on(connection: Connection, rows: Rows) -> int:
    """Move a capture's committed frame over `rows`, or begin the capture with them; return its key.

    Raises:
        OtherWriterError: the store does not stand where the rows begin.
    """
    parameters = _parameters(rows)
    if rows.after_frame < 0:
        assert rows.opened is not None, "a capture begins with its opening record"
        parameters |= _opened_parameters(rows.opened, rows.first_received_ns)
    found = connection.execute(_BEGIN if rows.after_frame < 0 else _ADVANCE, parameters).fetchone()
    if found is None:
        raise OtherWriterError(rows.capture, rows.after_frame, committed(connection, rows.capture))
    key: int = found[0]
    return key


def cover(connection: Connection, key: int, received_ns: Nanos) -> None:
    """Let readers of a capture look for rows on the day of this time too, as on all between it and the others."""
    connection.execute(_COVER, ((day_of(received_ns) + 1) * DAY_NS, key))


def committed(connection: Connection, capture: UUID) -> int | None:
    """Return the last frame committed, None for a capture that the store does not know."""
    found = connection.execute("SELECT committed_frame FROM rl_captures WHERE capture_id = %s", (capture,)).fetchone()
    return None if found is None else int(found[0])


def resume_state(connection: Connection, capture: UUID) -> ResumeState:
    """Return what `Session` left with the last commit; the capture must be known."""
    found = connection.execute(
        "SELECT resume_state::text FROM rl_captures WHERE capture_id = %s", (capture,)
    ).fetchone()
    assert found is not None
    return msgspec.json.decode(found[0], type=ResumeState)


def read(connection: Connection, environment: str, *, capture: UUID | None = None) -> Iterator[CaptureRecord]:
    """Yield all captures, or only one, in the order in which they were opened."""
    for row in connection.execute(_READ, {"capture": capture}):
        yield _record(row, environment)


def _record(row: tuple[Any, ...], environment: str) -> CaptureRecord:
    key, capture, url, use_yes_price, legacy, sparse_seq, sample_rate, tickers = row[:8]
    opened_ns, committed_frame, last_received_ns, closed_ns, cause, code, is_complete = row[8:15]
    return CaptureRecord(
        key=key,
        capture=capture,
        opened=Opened(url, environment, use_yes_price, legacy, sparse_seq, sample_rate, tuple(tickers)),
        opened_ns=opened_ns,
        committed_frame=committed_frame,
        last_received_ns=last_received_ns,
        closed=None if closed_ns is None else Closed(cause, code, is_complete),
        closed_ns=closed_ns,
        counts=Counts(*row[15:22]),
        rows_from_ns=row[22],
        rows_to_ns=row[23],
    )


def _parameters(rows: Rows) -> dict[str, object]:
    days, closed = days_of(rows), rows.closed
    return {
        "capture": rows.capture,
        "after_frame": rows.after_frame,
        "upto_frame": rows.upto_frame,
        "received_ns": rows.received_ns,
        "resume_state": json_text(rows.resume),
        **msgspec.structs.asdict(rows.counts),
        "closed_ns": None if closed is None else rows.received_ns,
        "closed_cause": None if closed is None else storable(closed.cause),
        "closed_code": None if closed is None else closed.code,
        "is_complete": None if closed is None else closed.is_complete,
        "rows_from_ns": min(days) * DAY_NS if days else None,
        "rows_to_ns": (max(days) + 1) * DAY_NS if days else None,
    }


def _opened_parameters(opened: Opened, opened_ns: Nanos) -> Mapping[str, object]:
    return {
        "url": storable(opened.url),
        "use_yes_price": opened.use_yes_price,
        "legacy": opened.legacy,
        "sparse_seq": opened.sparse_seq,
        "sample_rate": opened.sample_rate,
        "tickers": [storable(ticker) for ticker in opened.tickers],
        "opened_ns": opened_ns,
    }
