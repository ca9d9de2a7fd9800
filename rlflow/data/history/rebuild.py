"""One market's book as it was: at a frame, at a time, or at the end of what is stored."""

from uuid import UUID

import attrs

from rlflow.data.database import Database
from rlflow.data.history.moments import END_OF_TIME, last_frame
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection, translated
from rlflow.data.store.stored_books import books_at
from rlflow.errors import CommandError
from rlflow.orderbook import BookView
from rlflow.units import Nanos

# The captures that may know the market's book at a time: those that had a snapshot by then and had not ended, else the
# one that had the last snapshot.
_CANDIDATES = b"""
    WITH known AS (
        SELECT s.capture, max(s.received_ns) AS snapshot_ns FROM rl_orderbook_snapshots AS s
        WHERE s.market_ticker = %(market)s AND s.received_ns <= %(at_ns)s GROUP BY s.capture
    ), ranked AS (
        SELECT c.capture_id, c.opened_ns, c.closed_ns IS NULL OR c.closed_ns > %(at_ns)s AS is_open,
               rank() OVER (ORDER BY known.snapshot_ns DESC) AS place
        FROM known JOIN rl_captures AS c ON c.capture = known.capture
    )
    SELECT capture_id FROM ranked WHERE is_open OR place = 1 ORDER BY is_open DESC, opened_ns"""

# Why nothing is known at a time, though the gap that says so was noticed later: the last frame before it is still good.
_NOTICED_LATER = b"""
    SELECT cause FROM rl_feed_gaps
    WHERE (market_ticker = %(market)s OR market_ticker IS NULL) AND channel = 'orderbook_delta'
      AND capture = %(key)s AND from_ns < %(at_ns)s AND received_ns > %(at_ns)s AND frame_no > %(frame)s
    ORDER BY frame_no LIMIT 1"""


def book_at(
    database: Database,
    market: str,
    *,
    at_ns: Nanos | None = None,
    capture: UUID | None = None,
    frame: int | None = None,
) -> BookView | None:
    """Return a market's book, None if none is stored for that moment.

    Args:
        database: The store.
        market: Its ticker.
        at_ns: By receive time; without it, after the last stored frame. Where captures overlap, one whose book is valid
            then counts, and of those the older.
        capture: Look into this capture only.
        frame: At this frame of `capture`, instead of a time.

    Raises:
        CommandError: the capture is not known.
    """
    connection = database.connection
    if capture is not None:
        record = database.capture(capture)
        if record is None:
            raise CommandError(f"no capture {capture} is stored")
        with translated():
            if frame is None:
                return _view_at(connection, record, market, END_OF_TIME if at_ns is None else at_ns)
            return _view(connection, record, market, frame)
    with translated():
        return _best(database, market, END_OF_TIME if at_ns is None else at_ns)


def _best(database: Database, market: str, at_ns: Nanos) -> BookView | None:
    """Return the view of the capture that knows best."""
    candidates: list[_Candidate] = []
    for (capture,) in database.connection.execute(_CANDIDATES, {"market": market, "at_ns": at_ns}).fetchall():
        record = database.capture(capture)
        assert record is not None
        view = _view_at(database.connection, record, market, at_ns)
        if view is not None:
            candidates.append(_Candidate(view, record, at_ns))
    return min(candidates, key=lambda candidate: candidate.rank).view if candidates else None


@attrs.frozen
class _Candidate:
    view: BookView
    record: CaptureRecord
    at_ns: Nanos

    @property
    def rank(self) -> tuple[bool, bool, Nanos]:
        """The smaller, the better."""
        heard_ns = self.record.last_received_ns
        is_silent = heard_ns < self.at_ns
        # A capture that was never seen to end, such as a damaged recording, knows nothing of what came after its last
        # frame: then whoever heard the venue last counts, and only among equals the older.
        return not self.view.is_valid, is_silent, -heard_ns if is_silent else self.record.opened_ns


def _view_at(connection: Connection, record: CaptureRecord, market: str, at_ns: Nanos) -> BookView | None:
    frame = last_frame(connection, record, market, at_ns)
    view = _view(connection, record, market, frame)
    if view is None or not view.is_valid:
        return view
    where = {"market": market, "key": record.key, "at_ns": at_ns, "frame": frame}
    gap = connection.execute(_NOTICED_LATER, where).fetchone()
    return view if gap is None else attrs.evolve(view, is_valid=False, cause=gap[0])


def _view(connection: Connection, record: CaptureRecord, market: str, frame: int) -> BookView | None:
    if frame > record.committed_frame:
        return None
    book = books_at(connection, record.where, [market], frame).get(market)
    if book is None:
        return None
    return BookView(
        market_ticker=market,
        capture=record.capture,
        frame_no=book.last.frame_no,
        sequence_number=book.last.sequence_number,
        received_ns=book.last.received_ns,
        timestamp_ms=book.last.timestamp_ms,
        is_valid=book.cause is None,
        cause=book.cause,
        yes_bids=book.yes_bids,
        no_bids=book.no_bids,
    )
