"""What an audit reads of one capture: its deltas in the order of frames, and what else happened to its books."""

import heapq
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from rlflow.data.history.audited_book import AuditedSnapshot, DeltaFields
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.copy_text import levels_from_json
from rlflow.data.store.postgres import Connection

_ROWS_PER_FETCH = 10_000

_DELTAS = b"""
    SELECT frame_no, market_ticker, side, price_e4, (delta * 100)::bigint, action, (old_size * 100)::bigint,
           (new_size * 100)::bigint, clock
    FROM rl_orderbook_deltas
    WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s)
    ORDER BY frame_no"""

_SNAPSHOTS = b"""
    SELECT frame_no, market_ticker, origin = 'checkpoint', clock, yes_bids::text, no_bids::text
    FROM rl_orderbook_snapshots
    WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s)
    ORDER BY frame_no, origin = 'checkpoint', id"""

_GAPS = b"""
    SELECT frame_no, market_ticker FROM rl_feed_gaps
    WHERE capture = %(key)s AND channel = 'orderbook_delta'
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s OR market_ticker IS NULL)
    ORDER BY frame_no"""

_OTHER_FRAMES = b"""
    SELECT (SELECT count(DISTINCT frame_no) FROM rl_trades
            WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s),
           (SELECT count(DISTINCT frame_no) FROM rl_orderbook_snapshots
            WHERE capture = %(key)s AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s AND origin = 'venue'),
           (SELECT count(*) FROM rl_rejected_frames WHERE capture = %(key)s)"""

# Within one frame: what was missing before it, what it says, and our checkpoint, which includes it.
_GAP, _VENUE, _DELTA, _CHECKPOINT = range(4)


@attrs.frozen
class BookLost:
    """A gap begins."""

    frame_no: int
    market_ticker: str | None
    """None: every market."""


Event: TypeAlias = BookLost | AuditedSnapshot
PlacedEvent: TypeAlias = tuple[int, Event | None]
"""An event and its place among the deltas."""

NEVER: PlacedEvent = (2**66, None)


@attrs.frozen
class OtherFrames:
    """How many frames of a capture have rows that are no deltas."""

    trades: int
    snapshots: int
    rejected: int


def place_of_delta(frame_no: int) -> int:
    """Return where a delta stands among the events: an event with a lower place comes first."""
    return frame_no * 4 + _DELTA


class CaptureRows:
    """The rows of one capture, or of one market in it. Must be read in one transaction."""

    def __init__(self, connection: Connection, record: CaptureRecord, market: str | None) -> None:
        self._connection = connection
        self._where = {
            "key": record.key,
            "market": market,
            "from_ns": record.where.rows_from_ns,
            "to_ns": record.where.rows_to_ns,
        }

    def deltas(self) -> Iterator[DeltaFields]:
        """Yield all deltas in the order of frames; memory stays bounded."""
        return self._stream("audited_deltas", _DELTAS)

    def events(self) -> Iterator[PlacedEvent]:
        """Yield gaps and snapshots in the order of frames."""
        gaps = [
            (frame_no * 4 + _GAP, BookLost(frame_no, ticker))
            for frame_no, ticker in self._connection.execute(_GAPS, self._where)
        ]
        return heapq.merge(
            gaps, map(_placed, self._stream("audited_snapshots", _SNAPSHOTS)), key=lambda event: event[0]
        )

    def other_frames(self) -> OtherFrames:
        """Count the frames that the venue's other messages became."""
        found = self._connection.execute(_OTHER_FRAMES, self._where).fetchone()
        assert found is not None
        return OtherFrames(*found)

    def _stream(self, name: str, query: bytes) -> Iterator[Any]:
        with self._connection.cursor(name) as cursor:
            cursor.itersize = _ROWS_PER_FETCH
            yield from cursor.execute(query, self._where, binary=True)


def _placed(row: tuple[Any, ...]) -> PlacedEvent:
    frame_no, ticker, is_checkpoint, clock, yes_bids, no_bids = row
    snapshot = AuditedSnapshot(
        frame_no, ticker, is_checkpoint, clock, levels_from_json(yes_bids), levels_from_json(no_bids)
    )
    return frame_no * 4 + (_CHECKPOINT if is_checkpoint else _VENUE), snapshot
