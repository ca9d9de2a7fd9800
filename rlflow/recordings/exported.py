"""The form of `rlflow export`: stored rows as the venue's own frames, with all that frames alone would not say.

One JSON object a line, in the order of the capture; several captures follow one another.

======================================================  ============================================================
a line has `recv_ns`, and                               meaning
======================================================  ============================================================
`opened`: url, sample_rate, ..., capture_id             a capture begins, as the first line of a file says
`frame`: 17, `event`: {...}                             a frame as the venue sends it, NO levels in NO prices
`frame`: 17, `event`: {...}, `old`: "3.50"              a delta of a known book: the level's size before it
`frame`: 17, `checkpoint`: {...}                        a whole book that we stored ourselves
`frame`: 18, `gap`: {"channel": ..., "cause": ...}      what is missing, as in `rl_feed_gaps`
`frame`: 19, `removed`: "KX..."                         the market is not subscribed any more, on the venue's word
`frame`: 99, `closed`: {"cause": ...}                   the end of the capture, if it was seen and lies in the time
`fetched`: {...}                                        a trade that a gap lost, fetched by REST at `recv_ns`; of no
                                                        capture, so all such lines come last
======================================================  ============================================================

Whoever only wants frames reads the lines that have an `event`.
"""

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import attrs
import msgspec

from rlflow.kalshi.messages import OrderbookDelta, OrderbookSnapshot, Trade, WireLevels
from rlflow.recordings.items import Began, Ended, Heard, Item
from rlflow.session.reading import read_change, read_trade
from rlflow.session.records import Closed, Opened
from rlflow.session.rows import Action, DeltaRow, GapRow, Levels, Origin, RemovedState, SnapshotRow, TradeRow
from rlflow.session.sequence import ORDERBOOK
from rlflow.units import Nanos, complement, format_count, format_price, parse_count, parse_price

ExportedRow: TypeAlias = SnapshotRow | DeltaRow | TradeRow | GapRow
_Event: TypeAlias = OrderbookSnapshot | OrderbookDelta | Trade


class ExportedGap(msgspec.Struct, omit_defaults=True):
    """A gap without what the line says of it anyway."""

    channel: str
    cause: str
    from_frame: int
    from_ns: Nanos
    market_ticker: str | None = None
    sid: int | None = None
    to_ns: Nanos | None = None
    expected_seq: int | None = None
    received_seq: int | None = None


class ExportedOpening(msgspec.Struct, omit_defaults=True):
    """What a capture was."""

    capture_id: UUID
    url: str
    environment: str
    markets: tuple[str, ...]
    """Those whose rows follow."""
    sample_rate: int = 1
    sparse_seq: bool = False

    def opened(self, environment: str) -> Opened:
        """Return the opening record of the capture that the lines become."""
        return Opened(
            self.url, environment, sparse_seq=self.sparse_seq, sample_rate=self.sample_rate, tickers=self.markets
        )


class ExportedLine(msgspec.Struct, omit_defaults=True):
    """One line, all of it."""

    recv_ns: Nanos
    frame: int = 0
    opened: ExportedOpening | None = None
    event: _Event | None = None
    old: str | None = None
    checkpoint: OrderbookSnapshot | None = None
    gap: ExportedGap | None = None
    removed: str | None = None
    closed: Closed | None = None
    fetched: Trade | None = None

    def row(self) -> ExportedRow | None:
        """Return the capture's row in the line, None if there is none; ValueError if there can be no such row."""
        if self.gap is not None:
            return GapRow(frame_no=self.frame, received_ns=self.recv_ns, **msgspec.structs.asdict(self.gap))
        match self.checkpoint or self.event:
            case OrderbookSnapshot() as snapshot:
                return _snapshot(self, snapshot, "venue" if self.checkpoint is None else "checkpoint")
            case OrderbookDelta() as delta:
                return _delta(self, delta)
            case Trade() as trade:
                return read_trade(trade, self.frame, self.recv_ns)
            case None:
                return None

    def removal(self) -> RemovedState | None:
        """Return the removal in the line, None if there is none."""
        if self.removed is None:
            return None
        return RemovedState(ORDERBOOK, self.removed, self.frame, self.recv_ns)

    def fetched_trade(self) -> TradeRow | None:
        """Return the fetched trade in the line; `row` likewise."""
        return None if self.fetched is None else read_trade(self.fetched, self.frame, self.recv_ns)


class _FrameLine(msgspec.Struct):
    recv_ns: Nanos
    event: msgspec.Raw = msgspec.Raw(b"")
    opened: ExportedOpening | None = None
    closed: Closed | None = None


read_line = msgspec.json.Decoder(ExportedLine).decode
_frame_line = msgspec.json.Decoder(_FrameLine)
_encode = msgspec.json.Encoder().encode


@attrs.define
class ExportedReader:
    """Reads what was heard: for playing an export again. Importing one reads whole lines instead."""

    def read(self, text: bytes) -> Sequence[Item]:
        """Return the frame, or the begin or end of a connection, in a line."""
        line = _frame_line.decode(text)
        if line.opened is not None:
            return (Began(line.recv_ns, line.opened.markets),)
        if line.closed is not None and line.closed.is_complete:
            return (Ended(line.recv_ns, line.closed.cause),)
        return (Heard(line.recv_ns, bytes(line.event)),) if line.event else ()

    def finish(self) -> Sequence[Item]:
        """Return nothing."""
        return ()


# -- rows to lines -----------------------------------------------------------------------------------------------------


def opening_line(opening: ExportedOpening, opened_ns: Nanos) -> bytes:
    """Return the line that begins a capture."""
    return _encode(ExportedLine(opened_ns, opened=opening))


def closing_line(closed: Closed, frame: int, closed_ns: Nanos) -> bytes:
    """Return the line that ends a capture."""
    return _encode(ExportedLine(closed_ns, frame, closed=closed))


def row_line(row: ExportedRow) -> bytes:
    """Return a row's line."""
    line: dict[str, object] = {"recv_ns": row.received_ns, "frame": row.frame_no}
    match row:
        case DeltaRow():
            line["event"] = _event("orderbook_delta", row, _delta_body(row))
            if row.old_size is not None:
                line["old"] = format_count(row.old_size)
        case TradeRow():
            line["event"] = _event("trade", row, _trade_body(row))
        case SnapshotRow():
            name = "event" if row.origin == "venue" else "checkpoint"
            line[name] = _event("orderbook_snapshot", row, _snapshot_body(row))
        case GapRow():
            fields = msgspec.structs.asdict(row)
            line["gap"] = ExportedGap(**{name: fields[name] for name in ExportedGap.__struct_fields__})
    return _encode(line)


def removed_line(removed: RemovedState) -> bytes:
    """Return the line of a market that was removed from its subscription."""
    return _encode(ExportedLine(removed.received_ns, removed.frame_no, removed=removed.ticker))


def fetched_line(trade: TradeRow) -> bytes:
    """Return the line of a trade that was fetched by REST."""
    return _encode({"recv_ns": trade.received_ns, "fetched": _event("trade", trade, _trade_body(trade))})


def _event(kind: str, row: SnapshotRow | DeltaRow | TradeRow, body: dict[str, object]) -> dict[str, object]:
    """Return a frame in the venue's order of fields; what is not known is absent, as the venue has it."""
    # A checkpoint may stand on no frame that had a seq; 0 is no number of the venue's.
    frame: dict[str, object] = {"type": kind, "sid": row.sid, "seq": row.sequence_number or 0, "msg": _present(body)}
    if row.sending_ts_ms is not None:
        frame["sending_ts_ms"] = row.sending_ts_ms
    return frame


def _present(body: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if value is not None}


def _delta_body(row: DeltaRow) -> dict[str, object]:
    return {
        "market_ticker": row.market_ticker,
        "clock": row.clock,
        "price_dollars": format_price(row.price),
        "delta_fp": format_count(row.delta),
        "side": row.side,
        "ts_ms": row.timestamp_ms,
    }


def _trade_body(row: TradeRow) -> dict[str, object]:
    return {
        "trade_id": row.trade_id,
        "market_ticker": row.market_ticker,
        "yes_price_dollars": format_price(row.yes_price),
        "no_price_dollars": format_price(complement(row.yes_price)),
        "count_fp": format_count(row.count),
        "taker_outcome_side": row.taker_side,
        "is_block_trade": row.is_block_trade,
        "ts_ms": row.timestamp_ms,
    }


def _snapshot_body(row: SnapshotRow) -> dict[str, object]:
    return {
        "market_ticker": row.market_ticker,
        "clock": row.clock,
        # The venue lists the best level last, and leaves an empty side out (protocol 4.5).
        "yes_dollars_fp": _wire(row.yes_bids) or None,
        "no_dollars_fp": _wire(row.no_bids) or None,
    }


def _wire(levels: Levels) -> list[tuple[str, str]]:
    return [(format_price(price), format_count(size)) for price, size in reversed(levels)]


# -- lines to rows -----------------------------------------------------------------------------------------------------


def _delta(line: ExportedLine, message: OrderbookDelta) -> DeltaRow:
    body = message.msg
    price, delta = read_change(body)
    old = None if line.old is None else parse_count(line.old)
    new = None if old is None else old + delta
    return DeltaRow(
        market_ticker=body.market_ticker,
        frame_no=line.frame,
        received_ns=line.recv_ns,
        sending_ts_ms=message.sending_ts_ms,
        sid=message.sid,
        sequence_number=message.seq,
        clock=body.clock,
        timestamp_ms=body.ts_ms,
        side=body.side,
        price=price,
        delta=delta,
        action=None if new is None else _action(delta, new),
        old_size=old,
        new_size=new,
    )


def _action(delta: int, new: int) -> Action:
    if delta > 0:
        return "add"
    return "reduce" if new else "remove"


def _snapshot(line: ExportedLine, message: OrderbookSnapshot, origin: Origin) -> SnapshotRow:
    body = message.msg
    return SnapshotRow(
        market_ticker=body.market_ticker,
        frame_no=line.frame,
        received_ns=line.recv_ns,
        sending_ts_ms=message.sending_ts_ms,
        sid=message.sid,
        sequence_number=message.seq if origin == "venue" else message.seq or None,
        clock=body.clock,
        origin=origin,
        yes_bids=_levels(body.yes_dollars_fp),
        no_bids=_levels(body.no_dollars_fp),
    )


def _levels(levels: WireLevels) -> Levels:
    return tuple(sorted([(parse_price(price), parse_count(size)) for price, size in levels], reverse=True))
