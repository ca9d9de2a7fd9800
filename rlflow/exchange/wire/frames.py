"""The venue's frames as bytes: control frames and snapshots, field order as on the wire (protocol 3.3 and 4.1)."""

import functools
import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from rlflow.exchange.wire.items import Image, Ladder
from rlflow.units import Nanos, complement, format_count, format_price

_NAMESPACE = uuid.UUID("5f0c1b3e-7a52-4f7e-9f43-2f6f3d1f9a10")


def control(
    kind: str,
    *,
    command_id: int = 0,
    sid: int | None = None,
    seq: int | None = None,
    msg: Any = None,
    now_ms: int,
) -> bytes:
    """Return a control frame; what is None, and a command id of 0, is left out."""
    fields = {"type": kind, "id": command_id or None, "sid": sid, "seq": seq, "msg": msg, "sending_ts_ms": now_ms}
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def snapshot(
    image: Image, *, sid: int, seq: int, use_yes_price: bool = False, command_id: int = 0, now_ms: int
) -> bytes:
    """Return an `orderbook_snapshot`; the key of an empty side is left out, levels are in ascending order."""
    msg: dict[str, Any] = {
        "market_ticker": image.market_ticker,
        "market_id": image.market_id,
        "clock": image.clock,
    }
    no = tuple((complement(price), count) for price, count in image.no) if use_yes_price else image.no
    msg |= {f"{side}_dollars_fp": _levels(ladder) for side, ladder in (("yes", image.yes), ("no", no)) if ladder}
    return control("orderbook_snapshot", command_id=command_id, sid=sid, seq=seq, msg=msg, now_ms=now_ms)


def _levels(ladder: Ladder) -> list[tuple[str, str]]:
    return [(format_price(price), format_count(count)) for price, count in sorted(ladder)]


def text_frames(payloads: Sequence[bytes]) -> bytes:
    """Return the payloads as unmasked websocket text frames, back to back (RFC 6455, 5.2)."""
    parts: list[bytes] = []
    for payload in payloads:
        parts.append(_text_header(len(payload)))
        parts.append(payload)
    return b"".join(parts)


# Frame lengths repeat: a market's deltas differ by a few digits.
@functools.lru_cache(maxsize=4096)
def _text_header(length: int) -> bytes:
    if length < 126:
        return bytes((0x81, length))
    if length < 65_536:
        return struct.pack("!BBH", 0x81, 126, length)
    return struct.pack("!BBQ", 0x81, 127, length)


def rfc3339_ms(at_ns: Nanos) -> str:
    """Return a time as the venue writes it: 2026-11-22T00:00:00.119Z."""
    second, rest = divmod(at_ns, 1_000_000_000)
    return f"{_second_text(second)}.{rest // 1_000_000:03d}Z"


# Everything within one second shares it.
@functools.lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@functools.lru_cache(maxsize=16_384)
def market_id(ticker: str) -> str:
    """Return a market's id, the same in every run."""
    return str(uuid.uuid5(_NAMESPACE, ticker))


def trade_id(seed: int, number: int) -> str:
    """Return the id of a market's n-th trade: UUID-shaped, distinct within a run, the same for the same seed."""
    return f"{seed & 0xFFFFFFFF:08x}-0000-4000-8000-{number & 0xFFFFFFFFFFFF:012x}"


# A market has at most 10,001 prices; formatting one costs as much as the rest of its frame.
price_text = functools.lru_cache(maxsize=16_384)(format_price)
# Few sizes make up most of the changes.
count_text = functools.lru_cache(maxsize=16_384)(format_count)
