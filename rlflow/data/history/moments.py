"""Where a moment lies in a capture: the frames that had been received by then.

Frames are in order, receive times need not be: a wall clock can be set back, and then a moment comes twice. So time
only finds a frame, the last that was received by then, and all frames before it belong to that moment whatever their
times.
"""

from collections.abc import Iterable

from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection
from rlflow.data.store.removals import removals
from rlflow.units import Nanos

END_OF_TIME: Nanos = 2**63 - 1
"""The last moment, and the last frame, that a BIGINT can name."""

# The market's last row or gap by then. Deltas have no index by time: the snapshots around it bound the search.
_LAST_FRAME = b"""
    WITH last AS (
        SELECT coalesce(max(frame_no), -1) AS frame_no FROM rl_orderbook_snapshots
        WHERE market_ticker = %(market)s AND capture = %(key)s AND received_ns <= %(at_ns)s
          AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
    ), next AS (
        SELECT coalesce(min(frame_no), %(end)s) AS frame_no FROM rl_orderbook_snapshots
        WHERE market_ticker = %(market)s AND capture = %(key)s AND frame_no > (SELECT frame_no FROM last)
          AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
    )
    SELECT greatest(
        (SELECT frame_no FROM last),
        (SELECT frame_no FROM rl_orderbook_deltas
         WHERE market_ticker = %(market)s AND capture = %(key)s AND received_ns <= %(at_ns)s
           AND frame_no > (SELECT frame_no FROM last) AND frame_no < (SELECT frame_no FROM next)
           AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
         ORDER BY frame_no DESC LIMIT 1),
        (SELECT frame_no FROM rl_trades
         WHERE market_ticker = %(market)s AND capture = %(key)s AND received_ns <= %(at_ns)s
           AND frame_no > (SELECT frame_no FROM last) AND frame_no < (SELECT frame_no FROM next)
           AND received_ns >= %(from_ns)s AND received_ns < %(to_ns)s
         ORDER BY frame_no DESC LIMIT 1),
        (SELECT max(frame_no) FROM rl_feed_gaps
         WHERE (market_ticker = %(market)s OR market_ticker IS NULL) AND capture = %(key)s
           AND received_ns <= %(at_ns)s))"""


def last_frame(connection: Connection, record: CaptureRecord, market: str, at_ns: Nanos) -> int:
    """Return the last frame of the capture that said something about the market by then; -1 if none did."""
    where = record.where
    parameters = {
        "market": market,
        "key": where.key,
        "at_ns": at_ns,
        "end": END_OF_TIME,
        "from_ns": where.rows_from_ns,
        "to_ns": where.rows_to_ns,
    }
    found = connection.execute(_LAST_FRAME, parameters).fetchone()
    said = -1 if found is None else int(found[0])
    removed = removals(connection, [where.key], [market]).get((where.key, market))
    return max(said, removed.frame_no) if removed is not None and removed.received_ns < at_ns else said


def frames_before(connection: Connection, record: CaptureRecord, markets: Iterable[str], until_ns: Nanos) -> int:
    """Return up to which frame what a capture has of some markets was received before a time.

    Some milliseconds a market, unless all of the capture was.
    """
    if record.last_received_ns < until_ns:
        return END_OF_TIME
    return max(last_frame(connection, record, market, until_ns - 1) for market in markets)
