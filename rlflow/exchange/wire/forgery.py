"""Frames that are wrong: altered ones, and ones too many."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.units import ONE_CONTRACT, ONE_DOLLAR, PRICE_PER_CENT, format_price, parse_count, parse_price

UNHEARD_OF: Final = "unheard_of"
_NOVELTY: Final = {"since": "tomorrow", "list": [1, None, {"deep": True}]}
# More than any book holds, and less than what no column takes.
_HUGE_REDUCTION: Final = "-900000000.00"
# Half a tick of tenths of a cent; there are markets with finer ticks, and for those it is a price like any other.
_OFF_GRID: Final = 5


def alter(kind: FaultKind, frame: bytes) -> bytes:
    """Return the frame with what is wrong in it; ValueError for a kind that alters none."""
    if kind is FaultKind.GARBLE:
        return frame[: len(frame) // 2]
    if kind is FaultKind.BAD_UTF8:
        return frame.rstrip()[:-1] + b',"\xff":0}'
    if kind not in _ALTERATIONS:
        raise ValueError(f"{kind} alters no frame")
    fields = msgspec.json.decode(frame)
    if isinstance(fields.get("msg"), dict):
        _ALTERATIONS[kind](fields)
    return msgspec.json.encode(fields)


def _add_novelty(fields: dict[str, Any]) -> None:
    fields["novelty"] = _NOVELTY
    fields["msg"]["novelty"] = _NOVELTY


def _remove_clock(fields: dict[str, Any]) -> None:
    fields["msg"].pop("clock", None)


def _make_legacy(fields: dict[str, Any]) -> None:
    """Write a frame as before the fixed-point forms (protocol 4.2 and 5.2); other types stay as they are."""
    msg = fields["msg"]
    for side in ("yes", "no"):
        levels = msg.pop(f"{side}_dollars_fp", None)
        if levels is not None:
            msg[side] = [[_cents(price), _contracts(count)] for price, count in levels]
        price = msg.pop(f"{side}_price_dollars", None)
        if price is not None:
            msg[f"{side}_price"] = _cents(price)
    if "delta_fp" in msg:
        msg["price"], msg["delta"] = _cents(msg.pop("price_dollars")), _contracts(msg.pop("delta_fp"))
    if "count_fp" in msg:
        msg["count"] = _contracts(msg.pop("count_fp"))
    for name in ("clock", "ts_ms", "taker_outcome_side", "taker_book_side", "is_block_trade"):
        msg.pop(name, None)
    fields.pop("sending_ts_ms", None)


def _cents(dollars: str) -> int:
    return parse_price(dollars) // PRICE_PER_CENT


def _contracts(count: str) -> int:
    hundredths = parse_count(count)
    return (abs(hundredths) // ONE_CONTRACT) * (1 if hundredths >= 0 else -1)


_ALTERATIONS: Final[dict[FaultKind, Callable[[dict[str, Any]], None]]] = {
    FaultKind.UNKNOWN_FIELD: _add_novelty,
    FaultKind.NO_CLOCK: _remove_clock,
    FaultKind.LEGACY: _make_legacy,
}


def invent(kind: FaultKind, frame: bytes, *, seq: int | None, size_bytes: int = 0) -> bytes:
    """Return the frame too many that comes behind a frame, with a number of its own.

    Args:
        kind: ValueError for one that makes no frame.
        frame: Whose subscription, and for a delta whose market, it speaks of.
        seq: Its number, None on a channel without numbers.
        size_bytes: How long one made for its size is.
    """
    fields = msgspec.json.decode(frame)
    numbers = {} if seq is None else {"seq": seq}
    if kind is FaultKind.OVERSIZE:
        return _padded({"type": UNHEARD_OF, "sid": fields["sid"], **numbers}, size_bytes)
    if kind is FaultKind.UNKNOWN_TYPE:
        return msgspec.json.encode({"type": UNHEARD_OF, "sid": fields["sid"], **numbers, "msg": _NOVELTY})
    return msgspec.json.encode({**fields, **numbers, "msg": {**fields["msg"], **_wrong_change(kind, fields["msg"])}})


def _wrong_change(kind: FaultKind, msg: dict[str, Any]) -> dict[str, str]:
    if kind is FaultKind.NEGATIVE:
        return {"delta_fp": _HUGE_REDUCTION}
    if kind is FaultKind.UNKNOWN_LEVEL:
        # At nothing, or at a dollar, no order rests.
        return {"price_dollars": "0.0000", "side": "yes", "delta_fp": "-1.00"}
    if kind is FaultKind.OFF_GRID:
        price = parse_price(msg["price_dollars"])
        return {
            "price_dollars": format_price(price + _OFF_GRID if price + _OFF_GRID < ONE_DOLLAR else price - _OFF_GRID),
            "delta_fp": "1.00",
        }
    raise ValueError(f"{kind} makes no frame")


def _padded(fields: dict[str, Any], size_bytes: int) -> bytes:
    bare = len(msgspec.json.encode({**fields, "msg": {"padding": ""}}))
    return msgspec.json.encode({**fields, "msg": {"padding": "x" * max(0, size_bytes - bare)}})
