"""The venue's messages as frozen structs, field by field as they are on the wire (protocol sections 3 to 5).

Names and units are the venue's own: decimal strings for prices (dollars) and counts (contracts), `*_ms` in milliseconds
since 1970 UTC. A field without a default must be there. Every field that the venue is known to send is declared and any
other one forbidden, so that an undeclared one is news: `decode.Decoder` counts it and reads the frame without it.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from rlflow.kalshi.lifecycle import Lifecycle

Int63: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What fits into PostgreSQL's BIGINT; the venue has no use for negative ones."""
WireLevels: TypeAlias = tuple[tuple[str, str], ...]


class _Frame(msgspec.Struct, frozen=True, gc=False, tag_field="type", forbid_unknown_fields=True):
    """What every server frame may carry."""


class SnapshotBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A whole book. An absent side is empty."""

    market_ticker: str
    market_id: str = ""
    clock: Int63 | None = None
    yes_dollars_fp: WireLevels = ()
    no_dollars_fp: WireLevels = ()


class OrderbookSnapshot(_Frame, frozen=True, gc=False, tag="orderbook_snapshot"):
    """The answer to a subscription or to `get_snapshot` (then with `id`); also sent unasked at a market's close."""

    sid: Int63
    seq: Int63
    msg: SnapshotBody
    id: Int63 | None = None
    sending_ts_ms: Int63 | None = None


class DeltaBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One level's change."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    market_id: str = ""
    clock: Int63 | None = None
    ts_ms: Int63 | None = None
    ts: str | Int63 | None = None
    client_order_id: str | None = None
    subaccount: Int63 | None = None


class OrderbookDelta(_Frame, frozen=True, gc=False, tag="orderbook_delta"):
    """One level's change, in the order of the venue's engine."""

    sid: Int63
    seq: Int63
    msg: DeltaBody
    sending_ts_ms: Int63 | None = None


class TradeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
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
    ts_ms: Int63 | None = None
    ts: Int63 | str | None = None
    market_id: str = ""


class Trade(_Frame, frozen=True, gc=False, tag="trade"):
    """A trade between two others, or a block trade."""

    sid: Int63
    seq: Int63
    msg: TradeBody
    sending_ts_ms: Int63 | None = None


class SubscribedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The channel and the id it got."""

    channel: str
    sid: Int63


class Subscribed(_Frame, frozen=True, tag="subscribed"):
    """One channel is subscribed; carries no seq."""

    msg: SubscribedBody
    id: Int63 | None = None
    sid: Int63 | None = None
    seq: Int63 | None = None
    sending_ts_ms: Int63 | None = None


class OkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The full resulting set of markets; absent with `skip_ticker_ack`."""

    market_tickers: tuple[str, ...] | None = None
    market_ids: tuple[str, ...] | None = None


class Ok(_Frame, frozen=True, tag="ok"):
    """A command was carried out; to `list_subscriptions`, `msg` is the list of them."""

    id: Int63 | None = None
    sid: Int63 | None = None
    seq: Int63 | None = None
    msg: OkBody | tuple[SubscribedBody, ...] | None = None
    sending_ts_ms: Int63 | None = None

    def market_tickers(self) -> tuple[str, ...] | None:
        """Return the full resulting set of markets, None where the answer does not say."""
        return self.msg.market_tickers if isinstance(self.msg, OkBody) else None

    def subscriptions(self) -> tuple[SubscribedBody, ...] | None:
        """Return what `list_subscriptions` asked for, None where this answers something else."""
        return self.msg if isinstance(self.msg, tuple) else None


class Unsubscribed(_Frame, frozen=True, tag="unsubscribed"):
    """A subscription ended; its sid is never used again."""

    sid: Int63
    id: Int63 | None = None
    seq: Int63 | None = None
    msg: Any = None
    sending_ts_ms: Int63 | None = None


class ErrorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of protocol 3.5 and a text."""

    code: Int63
    msg: str = ""
    market_ticker: str | None = None
    market_tickers: tuple[str, ...] | None = None


class Error(_Frame, frozen=True, tag="error"):
    """A command failed, or a subscription (then with `sid`; codes 10 and 25 end it)."""

    msg: ErrorBody
    id: Int63 | None = None
    sid: Int63 | None = None
    seq: Int63 | None = None
    sending_ts_ms: Int63 | None = None


class Other(msgspec.Struct, frozen=True):
    """A frame of a type that is not stored: only its envelope, since it may take a `seq`."""

    type: str
    id: Int63 | None = None
    sid: Int63 | None = None
    seq: Int63 | None = None


Control: TypeAlias = Subscribed | Ok | Unsubscribed | Error
Known: TypeAlias = OrderbookSnapshot | OrderbookDelta | Trade | Control
Message: TypeAlias = Known | Lifecycle | Other
