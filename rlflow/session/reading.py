"""From the wire's texts to exact values. Whatever has no exact value is refused."""

from datetime import UTC, datetime, timedelta

import msgspec

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.messages import DeltaBody, Int63, Trade, WireLevels
from rlflow.orderbook import Book, BookError, Level
from rlflow.session.rows import TradeRow
from rlflow.units import Count, Nanos, Price, complement, parse_count, parse_price

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# The deprecated `ts` of trades is in seconds (protocol 5.2); this many are the year 5138.
_MAX_SECONDS = 10**11
_MAX_TEXT = 200


class Envelope(msgspec.Struct, frozen=True):
    """What can still be read of a frame that was refused."""

    sid: Int63 | None = None
    seq: Int63 | None = None


class _SidOnly(msgspec.Struct, frozen=True):
    sid: Int63 | None = None


def read_envelope(frame: bytes) -> Envelope:
    """Return the sid and seq of a frame whose content could not be accepted, None for what is not readable."""
    try:
        return msgspec.json.decode(frame, type=Envelope)
    except (ValueError, RecursionError):
        pass
    try:
        return Envelope(msgspec.json.decode(frame, type=_SidOnly).sid)
    except (ValueError, RecursionError):
        return Envelope()


def read_change(delta: DeltaBody) -> tuple[Price, Count]:
    """Return the price, as it is on the wire, and the signed change of a level."""
    try:
        return parse_price(delta.price_dollars), parse_count(delta.delta_fp)
    except ValueError as error:
        raise FrameRejectedError(printable(str(error))) from error


def read_book(yes: WireLevels, no: WireLevels, *, use_yes_price: bool) -> Book:
    """Return the book of a snapshot; `FrameRejectedError` if there can be no such book.

    Args:
        yes: Bids in any order; a level of size 0 is none.
        no: Likewise, in YES prices if `use_yes_price` (protocol 4.5).
        use_yes_price: What the subscription asked for.
    """
    try:
        yes_bids, no_bids = _levels(yes), _levels(no)
        if use_yes_price:
            no_bids = [(complement(price), size) for price, size in no_bids]
        return Book(yes_bids, no_bids)
    except (ValueError, BookError) as error:
        raise FrameRejectedError(printable(str(error))) from error


def _levels(levels: WireLevels) -> list[Level]:
    pairs = ((parse_price(price), parse_count(size)) for price, size in levels)
    return [(price, size) for price, size in pairs if size]


def read_trade(message: Trade, frame_no: int, received_ns: Nanos) -> TradeRow:
    """Return a trade's row; `FrameRejectedError` if it says too little, or what no trade can be."""
    body = message.msg
    try:
        count, yes_price = parse_count(body.count_fp), parse_price(body.yes_price_dollars)
    except ValueError as error:
        raise FrameRejectedError(printable(str(error))) from error
    # `taker_side` is the older name.
    taker_side = body.taker_outcome_side or body.taker_side
    if count <= 0 or taker_side is None:
        raise FrameRejectedError("a trade of nothing, or without the taker's side")
    return TradeRow(
        market_ticker=body.market_ticker,
        frame_no=frame_no,
        received_ns=received_ns,
        sending_ts_ms=message.sending_ts_ms,
        sid=message.sid,
        sequence_number=message.seq,
        timestamp_ms=body.ts_ms if body.ts_ms is not None else event_ms(body.ts),
        trade_id=body.trade_id,
        yes_price=yes_price,
        count=count,
        taker_side=taker_side,
        is_block_trade=body.is_block_trade,
    )


def event_ms(ts: str | int | None) -> int | None:
    """Return the venue's time from the deprecated `ts`, in ms since 1970, cut to the millisecond; None if unreadable.

    It is all that older recordings have: RFC 3339 text on deltas, seconds on trades.
    """
    if ts is None:
        return None
    if isinstance(ts, int):
        return ts * 1000 if 0 <= ts < _MAX_SECONDS else None
    try:
        moment = datetime.fromisoformat(ts)
    except ValueError:
        # The field is deprecated and decides nothing: not worth refusing a change of the book.
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // _MILLISECOND


def printable(text: str) -> str:
    """Return foreign text in a form that every table and terminal takes, cut to 200 characters."""
    return ascii(text)[1:-1][:_MAX_TEXT]
