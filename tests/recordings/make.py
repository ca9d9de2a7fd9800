"""Makes small recordings of made-up markets: the scene, and how each recorder would have written it down.

`python -m tests.recordings.make DIRECTORY` writes one of each, to be looked at.
"""

import gzip
import json
import random
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pyarrow
import pyarrow.parquet
import zstandard

from rlflow.units import format_count, format_price

Frame: TypeAlias = dict[str, Any]

START_MS = 1_795_305_600_000
MARKETS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B")


@attrs.frozen
class Take:
    """One frame of the scene, and when it was heard."""

    received_ms: int
    frame: Frame

    @property
    def text(self) -> bytes:
        """The frame as the venue writes it."""
        return json.dumps(self.frame, separators=(",", ":")).encode()


@attrs.define
class Scene:
    """A venue with two subscriptions of one connection, books on sid 1 and trades on sid 2."""

    rng: random.Random
    markets: Sequence[str] = MARKETS
    is_whole_cents: bool = False
    now_ms: int = START_MS
    takes: list[Take] = attrs.Factory(list)
    _seq: dict[int, int] = attrs.Factory(lambda: {1: 0, 2: 0})
    _books: dict[str, dict[tuple[str, int], int]] = attrs.Factory(dict)

    def play(self, deltas: int, *, first_seq: int = 1) -> list[Take]:
        """Return a connection from its subscription on: snapshots, deltas, and a trade in ten of them."""
        self.takes, self._seq = [], {1: first_seq - 1, 2: 0}
        self._say({"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}})
        self._say({"type": "subscribed", "id": 1, "msg": {"channel": "trade", "sid": 2}})
        for market in self.markets:
            self._snapshot(market)
        for _ in range(deltas):
            self._step()
        return self.takes

    def _step(self) -> None:
        self.now_ms += self.rng.choice((0, 0, 1, 1, 7, 60))
        market, side = self.rng.choice(self.markets), self.rng.choice(("yes", "no"))
        book = self._books[market]
        bids = [level for level in book if level[0] == side]
        if bids and self.rng.random() < 0.5:
            level = self.rng.choice(bids)
            self._delta(market, level, -(book[level] if self.rng.random() < 0.5 else (book[level] + 100) // 200 * 100))
        else:
            self._delta(market, (side, self._price()), self._count())
        if self.rng.random() < 0.1:
            self._trade(market)

    def _price(self) -> int:
        return self.rng.randint(1, 45) * 100 + (0 if self.is_whole_cents else self.rng.choice((0, 0, 10, 50)))

    def _count(self) -> int:
        return self.rng.randint(1, 50) * 100 + (0 if self.is_whole_cents else self.rng.choice((0, 0, 0, 25, 99)))

    def _snapshot(self, market: str) -> None:
        book = self._books[market] = {
            (side, price * 100): self._count() for side in ("yes", "no") for price in self.rng.sample(range(1, 46), 5)
        }
        levels = {
            f"{side}_dollars_fp": [
                [format_price(p), format_count(n)] for (s, p), n in sorted(book.items()) if s == side
            ]
            for side in ("yes", "no")
        }
        self._say({"type": "orderbook_snapshot", "sid": 1, "msg": {"market_ticker": market, **levels}})

    def _delta(self, market: str, level: tuple[str, int], change: int) -> None:
        book = self._books[market]
        book[level] = book.get(level, 0) + change
        if not book[level]:
            del book[level]
        side, price = level
        body = {"price_dollars": format_price(price), "delta_fp": format_count(change), "side": side}
        msg = {"market_ticker": market, "market_id": "m-" + market, **body, "ts_ms": self.now_ms - 3}
        self._say({"type": "orderbook_delta", "sid": 1, "msg": msg})

    def _trade(self, market: str) -> None:
        price, taker = self.rng.randint(1, 99) * 100, self.rng.choice(("yes", "no"))
        body = {"yes_price_dollars": format_price(price), "no_price_dollars": format_price(10_000 - price)}
        ids = {"trade_id": f"{self.rng.getrandbits(64):016x}", "market_ticker": market}
        size = {"count_fp": format_count(self._count()), "taker_outcome_side": taker, "is_block_trade": False}
        self._say({"type": "trade", "sid": 2, "msg": {**ids, **body, **size, "ts_ms": self.now_ms - 3}})

    def _say(self, frame: Frame) -> None:
        if "sid" in frame:
            self._seq[frame["sid"]] += 1
            head = {"type": frame["type"], "sid": frame["sid"], "seq": self._seq[frame["sid"]]}
            frame = {**head, "msg": frame["msg"]}
        self.takes.append(Take(self.now_ms, frame))


def wrapped(takes: Iterable[Take]) -> list[bytes]:
    """Return the lines of a recorder that keeps frames verbatim beside their receive times."""
    return [b'{"recv_ms":%d,"event":%s}' % (take.received_ms, take.text) for take in takes]


def verbatim(takes: Iterable[Take]) -> list[bytes]:
    """Return the lines of a recorder that keeps nothing but frames."""
    return [take.text for take in takes]


def envelopes(takes: Iterable[Take]) -> list[bytes]:
    """Return the lines of a recorder that takes frames apart: sorted keys, bodies apart, a field of its own."""
    takes = list(takes)
    market = takes[-1].frame["msg"]["market_ticker"]
    note = _envelope(takes[0].received_ms, "ws_connected", market, {"market_ticker": market})
    return [note, *(_enveloped(take) for take in takes)]


def rotated(at_ms: int) -> bytes:
    """Return the note of that recorder that it left one market for another."""
    return _envelope(at_ms, "market_rotated", MARKETS[1], {"active_market_ticker": MARKETS[1]})


def _enveloped(take: Take) -> bytes:
    frame = take.frame
    if frame["type"] == "subscribed":
        return _envelope(take.received_ms, "ws_subscribed", None, frame)
    body = dict(frame["msg"])
    if frame["type"] == "orderbook_delta":
        body["price_cents"] = round(float(body["price_dollars"]) * 100)
    return _envelope(take.received_ms, frame["type"], body["market_ticker"], body, frame["seq"])


_CHANNELS = {"trade": "trade", "orderbook_delta": "orderbook_delta", "orderbook_snapshot": "orderbook_delta"}


def _envelope(at_ms: int, event_type: str, market: str | None, body: Frame, seq: int | None = None) -> bytes:
    channel = _CHANNELS.get(event_type, "control")
    envelope = {"channel": channel, "event_type": event_type, "local_recv_ns": at_ms * 1_000_000 + 17}
    about = {"market_ticker": market, "payload_json": body, "sequence_number": seq, "recorder_type": "ours"}
    return json.dumps({**envelope, **about}, sort_keys=True, separators=(",", ":")).encode()


def rows(takes: Iterable[Take]) -> list[Frame]:
    """Return the table rows of a recorder of the cents era, which named the wrong market in deltas."""
    return [row for take in takes for row in _rows(take)]


def _rows(take: Take) -> list[Frame]:
    frame, body = take.frame, take.frame["msg"]
    moment = datetime.fromtimestamp(take.received_ms / 1000, tz=UTC).isoformat()
    head = {"sid": frame.get("sid"), "seq": frame.get("seq"), "ts": moment, "ingest_ts": moment}
    match frame["type"]:
        case "orderbook_snapshot":
            head |= {"type": "snapshot", "market_ticker": body["market_ticker"], "market_id": "m"}
            levels = [(s, *level) for s in ("yes", "no") for level in body[f"{s}_dollars_fp"]]
            return [head | {"side": s, "price": _cents(p), "qty": int(float(n))} for s, p, n in levels]
        case "orderbook_delta":
            head |= {"type": "delta", "market_ticker": "KXWRONG", "market_id": "", "side": body["side"]}
            return [head | {"price": _cents(body["price_dollars"]), "qty": int(float(body["delta_fp"]))}]
        case _:
            return []


def _cents(dollars: str) -> int:
    return round(float(dollars) * 100)


def write(path: Path, lines: Sequence[bytes]) -> Path:
    """Write lines plain, or packed as the name's ending says."""
    data = b"".join(line + b"\n" for line in lines)
    match path.suffix:
        case ".gz":
            data = gzip.compress(data, mtime=0)
        case ".zst":
            data = zstandard.compress(data)
        case _:
            pass
    path.write_bytes(data)
    return path


def write_rows(path: Path, table: Sequence[Frame]) -> Path:
    """Write table rows as Parquet."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(table)), path)
    return path


def write_all(directory: Path, seed: int = 1, deltas: int = 300) -> list[Path]:
    """Write one recording of every form and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    scene, cents = Scene(random.Random(seed)), Scene(random.Random(seed), MARKETS[:1], is_whole_cents=True)
    takes = scene.play(deltas)
    two = Scene(random.Random(seed), MARKETS[1:])
    connections = envelopes(two.play(deltas // 2)) + envelopes(two.play(deltas // 2))
    return [
        write(directory / "wrapped.ndjson.gz", wrapped(takes)),
        write(directory / "verbatim.jsonl", verbatim(takes)),
        write(directory / "envelope.ndjson.zst", connections),
        write_rows(directory / "rows.parquet", rows(cents.play(deltas))),
    ]


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
