"""The venue's messages as frozen structs, field by field as they are on the wire (protocol sections 3 to 5).

Names and units are the venue's own: decimal strings for prices (dollars) and counts (contracts), `*_ms` in milliseconds
since 1970 UTC. A field without a default must be there. Every field that the venue is known to send is declared, so that
an undeclared one is news (`decode.Decoder` counts them).
"""

from typing import Any, Literal, TypeAlias

import msgspec

WireLevels: TypeAlias = tuple[tuple[str, str], ...]


class _Frame(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """What every server frame may carry."""


class SnapshotBody(msgspec.Struct, frozen=True, gc=False):
    """A whole book. An absent side is empty."""

    market_ticker: str
    market_id: str = ""
    clock: int | None = None
    yes_dollars_fp: WireLevels = ()
    no_dollars_fp: WireLevels = ()


class OrderbookSnapshot(_Frame, frozen=True, gc=False, tag="orderbook_snapshot"):
    """The answer to a subscription or to `get_snapshot` (then with `id`); also sent unasked at a market's close."""

    sid: int
    seq: int
    msg: SnapshotBody
    id: int | None = None
    sending_ts_ms: int | None = None


class DeltaBody(msgspec.Struct, frozen=True, gc=False):
    """One level's change."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    market_id: str = ""
    clock: int | None = None
    ts_ms: int | None = None
    ts: str | int | None = None
    client_order_id: str | None = None
    subaccount: int | None = None


class OrderbookDelta(_Frame, frozen=True, gc=False, tag="orderbook_delta"):
    """One level's change, in the order of the venue's engine."""

    sid: int
    seq: int
    msg: DeltaBody
    sending_ts_ms: int | None = None


class TradeBody(msgspec.Struct, frozen=True, gc=False):
    """One trade."""

    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    count_fp: str
    taker_outcome_side: Literal["yes", "no"] | None = None
    taker_side: Literal["yes", "no"] | None = None
    no_price_dollars: str | None = None
    taker_book_side: str | None = None
    is_block_trade: bool = False
    ts_ms: int | None = None
    ts: int | str | None = None
    market_id: str = ""


class Trade(_Frame, frozen=True, gc=False, tag="trade"):
    """A trade between two others, or a block trade."""

    sid: int
    seq: int
    msg: TradeBody
    sending_ts_ms: int | None = None


class SubscribedBody(msgspec.Struct, frozen=True):
    """The channel and the id it got."""

    channel: str
    sid: int


class Subscribed(_Frame, frozen=True, tag="subscribed"):
    """One channel is subscribed; carries no seq."""

    msg: SubscribedBody
    id: int | None = None
    sid: int | None = None
    seq: int | None = None
    sending_ts_ms: int | None = None


class Ok(_Frame, frozen=True, tag="ok"):
    """A command was carried out. `msg` is the full set of markets, or a list of subscriptions, or absent."""

    id: int | None = None
    sid: int | None = None
    seq: int | None = None
    msg: Any = None
    sending_ts_ms: int | None = None

    def market_tickers(self) -> tuple[str, ...] | None:
        """Return the full resulting set of markets, None where the answer does not say."""
        tickers = self.msg.get("market_tickers") if isinstance(self.msg, dict) else None
        return None if tickers is None else tuple(tickers)


class Unsubscribed(_Frame, frozen=True, tag="unsubscribed"):
    """A subscription ended; its sid is never used again."""

    sid: int
    id: int | None = None
    seq: int | None = None
    msg: Any = None
    sending_ts_ms: int | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The code of protocol 3.5 and a text."""

    code: int
    msg: str = ""
    market_ticker: str | None = None
    market_tickers: tuple[str, ...] | None = None


class Error(_Frame, frozen=True, tag="error"):
    """A command failed, or a subscription (then with `sid`; codes 10 and 25 end it)."""

    msg: ErrorBody
    id: int | None = None
    sid: int | None = None
    seq: int | None = None
    sending_ts_ms: int | None = None


class Other(msgspec.Struct, frozen=True):
    """A frame of a type that is not stored: only its envelope, since it may take a `seq`."""

    type: str
    id: int | None = None
    sid: int | None = None
    seq: int | None = None


Control: TypeAlias = Subscribed | Ok | Unsubscribed | Error
Known: TypeAlias = OrderbookSnapshot | OrderbookDelta | Trade | Control
Message: TypeAlias = Known | Other
