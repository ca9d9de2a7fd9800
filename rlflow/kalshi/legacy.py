"""The forms that frames had before 2026-03-12, for old recordings only (protocol 4.2).

Three generations overlap: integer cents and contracts; dollar strings beside them (`*_dollars`, from 2025-09); count
strings beside those (`*_fp`, from 2026-01). Where a frame has several, the finest is read: a fraction cannot be said in
the coarser ones.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.messages import (
    Control,
    DeltaBody,
    Int63,
    Known,
    Message,
    OrderbookDelta,
    OrderbookSnapshot,
    SnapshotBody,
    Trade,
    TradeBody,
    WireLevels,
)
from rlflow.units import ONE_CONTRACT, PRICE_PER_CENT, complement, format_count, format_price, parse_price

CentLevels: TypeAlias = tuple[tuple[int, int], ...]
DollarLevels: TypeAlias = tuple[tuple[str, int | str], ...]


class _Frame(msgspec.Struct, frozen=True, gc=False, tag_field="type", forbid_unknown_fields=True):
    """What every server frame may carry."""


class LegacySnapshotBody(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A whole book in up to three notations. An absent side is empty."""

    market_ticker: str
    market_id: str | None = None
    clock: Int63 | None = None
    yes: CentLevels | None = None
    no: CentLevels | None = None
    yes_dollars: DollarLevels | None = None
    no_dollars: DollarLevels | None = None
    yes_dollars_fp: WireLevels | None = None
    no_dollars_fp: WireLevels | None = None


class LegacySnapshot(_Frame, frozen=True, gc=False, tag="orderbook_snapshot"):
    """A whole book."""

    sid: Int63
    seq: Int63
    msg: LegacySnapshotBody
    id: Int63 | None = None
    sending_ts_ms: Int63 | None = None


class LegacyDeltaBody(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One level's change in up to three notations."""

    market_ticker: str
    side: Literal["yes", "no"]
    market_id: str | None = None
    price: int | None = None
    delta: int | None = None
    price_dollars: str | None = None
    delta_fp: str | None = None
    clock: Int63 | None = None
    ts_ms: Int63 | None = None
    ts: str | Int63 | None = None
    client_order_id: str | None = None
    subaccount: Int63 | None = None


class LegacyDelta(_Frame, frozen=True, gc=False, tag="orderbook_delta"):
    """One level's change."""

    sid: Int63
    seq: Int63
    msg: LegacyDeltaBody
    sending_ts_ms: Int63 | None = None


class LegacyTradeBody(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One trade in up to three notations."""

    trade_id: str
    market_ticker: str
    yes_price: int | None = None
    no_price: int | None = None
    count: int | None = None
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: str | None = None
    taker_side: Literal["yes", "no"] | None = None
    taker_outcome_side: Literal["yes", "no"] | None = None
    taker_book_side: str | None = None
    is_block_trade: bool = False
    ts_ms: Int63 | None = None
    ts: Int63 | str | None = None
    market_id: str | None = None


class LegacyTrade(_Frame, frozen=True, gc=False, tag="trade"):
    """A trade between two others."""

    sid: Int63
    seq: Int63
    msg: LegacyTradeBody
    sending_ts_ms: Int63 | None = None


FORMS: tuple[type[msgspec.Struct], ...] = (LegacySnapshot, LegacyDelta, LegacyTrade, *get_args(Control))


def to_current(message: Any) -> Message:
    """Return the message in the current form; one that already is comes back as it is.

    `FrameRejectedError` if a price or a count is missing, or its cents are impossible.
    """
    translate = _TRANSLATIONS.get(type(message))
    if translate is None:
        return message  # type: ignore[no-any-return]  # control frames and envelopes have one form
    try:
        return translate(message)
    except ValueError as error:
        raise FrameRejectedError(ascii(str(error))[1:-1][:200]) from error


def _snapshot(frame: LegacySnapshot) -> OrderbookSnapshot:
    body = frame.msg
    current = SnapshotBody(
        market_ticker=body.market_ticker,
        market_id=body.market_id or "",
        clock=body.clock,
        yes_dollars_fp=_levels(body.yes_dollars_fp, body.yes_dollars, body.yes),
        no_dollars_fp=_levels(body.no_dollars_fp, body.no_dollars, body.no),
    )
    return OrderbookSnapshot(frame.sid, frame.seq, current, frame.id, frame.sending_ts_ms)


def _delta(frame: LegacyDelta) -> OrderbookDelta:
    body = frame.msg
    current = DeltaBody(
        market_ticker=body.market_ticker,
        price_dollars=_dollars(body.price_dollars, body.price, "price"),
        delta_fp=_contracts(body.delta_fp, body.delta, "delta"),
        side=body.side,
        market_id=body.market_id or "",
        clock=body.clock,
        ts_ms=body.ts_ms,
        ts=body.ts,
        client_order_id=body.client_order_id,
        subaccount=body.subaccount,
    )
    return OrderbookDelta(frame.sid, frame.seq, current, frame.sending_ts_ms)


def _trade(frame: LegacyTrade) -> Trade:
    body = frame.msg
    yes_price = _dollars(body.yes_price_dollars, body.yes_price, "YES price")
    current = TradeBody(
        trade_id=body.trade_id,
        market_ticker=body.market_ticker,
        yes_price_dollars=yes_price,
        count_fp=_contracts(body.count_fp, body.count, "count"),
        taker_outcome_side=body.taker_outcome_side,
        taker_side=body.taker_side,
        no_price_dollars=format_price(complement(parse_price(yes_price))),
        taker_book_side=body.taker_book_side,
        is_block_trade=body.is_block_trade,
        ts_ms=body.ts_ms,
        ts=body.ts,
        market_id=body.market_id or "",
    )
    return Trade(frame.sid, frame.seq, current, frame.sending_ts_ms)


_TRANSLATIONS: dict[type, Callable[[Any], Known]] = {
    LegacySnapshot: _snapshot,
    LegacyDelta: _delta,
    LegacyTrade: _trade,
}


def _levels(exact: WireLevels | None, dollars: DollarLevels | None, cents: CentLevels | None) -> WireLevels:
    if exact is not None:
        return exact
    if dollars is not None:
        return tuple((price, _count_text(count)) for price, count in dollars)
    return tuple((_cents_text(price), _count_text(count)) for price, count in cents or ())


def _dollars(exact: str | None, cents: int | None, name: str) -> str:
    if exact is not None:
        return exact
    if cents is None:
        raise ValueError(f"no {name} in any notation")
    return _cents_text(cents)


def _contracts(exact: str | None, whole: int | None, name: str) -> str:
    if exact is not None:
        return exact
    if whole is None:
        raise ValueError(f"no {name} in any notation")
    return _count_text(whole)


def _cents_text(cents: int) -> str:
    """Return "0.4200" for 42."""
    return format_price(parse_price(format_price(cents * PRICE_PER_CENT)))


def _count_text(count: int | str) -> str:
    """Return "12.00" for 12; a text is already in that form."""
    return count if isinstance(count, str) else format_count(count * ONE_CONTRACT)
