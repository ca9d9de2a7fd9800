"""Stored rows as the very values that were stored, in the order in which they were made.

Within a capture that is the order of frames; within a frame what was missing before it, what the venue said, and our
checkpoint, which includes it. The only difference to the live rows: a gap that was open then has its end by now.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs
import msgspec

from rlflow.data.history.moments import END_OF_TIME
from rlflow.data.store.copy_text import levels_from_json
from rlflow.data.store.postgres import Connection
from rlflow.session.rows import DeltaRow, GapRow, SnapshotRow, TradeRow
from rlflow.units import Nanos

StoredRow: TypeAlias = SnapshotRow | DeltaRow | TradeRow | GapRow

_ROWS_PER_FETCH = 10_000
_GAP, _VENUE, _DATA, _CHECKPOINT = range(4)

_SNAPSHOTS = b"""
    SELECT market_ticker, frame_no, received_ns, sending_ts_ms, sid, sequence_number, clock, origin,
           yes_bids::text, no_bids::text
    FROM rl_orderbook_snapshots
    WHERE capture = %(key)s AND frame_no > %(after)s AND frame_no <= %(upto)s
      AND received_ns >= %(rows_from_ns)s AND received_ns < %(rows_to_ns)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s)
      AND (%(markets)s::text[] IS NULL OR market_ticker = ANY(%(markets)s))
    ORDER BY frame_no, id"""

_DELTAS = b"""
    SELECT market_ticker, frame_no, received_ns, sending_ts_ms, sid, sequence_number, clock, timestamp_ms,
           side, price_e4, (delta * 100)::bigint, action, (old_size * 100)::bigint, (new_size * 100)::bigint
    FROM rl_orderbook_deltas
    WHERE capture = %(key)s AND frame_no > %(after)s AND frame_no <= %(upto)s
      AND received_ns >= %(rows_from_ns)s AND received_ns < %(rows_to_ns)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s)
      AND (%(markets)s::text[] IS NULL OR market_ticker = ANY(%(markets)s))
    ORDER BY frame_no"""

_TRADES = b"""
    SELECT market_ticker, frame_no, received_ns, sending_ts_ms, sid, sequence_number, timestamp_ms,
           trade_id, yes_price_e4, (count * 100)::bigint, taker_side, is_block_trade
    FROM rl_trades
    WHERE capture = %(key)s AND frame_no > %(after)s AND frame_no <= %(upto)s
      AND received_ns >= %(rows_from_ns)s AND received_ns < %(rows_to_ns)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s)
      AND (%(markets)s::text[] IS NULL OR market_ticker = ANY(%(markets)s))
    ORDER BY frame_no, id"""

_GAPS = b"""
    SELECT channel, market_ticker, sid, frame_no, received_ns, from_frame, from_ns, to_ns, cause,
           expected_seq, received_seq
    FROM rl_feed_gaps
    WHERE capture = %(key)s AND frame_no > %(after)s AND frame_no <= %(upto)s
      AND (%(market)s::text IS NULL OR market_ticker = %(market)s OR market_ticker IS NULL)
      AND (%(markets)s::text[] IS NULL OR market_ticker = ANY(%(markets)s) OR market_ticker IS NULL)
    ORDER BY frame_no, id"""

# Of a trade that the selected capture has as well, its own row counts.
_FOREIGN_TRADES = b"""
    SELECT capture, market_ticker, frame_no, received_ns, sending_ts_ms, sid, sequence_number, timestamp_ms,
           trade_id, yes_price_e4, (count * 100)::bigint, taker_side, is_block_trade
    FROM rl_trades AS other
    WHERE market_ticker = %(market)s AND capture <> %(key)s
      AND received_ns >= %(from_ns)s AND received_ns < %(until_ns)s
      AND NOT EXISTS (
          SELECT FROM rl_trades AS own
          WHERE own.capture = %(key)s AND own.market_ticker = %(market)s AND own.trade_id = other.trade_id
            AND own.frame_no > %(after)s AND own.frame_no <= %(upto)s
            AND own.received_ns >= %(rows_from_ns)s AND own.received_ns < %(rows_to_ns)s)
    ORDER BY received_ns, capture, frame_no"""

# What was fetched later came on no capture. It is of the time that the venue says, as the rest is of ours.
_FETCHED_TRADES = b"""
    SELECT market_ticker, 0::bigint, received_ns, NULL::bigint, 0::bigint, 0::bigint, timestamp_ms,
           trade_id, yes_price_e4, (count * 100)::bigint, taker_side, is_block_trade
    FROM rl_trades
    WHERE origin = 'rest' AND market_ticker = ANY(%(markets)s)
      AND timestamp_ms BETWEEN %(from_ns)s / 1000000 AND %(until_ns)s / 1000000
      AND timestamp_ms * 1000000 >= %(from_ns)s AND timestamp_ms * 1000000 < %(until_ns)s
    ORDER BY timestamp_ms, id"""


@attrs.frozen
class Selection:
    """Which rows of one capture: frames in (after, upto]. None is left out for its time, see `moments`."""

    key: int
    """The number that stands for the capture in rows."""
    market: str | None = None
    """Only this market's, and what concerns every market; None: not restricted so."""
    markets: list[str] | None = None
    """Likewise for several."""
    after: int = -1
    upto: int = END_OF_TIME
    rows_from_ns: Nanos = 0
    """As in `StoredCapture`: they keep a query out of partitions that hold nothing of the capture."""
    rows_to_ns: Nanos = END_OF_TIME


def stored_rows(connection: Connection, selection: Selection) -> Iterator[StoredRow]:
    """Yield the rows of one capture in the order in which they were made; memory stays bounded.

    The connection must be in a transaction, which is to see one state of the store until the last row is read. Some 5
    µs a row.
    """
    parameters = attrs.asdict(selection)

    def stream(name: str, query: bytes, made: Callable[[Sequence[Any]], StoredRow], place: int) -> Iterator[_Placed]:
        with connection.cursor(f"{name}_{id(parameters)}") as cursor:
            cursor.itersize = _ROWS_PER_FETCH
            for fields in cursor.execute(query, parameters, binary=True):
                row = made(fields)
                yield (row.frame_no * 4 + (_CHECKPOINT if _is_checkpoint(row) else place), row)

    streams = (
        stream("gaps", _GAPS, _gap, _GAP),
        stream("snapshots", _SNAPSHOTS, _snapshot, _VENUE),
        stream("deltas", _DELTAS, _delta, _DATA),
        stream("trades", _TRADES, _trade, _DATA),
    )
    for _, row in heapq.merge(*streams, key=_place):
        yield row


@attrs.frozen
class ForeignTrade:
    """A trade that the selected capture does not have."""

    key: int | None
    """Of the capture that heard it. None: it was fetched by REST later, so that its frame, sid and sequence number are
    0, and the venue's time stands for its receive time, which would have been some milliseconds later."""
    row: TradeRow


def foreign_trades(
    connection: Connection, selection: Selection, from_ns: Nanos, until_ns: Nanos
) -> Iterator[ForeignTrade]:
    """Yield the trades of one market in [from_ns, until_ns) that only other captures or REST had, by time.

    Likewise in a transaction.
    """
    where = attrs.asdict(selection) | {"from_ns": from_ns, "until_ns": until_ns}

    def heard() -> Iterator[ForeignTrade]:
        with connection.cursor(f"foreign_{id(selection)}") as cursor:
            cursor.itersize = _ROWS_PER_FETCH
            for key, *fields in cursor.execute(_FOREIGN_TRADES, where, binary=True):
                yield ForeignTrade(key, _trade(fields))

    markets = [] if selection.market is None else [selection.market]
    fetched = fetched_trades(connection, markets, from_ns, until_ns)
    return heapq.merge(heard(), map(_by_venue_time, fetched), key=lambda trade: trade.row.received_ns)


def fetched_trades(
    connection: Connection, markets: Sequence[str], from_ns: Nanos, until_ns: Nanos
) -> Iterator[TradeRow]:
    """Yield the trades of some markets that REST gave, by the venue's time, which lies in [from_ns, until_ns).

    They came on no capture: frame, sid and sequence number are 0. Their receive time is that of the fetching.
    """
    where = {"markets": list(markets), "from_ns": from_ns, "until_ns": until_ns}
    return map(_trade, connection.execute(_FETCHED_TRADES, where, binary=True))


def _by_venue_time(trade: TradeRow) -> ForeignTrade:
    assert trade.timestamp_ms is not None
    return ForeignTrade(None, msgspec.structs.replace(trade, received_ns=trade.timestamp_ms * 10**6))


_Placed: TypeAlias = tuple[int, StoredRow]
"""A row and its place in the capture."""


def _place(placed: _Placed) -> int:
    return placed[0]


def _is_checkpoint(row: StoredRow) -> bool:
    return isinstance(row, SnapshotRow) and row.origin == "checkpoint"


def _snapshot(fields: Sequence[Any]) -> SnapshotRow:
    return SnapshotRow(*(*fields[:8], levels_from_json(fields[8]), levels_from_json(fields[9])))


def _delta(fields: Sequence[Any]) -> DeltaRow:
    return DeltaRow(*fields)


def _trade(fields: Sequence[Any]) -> TradeRow:
    return TradeRow(*fields)


def _gap(fields: Sequence[Any]) -> GapRow:
    return GapRow(*fields)
