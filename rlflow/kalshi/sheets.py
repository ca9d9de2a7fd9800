"""The data sheets that the venue's REST interface gives (protocol 6), as far as we use them, in our units.

Every `from_json` reads one JSON object, passes over fields that it does not know, and raises `AnswerRejectedError` for
what is not that kind of object. What can be missing on the wire is None here. Of markets, events and series so is what
cannot be read, and `unread` names it: that a market is settled counts, whatever else is said of it.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final, Self, TypeVar

import attrs
import msgspec

from rlflow.errors import AnswerRejectedError
from rlflow.kalshi.optional_fields import OptionalFields
from rlflow.kalshi.wire_values import WireNumber, WireTime, count, decimal, name, price, required, time_ns
from rlflow.units import Count, Nanos, Price, Side

FINAL: Final = "finalized"
"""The status after which nothing about a market changes any more (protocol 8.1)."""
STATUS_FILTERS: Final = ("unopened", "open", "paused", "closed", "settled")
"""The words that `GET /markets` filters by, which are not those of `MarketSheet.status`."""

T = TypeVar("T")
W = TypeVar("W")


def read(raw: bytes | msgspec.Raw, wire: type[W], what: str, translate: Callable[[W], T]) -> T:
    """Return what `translate` makes of one JSON object; AnswerRejectedError if it is not one of that form."""
    try:
        return translate(msgspec.json.decode(raw, type=wire))
    except (ValueError, RecursionError) as error:
        raise AnswerRejectedError(what, ascii(str(error) or type(error).__name__)[1:-1][:200]) from error


class _RangeWire(msgspec.Struct, frozen=True):
    start: WireNumber
    end: WireNumber
    step: WireNumber


@attrs.frozen
class PriceRange:
    """One band of the tick grid: prices from `start` to `end`, both included, in steps of `step`."""

    start: Price
    end: Price
    step: Price

    @classmethod
    def from_wire(cls, wire: _RangeWire) -> Self:
        """Translate; ValueError for a band that has no prices."""
        start, end, step = (
            required(price(value), "an end or the step of a price range") for value in (wire.start, wire.end, wire.step)
        )
        if not start <= end or step <= 0:
            raise ValueError("a price range is empty or has no step")
        return cls(start, end, step)


@attrs.frozen
class MarketSheet:
    """One market, as `GET /markets` gives it."""

    ticker: str
    event_ticker: str
    status: str
    """The venue's word (protocol 8.1): initialized, active, inactive, closed, determined, finalized, ..."""
    title: str | None
    """Deprecated by the venue in favour of the event's."""
    yes_sub_title: str | None
    open_ns: Nanos | None
    close_ns: Nanos | None
    expected_expiration_ns: Nanos | None
    settlement_timer_s: int | None
    """Between determination and payment."""
    settled_ns: Nanos | None
    updated_ns: Nanos | None
    result: str | None
    """yes, no or scalar; may still change while the status is not final."""
    settlement_value: Price | None
    """What a YES contract pays."""
    price_level_structure: str | None
    price_ranges: tuple[PriceRange, ...]
    """The tick grid; decides over the structure's name."""
    fee_waiver_until_ns: Nanos | None
    exchange_index: int | None
    is_provisional: bool
    """The market may be deleted after its determination."""
    unread: tuple[str, ...]
    """The venue's names of fields that could not be read."""
    raw: bytes = attrs.field(repr=False)
    """The JSON object itself."""

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status == FINAL

    @classmethod
    def from_json(cls, raw: bytes | msgspec.Raw) -> Self:
        """Read the object that stands in `markets` or under `market`."""
        return read(raw, dict[str, Any], "a market", partial(cls._from_body, bytes(raw)))

    @classmethod
    def _from_body(cls, raw: bytes, body: Mapping[str, Any]) -> Self:
        fields = OptionalFields(body)
        return cls(
            ticker=_name(body, "ticker"),
            event_ticker=_name(body, "event_ticker"),
            status=msgspec.convert(body.get("status"), type=str),
            title=fields.plain("title", str),
            yes_sub_title=fields.plain("yes_sub_title", str),
            open_ns=fields.get("open_time", WireTime, time_ns),
            close_ns=fields.get("close_time", WireTime, time_ns),
            expected_expiration_ns=fields.get("expected_expiration_time", WireTime, time_ns),
            settlement_timer_s=fields.plain("settlement_timer_seconds", int),
            settled_ns=fields.get("settlement_ts", WireTime, time_ns),
            updated_ns=fields.get("updated_time", WireTime, time_ns),
            result=fields.plain("result", str),
            settlement_value=fields.get("settlement_value_dollars", WireNumber, price),
            price_level_structure=fields.plain("price_level_structure", str),
            # All of them or none: a part of a grid would refuse prices that are on it.
            price_ranges=fields.get("price_ranges", tuple[_RangeWire, ...], _ranges) or (),
            fee_waiver_until_ns=fields.get("fee_waiver_expiration_time", WireTime, time_ns),
            exchange_index=fields.plain("exchange_index", int),
            is_provisional=bool(fields.plain("is_provisional", bool)),
            # Behind all that is read.
            unread=fields.unread,
            raw=raw,
        )


def _ranges(wire: tuple[_RangeWire, ...]) -> tuple[PriceRange, ...]:
    return tuple(map(PriceRange.from_wire, wire))


def _name(body: Mapping[str, Any], field: str) -> str:
    """Return a ticker that must be there; ValueError if it is none."""
    return name(msgspec.convert(body.get(field), type=str), field)


@attrs.frozen
class EventSheet:
    """One event: the markets on one question."""

    event_ticker: str
    series_ticker: str | None
    title: str | None
    sub_title: str | None
    fee_type_override: str | None
    """In place of the series' fee type; None: that one holds."""
    fee_multiplier_override: Decimal | None
    unread: tuple[str, ...]

    @classmethod
    def from_json(cls, raw: bytes | msgspec.Raw) -> Self:
        """Read the object that stands in `events` or under `event`."""
        return read(raw, dict[str, Any], "an event", cls._from_body)

    @classmethod
    def _from_body(cls, body: Mapping[str, Any]) -> Self:
        fields = OptionalFields(body)
        return cls(
            event_ticker=_name(body, "event_ticker"),
            series_ticker=fields.plain("series_ticker", str),
            title=fields.plain("title", str),
            sub_title=fields.plain("sub_title", str),
            fee_type_override=fields.plain("fee_type_override", str),
            fee_multiplier_override=fields.get("fee_multiplier_override", WireNumber, decimal),
            unread=fields.unread,
        )


@attrs.frozen
class SeriesSheet:
    """One series: events of the same kind, one after the other."""

    ticker: str
    title: str | None
    frequency: str | None
    category: str | None
    fee_type: str | None
    """The fee model's name (protocol 7): quadratic, quadratic_with_maker_fees, flat, ..."""
    fee_multiplier: Decimal | None
    unread: tuple[str, ...]

    @classmethod
    def from_json(cls, raw: bytes | msgspec.Raw) -> Self:
        """Read the object that stands under `series`."""
        return read(raw, dict[str, Any], "a series", cls._from_body)

    @classmethod
    def _from_body(cls, body: Mapping[str, Any]) -> Self:
        fields = OptionalFields(body)
        return cls(
            ticker=_name(body, "ticker"),
            title=fields.plain("title", str),
            frequency=fields.plain("frequency", str),
            category=fields.plain("category", str),
            fee_type=fields.plain("fee_type", str),
            fee_multiplier=fields.get("fee_multiplier", WireNumber, decimal),
            unread=fields.unread,
        )


class _FeeChangeWire(msgspec.Struct, frozen=True):
    series_ticker: str
    fee_type: str
    fee_multiplier: WireNumber
    scheduled_ts: WireTime


@attrs.frozen
class FeeChange:
    """From when on a series has which fee, past or announced."""

    series_ticker: str
    fee_type: str
    fee_multiplier: Decimal
    from_ns: Nanos

    @classmethod
    def from_json(cls, raw: bytes | msgspec.Raw) -> Self:
        """Read an object of `series_fee_change_arr`."""
        return read(raw, _FeeChangeWire, "a fee change", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _FeeChangeWire) -> Self:
        multiplier = decimal(wire.fee_multiplier)
        if multiplier is None:
            raise ValueError("fee_multiplier is missing")
        from_ns = required(time_ns(wire.scheduled_ts), "scheduled_ts")
        return cls(name(wire.series_ticker, "series ticker"), wire.fee_type, multiplier, from_ns)


class _TradeWire(msgspec.Struct, frozen=True):
    trade_id: str
    ticker: str
    count_fp: WireNumber
    yes_price_dollars: WireNumber
    created_time: WireTime
    taker_outcome_side: Any = None
    taker_side: Any = None
    is_block_trade: bool = False


@attrs.frozen
class RestTrade:
    """One trade of the past."""

    trade_id: str
    ticker: str
    created_ns: Nanos
    yes_price: Price
    count: Count
    taker_side: Side
    is_block_trade: bool

    @classmethod
    def from_json(cls, raw: bytes | msgspec.Raw) -> Self:
        """Read an object of `trades`."""
        return read(raw, _TradeWire, "a trade", cls._from_wire)

    @classmethod
    def _from_wire(cls, wire: _TradeWire) -> Self:
        side = wire.taker_outcome_side or wire.taker_side
        if side not in ("yes", "no"):
            raise ValueError("the taker's side is neither yes nor no")
        size = required(count(wire.count_fp), "count_fp")
        if size < 0:
            raise ValueError("count_fp is negative")
        return cls(
            trade_id=name(wire.trade_id, "trade id"),
            ticker=name(wire.ticker, "ticker"),
            created_ns=required(time_ns(wire.created_time), "created_time"),
            yes_price=required(price(wire.yes_price_dollars), "yes_price_dollars"),
            count=size,
            taker_side=side,
            is_block_trade=wire.is_block_trade,
        )
