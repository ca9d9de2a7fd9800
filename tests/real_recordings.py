"""The real recordings beside the project, read once more without our readers: what the tests expect.

Nothing here is imported from rlflow but the names of units, so that a mistake of ours cannot hide in the expectation.
"""

import functools
import gzip
import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import msgspec
import pyarrow.parquet

from tests.oracle import Frame, Oracle

DATA = Path(__file__).parents[2] / "shared" / "data"

GOLD = sorted(DATA.glob("ws_current_gold15m/*.ndjson.gz"))
BTC = sorted(DATA.glob("ws_current_btc15m_subpenny/*.ndjson.gz"))
DEMO = sorted(DATA.glob("ws_current_demo_multimarket/session.jsonl.gz"))
LEGACY = sorted(DATA.glob("ws_legacy_cents/*.parquet"))
ALL = [*GOLD, *BTC, *DEMO, *LEGACY]
LARGEST = [path for path in GOLD if "26AUG102145-45" in path.name]

MOMENTS = 8
"""So many random frames of each connection, and its last one."""

_NOTES = {"watch_market", "ws_connected", "market_rotated"}
_KINDS = {"orderbook_delta": "deltas", "orderbook_snapshot": "snapshots", "trade": "trades"}


def name_of(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".ndjson")


@attrs.frozen
class Raw:
    """One frame of a file."""

    received_ns: int
    frame: Frame

    @property
    def kind(self) -> str:
        """The table it belongs to, else "other"."""
        return _KINDS.get(self.frame["type"], "other")


Levels: TypeAlias = tuple[tuple[int, int], ...]


@attrs.frozen
class ExpectedBook:
    """One book as the oracle has it; levels are compared only if it is valid."""

    is_valid: bool
    yes: Levels
    no: Levels


@attrs.frozen
class Moment:
    """All books of a connection after one of its frames, which is the last that was received by then."""

    ordinal: int
    frame_no: int
    received_ns: int
    books: dict[str, ExpectedBook]


def connections(path: Path) -> list[list[Raw]]:
    """Return the frames of each connection in a file."""
    if path in LEGACY:
        return [list(_from_rows(pyarrow.parquet.read_table(path).to_pylist()))]
    with gzip.open(path) as file:
        lines = [msgspec.json.decode(line) for line in file]
    if path in GOLD:
        return [[Raw(line["recv_ms"] * 10**6, line["event"]) for line in lines]]
    if path in DEMO:
        return [[Raw(0, line) for line in lines]]
    return _from_envelopes(lines)


def _from_envelopes(lines: list[dict[str, Any]]) -> list[list[Raw]]:
    found: list[list[Raw]] = []
    for line in lines:
        kind = line["event_type"]
        if kind == "ws_connected":
            found.append([])
        if kind in _NOTES:
            continue
        frame = line["payload_json"]
        if kind != "ws_subscribed":
            sid = {"ticker": 1, "orderbook_delta": 2}[line["channel"]]  # as `subscribed` says in all these files
            frame = {"type": kind, "sid": sid, "seq": line["sequence_number"], "msg": frame}
        found[-1].append(Raw(line["local_recv_ns"], frame))
    return found


def _from_rows(rows: list[dict[str, Any]]) -> Iterator[Raw]:
    """Return rows in cents as frames of today; all belong to the market of the snapshot (the data's README, 4)."""
    market = rows[0]["market_ticker"]
    for (kind, seq), group in groupby(rows, key=lambda row: (row["type"], row["seq"])):
        levels = list(group)
        head, body = levels[0], {"market_ticker": market, "ts": levels[0]["ts"]}
        if kind == "delta":
            change = {"price_dollars": _dollars(head), "delta_fp": f"{head['qty']}.00", "side": head["side"]}
            msg: dict[str, Any] = body | change
        else:
            sides = {f"{row['side']}_dollars_fp": [] for row in levels}  # type: dict[str, list[list[str]]]
            for row in levels:
                sides[f"{row['side']}_dollars_fp"].append([_dollars(row), f"{row['qty']}.00"])
            msg = body | sides
        moment = datetime.fromisoformat(head["ingest_ts"])
        received_ns = int(moment.timestamp()) * 10**9 + moment.microsecond * 1_000
        yield Raw(received_ns, {"type": f"orderbook_{kind}", "sid": 1, "seq": seq, "msg": msg})


def _dollars(row: dict[str, Any]) -> str:
    return f"0.{row['price']:02d}00"


@attrs.frozen
class Expectation:
    """What a file holds."""

    kinds: list[Counter[str]]
    """Frames of each connection by table, "other" included."""
    moments: list[Moment]

    @property
    def frames(self) -> int:
        """How many there are in all."""
        return sum(kinds.total() for kinds in self.kinds)


@functools.cache
def expect(path: Path) -> Expectation:
    """Read a file and replay it; some 10 µs a frame."""
    found = connections(path)
    moments = [moment for ordinal, raws in enumerate(found) for moment in _moments(path, ordinal, raws)]
    return Expectation([Counter(raw.kind for raw in raws) for raws in found], moments)


def _moments(path: Path, ordinal: int, raws: list[Raw]) -> Iterator[Moment]:
    oracle = Oracle(sparse_seq=path in GOLD)
    last_of_time = [
        number
        for number, (raw, later) in enumerate(zip(raws, [*raws[1:], None], strict=True), start=1)
        if later is None or later.received_ns > raw.received_ns or path in DEMO
    ]
    chosen = {len(raws), *random.Random(name_of(path)).sample(last_of_time, min(MOMENTS, len(last_of_time)))}
    for number, raw in enumerate(raws, start=1):
        oracle.feed(raw.frame, raw.received_ns)
        if number in chosen:
            books = {
                ticker: ExpectedBook(book.is_valid, book.bids("yes"), book.bids("no"))
                for ticker, book in oracle.books.items()
            }
            yield Moment(ordinal, number, raw.received_ns, books)
