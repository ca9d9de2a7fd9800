"""Rows made by hand: small captures for tests of what the tables do with them, without a `Session`."""

from typing import Any
from uuid import UUID, uuid4

import attrs

from rlflow.session.records import Closed, Opened
from rlflow.session.rows import Counts, DeltaRow, GapEndRow, GapRow, ResumeState, Rows, SidState, SnapshotRow, TradeRow
from rlflow.units import Side

MARKET = "KXTEST-26NOV22-A"
OPENED = Opened(url="ws://test", environment="sim", tickers=(MARKET,))
# 2026-11-22 00:00 UTC, the first nanosecond of a day.
NOON_NS = 1_795_305_600_000_000_000 + 43_200 * 10**9
MS = 10**6

YES_BIDS = ((4200, 350), (4100, 1200))
NO_BIDS = ((5505, 2000), (5400, 10))


def received(frame_no: int) -> int:
    return NOON_NS + frame_no * MS


def snapshot(frame_no: int, **fields: Any) -> SnapshotRow:
    values: dict[str, Any] = {
        "market_ticker": MARKET,
        "frame_no": frame_no,
        "received_ns": received(frame_no),
        "sending_ts_ms": received(frame_no) // MS - 3,
        "sid": 1,
        "sequence_number": frame_no,
        "clock": frame_no * 10,
        "origin": "venue",
        "yes_bids": YES_BIDS,
        "no_bids": NO_BIDS,
    }
    return SnapshotRow(**values | fields)


def delta(frame_no: int, side: Side, price: int, change: int, old: int | None = 0, **fields: Any) -> DeltaRow:
    """A change of a level from size `old`; None: the book was not valid."""
    new = None if old is None else old + change
    action = None if new is None else "remove" if new == 0 else "add" if change > 0 else "reduce"
    values: dict[str, Any] = {
        "market_ticker": MARKET,
        "frame_no": frame_no,
        "received_ns": received(frame_no),
        "sending_ts_ms": received(frame_no) // MS - 3,
        "sid": 1,
        "sequence_number": frame_no,
        "clock": frame_no * 10,
        "timestamp_ms": received(frame_no) // MS - 11,
        "side": side,
        "price": price,
        "delta": change,
        "action": action,
        "old_size": old,
        "new_size": new,
    }
    return DeltaRow(**values | fields)


def trade(frame_no: int, **fields: Any) -> TradeRow:
    values: dict[str, Any] = {
        "market_ticker": MARKET,
        "frame_no": frame_no,
        "received_ns": received(frame_no),
        "sending_ts_ms": None,
        "sid": 2,
        "sequence_number": frame_no,
        "timestamp_ms": received(frame_no) // MS - 11,
        "trade_id": f"trade-{frame_no}",
        "yes_price": 4250,
        "count": 150,
        "taker_side": "yes",
        "is_block_trade": False,
    }
    return TradeRow(**values | fields)


def gap(frame_no: int, **fields: Any) -> GapRow:
    values: dict[str, Any] = {
        "channel": "orderbook_delta",
        "market_ticker": MARKET,
        "sid": 1,
        "frame_no": frame_no,
        "received_ns": received(frame_no),
        "from_frame": frame_no - 1,
        "from_ns": received(frame_no - 1),
        "to_ns": None,
        "cause": "a hole in seq",
        "expected_seq": frame_no,
        "received_seq": frame_no + 5,
    }
    return GapRow(**values | fields)


def gap_end(frame_no: int, **fields: Any) -> GapEndRow:
    values: dict[str, Any] = {
        "channel": "orderbook_delta",
        "market_ticker": MARKET,
        "frame_no": frame_no,
        "received_ns": received(frame_no),
    }
    return GapEndRow(**values | fields)


def state(*tickers: str) -> ResumeState:
    sid = SidState(1, "orderbook_delta", 3, "00ff", 0, False, tickers or (MARKET,))
    return ResumeState(sids=(sid,), last_received_ns=received(3))


def first(capture: UUID | None = None, *, opened: Opened = OPENED, upto_frame: int = 3) -> Rows:
    """A capture's beginning: a snapshot, a delta and a trade."""
    return Rows(
        capture or uuid4(),
        after_frame=-1,
        upto_frame=upto_frame,
        received_ns=received(upto_frame),
        opened=opened,
        snapshots=[snapshot(1)],
        deltas=[delta(2, "yes", 4200, -150, 350)],
        trades=[trade(3)],
        counts=Counts(stored=3),
        resume=state(),
        first_received_ns=received(0),
    )


def following(rows: Rows, *made: DeltaRow | SnapshotRow | TradeRow | GapRow | GapEndRow, **fields: Any) -> Rows:
    """What comes directly behind `rows`: its frames are those of the rows made."""
    frames = sorted({row.frame_no for row in made if row.frame_no > rows.upto_frame})
    upto_frame = frames[-1] if frames else rows.upto_frame + 1
    data = {row.frame_no for row in made if isinstance(row, DeltaRow | SnapshotRow | TradeRow)}
    next_rows = Rows(
        rows.capture,
        after_frame=rows.upto_frame,
        upto_frame=upto_frame,
        received_ns=received(upto_frame),
        snapshots=[row for row in made if isinstance(row, SnapshotRow)],
        deltas=[row for row in made if isinstance(row, DeltaRow)],
        trades=[row for row in made if isinstance(row, TradeRow)],
        gaps=[row for row in made if isinstance(row, GapRow)],
        gap_ends=[row for row in made if isinstance(row, GapEndRow)],
        counts=Counts(stored=len(data), control=upto_frame - rows.upto_frame - len(data)),
        resume=rows.resume,
    )
    return attrs.evolve(next_rows, **fields)


def closing(rows: Rows, cause: str = "peer closed", *, is_complete: bool = False) -> Rows:
    """The record of a capture's end, directly behind `rows`."""
    closed = Closed(cause, 1001, is_complete)
    return following(rows, closed=closed, counts=Counts())
