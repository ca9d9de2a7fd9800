"""A connection fed to a session frame by frame, and the frames for it."""

import json
from typing import Any

from msgspec import structs

from rlflow.session.books import Limits
from rlflow.session.records import Batch, Dropped, Kind, Local, Opened, local_batch
from rlflow.session.rows import Rows
from rlflow.session.session import Session
from tests.session_strategies import CAPTURE
from tests.session_venue import MS, START_NS

OPENED = Opened(url="wss://venue", environment="sim")
Frame = dict[str, Any]


class Line:
    """A connection, frame by frame, one millisecond apart."""

    def __init__(self, opened: Opened = OPENED, limits: Limits | None = None) -> None:
        self.session = Session(CAPTURE, limits or Limits())
        self.opened = opened
        self.now_ns = START_NS
        self.all = self.session.feed(local_batch(opened, CAPTURE, 0, self.now_ns))

    def receive(self, *frames: Frame | bytes, after_ms: int = 1) -> Rows:
        """Feed frames as one batch."""
        self.now_ns += after_ms * MS
        raw = tuple(frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames)
        return self._take(Batch(Kind.FRAMES, CAPTURE, self.session.upto_frame + 1, self.now_ns, raw))

    def record(self, record: Local, after_ms: int = 1) -> Rows:
        """Feed a local record."""
        self.now_ns += after_ms * MS
        number = self.session.upto_frame + (record.frames if isinstance(record, Dropped) else 1)
        return self._take(local_batch(record, CAPTURE, number, self.now_ns))

    def _take(self, batch: Batch) -> Rows:
        rows = self.session.feed(batch)
        self.all.absorb(rows)
        return rows

    def is_valid(self, ticker: str) -> bool:
        return self.session.books[ticker].is_valid

    def yes_bids(self, ticker: str = "A") -> tuple[tuple[int, int], ...]:
        return self.session.view(ticker).yes_bids


def snapshot(seq: int, ticker: str = "A", *, sid: int = 1, **body: object) -> Frame:
    sides = {"yes_dollars_fp": [["0.4000", "5.00"]], "no_dollars_fp": [["0.5000", "7.00"]]}
    return {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": {"market_ticker": ticker} | sides | body}


def delta(seq: int, change: str = "1.00", ticker: str = "A", *, sid: int = 1, **body: object) -> Frame:
    level = {"market_ticker": ticker, "price_dollars": "0.4000", "delta_fp": change, "side": "yes"}
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": level | body}


def trade(seq: int, *, sid: int = 2, **body: object) -> Frame:
    content = {"trade_id": "t", "market_ticker": "A", "yes_price_dollars": "0.4500", "count_fp": "2.00"}
    return {"type": "trade", "sid": sid, "seq": seq, "msg": content | {"taker_side": "yes"} | body}


def subscribed(sid: int, channel: str) -> Frame:
    return {"type": "subscribed", "id": 1, "msg": {"channel": channel, "sid": sid}}


def ok(seq: int, *tickers: str, sid: int = 1) -> Frame:
    return {"type": "ok", "id": 2, "sid": sid, "seq": seq, "msg": {"market_tickers": list(tickers)}}


def error(code: int, *, sid: int, seq: int | None = None) -> Frame:
    frame = {"type": "error", "sid": sid, "msg": {"code": code, "msg": "x"}}
    return frame if seq is None else frame | {"seq": seq}


def gaps(rows: Rows) -> list[tuple[str, str | None, str]]:
    return [(gap.channel, gap.market_ticker, gap.cause) for gap in rows.gaps]


def ends(rows: Rows) -> list[tuple[str, str | None]]:
    return [(end.channel, end.market_ticker) for end in rows.gap_ends]


def line_with_two_books(*, sparse_seq: bool = False) -> Line:
    """A connection with books of A and B on sid 1 up to seq 2, and trades on sid 2 up to seq 1."""
    line = Line(structs.replace(OPENED, sparse_seq=sparse_seq))
    line.receive(subscribed(1, "orderbook_delta"), subscribed(2, "trade"))
    line.receive(snapshot(1), snapshot(2, "B"), trade(1))
    line.session.take_notices()
    line.session.take_changed()
    return line
