"""Recorded connections that a test writes frame by frame."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from uuid import UUID

import attrs

from rlflow.exchange.replay import Replay
from rlflow.session.records import Batch, Closed, Kind, Opened, local_batch
from tests.exchange_client import Frame

START_NS = 1_795_305_600_000_000_000
CAPTURE = UUID(int=7)


def snapshot(seq: int, ticker: str, *yes: tuple[str, str], sid: int = 1) -> Frame:
    return {
        "type": "orderbook_snapshot",
        "sid": sid,
        "seq": seq,
        "msg": {"market_ticker": ticker, "market_id": "", "yes_dollars_fp": list(map(list, yes))},
    }


def delta(seq: int, ticker: str, price: str = "0.4000", change: str = "1.00", *, sid: int = 1) -> Frame:
    msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": "yes", "ts_ms": seq}
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": msg}


def trade(seq: int, ticker: str, *, sid: int = 2) -> Frame:
    msg = {"trade_id": f"t{seq}", "market_ticker": ticker, "yes_price_dollars": "0.4000", "count_fp": "1.00"}
    return {"type": "trade", "sid": sid, "seq": seq, "msg": msg}


def wire(frame: Frame) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()


WHOLE = Opened(url="file:test", environment="recordings")
SPARSE = Opened(url="file:test", environment="recordings", sparse_seq=True)


@attrs.frozen
class Recorded:
    """A recorded connection that a test wrote: one frame every ten milliseconds."""

    frames: Sequence[Frame]
    opened: Opened = WHOLE
    start_ns: int = START_NS

    def batches(self) -> Iterator[Batch]:
        yield local_batch(self.opened, CAPTURE, 0, self.start_ns)
        for number, frame in enumerate(self.frames):
            yield Batch(Kind.FRAMES, CAPTURE, number + 1, self.start_ns + number * 10_000_000, (wire(frame),))
        yield local_batch(Closed("end", is_complete=True), CAPTURE, len(self.frames) + 1, self.start_ns)


def replay(*connections: Recorded, speed: float = math.inf, closes_at_end: bool = True) -> Replay:
    texts = b"".join(frame for each in connections for batch in each.batches() for frame in batch.frames)
    tickers = {ticker.decode() for ticker in re.findall(rb'"market_ticker":"([^"]+)"', texts)}
    return Replay(lambda: connections, frozenset(tickers), speed=speed, closes_at_end=closes_at_end)
