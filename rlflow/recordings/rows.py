"""The form of a recorder that kept snapshot levels and deltas of the cents era as table rows."""

from collections.abc import Sequence
from typing import Literal

import attrs
import msgspec

from rlflow.recordings.items import Heard, Item, parse_time
from rlflow.units import Nanos


class _Row(msgspec.Struct, gc=False):
    type: Literal["snapshot", "delta"]
    sid: int
    seq: int
    side: Literal["yes", "no"]
    price: int
    qty: int
    ts: str
    market_ticker: str
    market_id: str = ""
    ingest_ts: str | None = None

    @property
    def received_ns(self) -> Nanos:
        """When the recorder got it."""
        return parse_time(self.ingest_ts or self.ts)


class _LevelsBody(msgspec.Struct, omit_defaults=True):
    market_ticker: str
    market_id: str = ""
    yes: list[tuple[int, int]] = []
    no: list[tuple[int, int]] = []


class _ChangeBody(msgspec.Struct, omit_defaults=True):
    market_ticker: str
    price: int
    delta: int
    side: str
    ts: str
    market_id: str = ""


class _Frame(msgspec.Struct):
    type: Literal["orderbook_snapshot", "orderbook_delta"]
    sid: int
    seq: int
    msg: _LevelsBody | _ChangeBody


_row = msgspec.json.Decoder(_Row)


@attrs.define
class RowsReader:
    """Puts the frames of the cents era together; the levels of one snapshot follow each other and share a seq.

    Recordings of this form are known to name a foreign market in delta rows, which then lack the market's id. Such a
    delta belongs to the market whose snapshot came last on its sid.
    """

    _levels: list[_Row] = attrs.Factory(list)
    _market_of_sid: dict[int, _Row] = attrs.Factory(dict)

    def read(self, text: bytes) -> Sequence[Item]:
        """Return the delta, or the snapshot that this row shows to be complete."""
        row = _row.decode(text)
        if row.type == "snapshot":
            done = () if not self._levels or _same_snapshot(self._levels[0], row) else self.finish()
            self._levels.append(row)
            self._market_of_sid[row.sid] = row
            return done
        return (*self.finish(), self._delta(row))

    def finish(self) -> Sequence[Item]:
        """Return the snapshot whose levels were being read, if there is one."""
        if not self._levels:
            return ()
        first, levels = self._levels[0], self._levels
        self._levels = []
        yes, no = ([(row.price, row.qty) for row in levels if row.side == side] for side in ("yes", "no"))
        body = _LevelsBody(first.market_ticker, first.market_id, yes, no)
        return (_rebuilt(first, _Frame("orderbook_snapshot", first.sid, first.seq, body)),)

    def _delta(self, row: _Row) -> Heard:
        market = row if row.market_id else self._market_of_sid.get(row.sid, row)
        body = _ChangeBody(market.market_ticker, row.price, row.qty, row.side, row.ts, market.market_id)
        return _rebuilt(row, _Frame("orderbook_delta", row.sid, row.seq, body))


def _same_snapshot(one: _Row, other: _Row) -> bool:
    return (one.sid, one.seq, one.market_ticker) == (other.sid, other.seq, other.market_ticker)


def _rebuilt(row: _Row, frame: _Frame) -> Heard:
    return Heard(row.received_ns, msgspec.json.encode(frame))
