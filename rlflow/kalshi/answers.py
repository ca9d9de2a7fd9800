"""The bodies of REST answers (protocol 6): pages of a list, the exchange's state, one's limits, a book, and errors.

A page gives its items as they stand in the JSON, so that one item that cannot be read does not spoil the others.
"""

from functools import partial
from typing import Any, Self

import attrs
import msgspec

from rlflow.errors import AnswerRejectedError
from rlflow.kalshi.sheets import read
from rlflow.kalshi.wire_values import WireNumber, WireTime, count, decimal, price, required, time_ns
from rlflow.units import Count, Nanos, Price

_MAX_TEXT = 200


@attrs.frozen
class Page:
    """A part of a list."""

    items: tuple[msgspec.Raw, ...]
    cursor: str
    """Where the next part begins; empty: this is the last one."""


def read_page(raw: bytes, field: str) -> Page:
    """Return the page whose items stand under `field`; AnswerRejectedError if it has none."""
    return read(raw, dict[str, msgspec.Raw], f"a page of {field}", partial(_page, field))


def _page(field: str, body: dict[str, msgspec.Raw]) -> Page:
    items = msgspec.json.decode(body[field], type=tuple[msgspec.Raw, ...] | None) if field in body else None
    if items is None and field not in body:
        raise ValueError(f"{field} is missing")
    cursor = msgspec.json.decode(body.get("cursor", b'""'), type=str | None)
    return Page(items or (), cursor or "")


def read_member(raw: bytes, field: str) -> msgspec.Raw:
    """Return the object that stands under `field`; AnswerRejectedError if there is none."""
    body = read(raw, dict[str, msgspec.Raw], f"an answer with {field}", lambda body: body)
    if field not in body:
        raise AnswerRejectedError(f"an answer with {field}", f"{field} is missing")
    return body[field]


class _StatusWire(msgspec.Struct, frozen=True):
    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: WireTime = None


@attrs.frozen
class ExchangeStatus:
    """Whether the exchange works; its shards may differ."""

    is_exchange_active: bool
    is_trading_active: bool
    resumes_ns: Nanos | None
    """When it is expected to work again."""

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the answer, which comes with 503 and 504 too."""
        return read(raw, _StatusWire, "the exchange's status", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _StatusWire) -> Self:
        return cls(wire.exchange_active, wire.trading_active, time_ns(wire.exchange_estimated_resume_time))


class _WindowWire(msgspec.Struct, frozen=True):
    start_datetime: WireTime
    end_datetime: WireTime


class _ScheduleBody(msgspec.Struct, frozen=True):
    maintenance_windows: tuple[_WindowWire, ...] | None = None


class _ScheduleWire(msgspec.Struct, frozen=True):
    schedule: _ScheduleBody


@attrs.frozen
class MaintenanceWindow:
    """When the exchange is closed."""

    from_ns: Nanos
    to_ns: Nanos


@attrs.frozen
class Schedule:
    """The announced maintenance; apart from it the exchange is open at all hours (protocol 8.2)."""

    maintenance: tuple[MaintenanceWindow, ...]

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the answer."""
        return read(raw, _ScheduleWire, "the schedule", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _ScheduleWire) -> Self:
        windows = wire.schedule.maintenance_windows or ()
        return cls(
            tuple(
                MaintenanceWindow(
                    required(time_ns(window.start_datetime), "start_datetime"),
                    required(time_ns(window.end_datetime), "end_datetime"),
                )
                for window in windows
            )
        )


class _BucketWire(msgspec.Struct, frozen=True):
    refill_rate: WireNumber
    bucket_capacity: WireNumber


class _LimitsWire(msgspec.Struct, frozen=True):
    read: _BucketWire
    write: _BucketWire
    usage_tier: str = ""


@attrs.frozen
class BucketLimits:
    """A token bucket's: a request costs ten tokens unless said otherwise (protocol 6.5)."""

    rate: float
    """Tokens per second."""
    capacity: float

    @classmethod
    def from_wire(cls, wire: _BucketWire) -> Self:
        """Translate; ValueError for a bucket that gives nothing."""
        rate, capacity = decimal(wire.refill_rate), decimal(wire.bucket_capacity)
        if rate is None or rate <= 0 or capacity is None or capacity <= 0:
            raise ValueError("a bucket without rate or capacity")
        return cls(float(rate), float(capacity))


@attrs.frozen
class AccountLimits:
    """How much an account may ask."""

    usage_tier: str
    read: BucketLimits
    write: BucketLimits

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the answer."""
        return read(raw, _LimitsWire, "the account's limits", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _LimitsWire) -> Self:
        return cls(wire.usage_tier, BucketLimits.from_wire(wire.read), BucketLimits.from_wire(wire.write))


class _BookWire(msgspec.Struct, frozen=True):
    yes_dollars: tuple[tuple[WireNumber, WireNumber], ...] | None = None
    no_dollars: tuple[tuple[WireNumber, WireNumber], ...] | None = None


class _BookAnswerWire(msgspec.Struct, frozen=True):
    orderbook_fp: _BookWire | None = None
    orderbook: Any = None


@attrs.frozen
class RestOrderbook:
    """A book at no known moment: never to be joined with the live one (protocol 6.2)."""

    yes_bids: tuple[tuple[Price, Count], ...]
    """Best first."""
    no_bids: tuple[tuple[Price, Count], ...]

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the answer; an empty book came as an empty `orderbook` in June 2026."""
        return read(raw, _BookAnswerWire, "an order book", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _BookAnswerWire) -> Self:
        if wire.orderbook_fp is None and wire.orderbook != {}:
            raise ValueError("orderbook_fp is missing")
        book = wire.orderbook_fp or _BookWire()
        return cls(_levels(book.yes_dollars), _levels(book.no_dollars))


def _levels(side: tuple[tuple[WireNumber, WireNumber], ...] | None) -> tuple[tuple[Price, Count], ...]:
    levels = [(required(price(at), "a price"), required(count(size), "a count")) for at, size in side or ()]
    return tuple(sorted(levels, reverse=True))


@attrs.frozen
class ErrorAnswer:
    """What the body of a refusal says."""

    code: str
    """Empty where it has none."""
    message: str

    @classmethod
    def from_body(cls, raw: bytes) -> Self:
        """Read any of the three live shapes, the string of a 429, or what is no JSON at all; raises nothing."""
        try:
            body = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            return cls("", _printable(raw.decode(errors="replace")))
        inner = body.get("error", body) if isinstance(body, dict) else body
        if not isinstance(inner, dict):
            return cls("", _printable(str(inner)))
        said = [inner.get(field) for field in ("message", "msg", "details")]
        return cls(_printable(str(inner.get("code") or "")), _printable(": ".join(str(text) for text in said if text)))


def _printable(text: str) -> str:
    """Return the peer's text in one bounded line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT]).split())
