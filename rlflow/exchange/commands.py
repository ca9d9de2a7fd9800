"""What clients may say (protocol 3.1 to 3.5): texts to commands, refusals with the venue's error codes."""

import enum
from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs
import msgspec

from rlflow.exchange.items import ORDERBOOK, TRADE

SEQUENCED: Final = frozenset(
    {
        ORDERBOOK,
        TRADE,
        "market_lifecycle_v2",
        "multivariate_market_lifecycle",
        "communications",
        "order_group_updates",
    }
)
UNSEQUENCED: Final = frozenset(
    {"ticker", "fill", "market_positions", "user_orders", "cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value"}
)
_WITH_MARKETS = frozenset({ORDERBOOK, TRADE, "ticker", "fill", "market_positions", "user_orders"})


class Code(enum.IntEnum):
    """The error codes that this venue gives."""

    UNREADABLE = 1
    NO_PARAMS = 2
    NO_CHANNELS = 3
    NO_SIDS = 4
    UNKNOWN_COMMAND = 5
    UNKNOWN_SID = 7
    UNKNOWN_CHANNEL = 8
    CHANNEL_FAILED = 10
    MALFORMED = 11
    NOT_ONE_SID = 12
    UNKNOWN_ACTION = 13
    NO_MARKETS = 14
    NO_ACTION = 15
    SLOW_CONSUMER = 25
    TOO_MANY_MARKETS = 26
    TOO_MANY_COMMANDS = 27


class CommandRefusedError(Exception):
    """A command cannot be carried out, and nothing was changed."""

    def __init__(self, code: Code, text: str, *, tickers: tuple[str, ...] = ()) -> None:
        self.code = code
        self.text = text
        self.tickers = tickers
        super().__init__(text)


@attrs.frozen
class Subscribe:
    """Subscribe to channels, or add markets to those already held."""

    channels: tuple[str, ...]
    tickers: tuple[str, ...] | None
    """None: no filter."""
    use_yes_price: bool = False
    skip_ticker_ack: bool = False


@attrs.frozen
class Unsubscribe:
    """End subscriptions."""

    sids: tuple[int, ...]


@attrs.frozen
class Update:
    """Change one subscription, or ask it for snapshots."""

    sid: int
    action: str
    """As sent; whether it suits the channel is the subscription's business."""
    tickers: tuple[str, ...]


@attrs.frozen
class ListSubscriptions:
    """Ask for all subscriptions of the connection."""


Command: TypeAlias = Subscribe | Unsubscribe | Update | ListSubscriptions


class _Envelope(msgspec.Struct):
    id: int = 0
    cmd: str = ""
    params: msgspec.Raw = msgspec.Raw()


class _Markets(msgspec.Struct):
    market_ticker: str | None = None
    market_tickers: list[str] | None = None

    def tickers(self) -> tuple[str, ...] | None:
        """Return the markets without repetition, None if there is no filter."""
        if self.market_ticker is not None and self.market_tickers is not None:
            raise CommandRefusedError(Code.MALFORMED, "market_ticker and market_tickers exclude each other")
        if self.market_ticker is not None:
            return (self.market_ticker,)
        return tuple(dict.fromkeys(self.market_tickers)) if self.market_tickers else None


class _SubscribeParams(_Markets):
    channels: list[str] = []
    use_yes_price: bool = False
    skip_ticker_ack: bool = False


class _UnsubscribeParams(msgspec.Struct):
    sids: list[int] = []


class _UpdateParams(_Markets):
    action: str = ""
    sid: int | None = None
    sids: list[int] = []


_envelope = msgspec.json.Decoder(_Envelope)


def read_envelope(text: str | bytes) -> _Envelope:
    """Return a command's outer part; `CommandRefusedError` (1) if the text is none."""
    if isinstance(text, bytes):
        raise CommandRefusedError(Code.UNREADABLE, "binary frames are not understood")
    try:
        return _envelope.decode(text)
    except (ValueError, RecursionError) as error:
        raise CommandRefusedError(Code.UNREADABLE, f"unable to process message: {error}") from error


def read_command(envelope: _Envelope) -> Command:
    """Return the command in an envelope; `CommandRefusedError` with the venue's code if it is not a legal one."""
    if envelope.cmd == "list_subscriptions":
        return ListSubscriptions()
    readers = {"subscribe": _subscribe, "unsubscribe": _unsubscribe, "update_subscription": _update}
    reader = readers.get(envelope.cmd)
    if reader is None:
        raise CommandRefusedError(Code.UNKNOWN_COMMAND, f"unknown command {envelope.cmd[:40]!r}")
    if bytes(envelope.params) in {b"", b"null"}:
        raise CommandRefusedError(Code.NO_PARAMS, "params missing")
    try:
        return reader(envelope.params)
    except (msgspec.ValidationError, RecursionError) as error:
        raise CommandRefusedError(Code.MALFORMED, f"malformed parameter: {error}") from error


def _subscribe(raw: msgspec.Raw) -> Command:
    params = msgspec.json.decode(raw, type=_SubscribeParams)
    if not params.channels:
        raise CommandRefusedError(Code.NO_CHANNELS, "channels missing")
    channels = tuple(dict.fromkeys(params.channels))
    _refuse_unknown(channels)
    tickers = params.tickers()
    if ORDERBOOK in channels and tickers is None:
        raise CommandRefusedError(Code.NO_MARKETS, "market specification missing")
    return Subscribe(channels, tickers, params.use_yes_price, params.skip_ticker_ack)


def _refuse_unknown(channels: Sequence[str]) -> None:
    for channel in channels:
        if channel not in SEQUENCED and channel not in UNSEQUENCED:
            raise CommandRefusedError(Code.UNKNOWN_CHANNEL, f"unknown channel {channel[:40]!r}")


def _unsubscribe(raw: msgspec.Raw) -> Command:
    params = msgspec.json.decode(raw, type=_UnsubscribeParams)
    if not params.sids:
        raise CommandRefusedError(Code.NO_SIDS, "sids missing")
    return Unsubscribe(tuple(dict.fromkeys(params.sids)))


def _update(raw: msgspec.Raw) -> Command:
    params = msgspec.json.decode(raw, type=_UpdateParams)
    sids = [*params.sids, *([] if params.sid is None else [params.sid])]
    if len(sids) != 1:
        raise CommandRefusedError(Code.NOT_ONE_SID, "exactly one sid is needed")
    if not params.action:
        raise CommandRefusedError(Code.NO_ACTION, "action missing")
    return Update(sids[0], params.action, params.tickers() or ())


def takes_markets(channel: str, action: str) -> bool:
    """Return whether an update action exists for the channel (protocol 3.4)."""
    if action == "get_snapshot":
        return channel == ORDERBOOK
    return action in {"add_markets", "delete_markets"} and channel in _WITH_MARKETS
