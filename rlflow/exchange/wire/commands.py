"""What clients may say (protocol 3.1 to 3.5): texts to commands, refusals with the venue's error codes."""

import enum
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import attrs
import msgspec

from rlflow.exchange.wire.channels import BENCHMARKS, CHANNELS, COMMUNICATIONS, FILTERED, PYTH, TICKER
from rlflow.exchange.wire.items import ORDERBOOK

_MAX_SHARDS: Final = 100


class Code(enum.IntEnum):
    """The error codes that this venue gives by itself.

    Of those in protocol 3.5 it gives neither the retired ones (6, 16, 17) nor 23, for no channel that the documents
    list needs match ids. A fault `refusal` gives any code on request.
    """

    UNREADABLE = 1
    NO_PARAMS = 2
    NO_CHANNELS = 3
    NO_SIDS = 4
    UNKNOWN_COMMAND = 5
    UNKNOWN_SID = 7
    UNKNOWN_CHANNEL = 8
    UNAUTHORIZED = 9
    CHANNEL_FAILED = 10
    MALFORMED = 11
    NOT_ONE_SID = 12
    UNKNOWN_ACTION = 13
    NO_MARKETS = 14
    NO_ACTION = 15
    TIMED_OUT = 18
    BAD_SHARD_FACTOR = 19
    SHARD_KEY_ALONE = 20
    BAD_SHARD_KEY = 21
    TOO_MANY_SHARDS = 22
    NO_INDICES = 24
    SLOW_CONSUMER = 25
    TOO_MANY_MARKETS = 26
    TOO_MANY_COMMANDS = 27
    NO_UNDERLYINGS = 28


class CommandRefusedError(Exception):
    """A command cannot be carried out, and nothing was changed."""

    def __init__(self, code: int, text: str, *, tickers: tuple[str, ...] = ()) -> None:
        self.code = code
        self.text = text
        self.tickers = tickers
        super().__init__(text)


@attrs.frozen
class Choice:
    """The markets, or other people's prices, that a command names."""

    tickers: tuple[str, ...] = ()
    market_ids: tuple[str, ...] = ()
    """Of channel ticker; never together with tickers."""
    index_ids: tuple[str, ...] = ()
    underlying_tickers: tuple[str, ...] = ()

    @property
    def has_markets(self) -> bool:
        """Whether it names any market; otherwise a subscription is for all of them."""
        return bool(self.tickers or self.market_ids)

    def sources(self, channel: str) -> tuple[str, ...]:
        """Return what it names of other people's prices on that channel."""
        return self.index_ids if channel in BENCHMARKS else self.underlying_tickers


@attrs.frozen
class Subscribe:
    """Subscribe to channels, or add markets to those already held."""

    channels: tuple[str, ...]
    choice: Choice
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    send_initial_snapshot: bool = False


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
    choice: Choice
    send_initial_snapshot: bool = False


@attrs.frozen
class ListSubscriptions:
    """Ask for all subscriptions of the connection."""


Command: TypeAlias = Subscribe | Unsubscribe | Update | ListSubscriptions


class _Envelope(msgspec.Struct):
    id: int = 0
    cmd: str = ""
    params: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    market_id: str | None = None
    market_ids: list[str] | None = None
    index_ids: list[str] = []
    underlying_tickers: list[str] = []
    send_initial_snapshot: bool = False

    def choice(self) -> Choice:
        """Return what is named, without repetition."""
        named = [self.market_ticker, self.market_tickers, self.market_id, self.market_ids]
        if sum(each is not None for each in named) > 1:
            raise CommandRefusedError(Code.MALFORMED, "market_ticker(s) and market_id(s) exclude each other")
        return Choice(
            _once(self.market_tickers, self.market_ticker),
            _once(self.market_ids, self.market_id),
            _once(self.index_ids),
            _once(self.underlying_tickers),
        )


def _once(many: list[str] | None, one: str | None = None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(many or ())) if one is None else (one,)


class _SubscribeParams(_Choice):
    channels: list[str] = []
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    user_filter: Literal["", "self"] = ""
    shard_factor: int | None = None
    shard_key: int | None = None


class _UnsubscribeParams(msgspec.Struct):
    sids: list[int] = []


class _UpdateParams(_Choice):
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
    choice = params.choice()
    _check_choice(channels, choice)
    if COMMUNICATIONS in channels:
        _check_shards(params.shard_factor, params.shard_key)
    return Subscribe(channels, choice, params.use_yes_price, params.skip_ticker_ack, params.send_initial_snapshot)


def _check_choice(channels: Sequence[str], choice: Choice) -> None:
    if ORDERBOOK in channels and not choice.tickers:
        raise CommandRefusedError(Code.NO_MARKETS, "market specification missing")
    if choice.market_ids and FILTERED.intersection(channels) - {TICKER}:
        raise CommandRefusedError(Code.MALFORMED, "market ids are for channel ticker only")
    if BENCHMARKS.intersection(channels) and not choice.index_ids:
        raise CommandRefusedError(Code.NO_INDICES, "index ids missing")
    if PYTH in channels and not choice.underlying_tickers:
        raise CommandRefusedError(Code.NO_UNDERLYINGS, "underlying tickers missing")


def _check_shards(factor: int | None, key: int | None) -> None:
    if factor is None:
        if key is not None:
            raise CommandRefusedError(Code.SHARD_KEY_ALONE, "shard_key needs shard_factor")
        return
    if factor <= 0:
        raise CommandRefusedError(Code.BAD_SHARD_FACTOR, "shard_factor must be positive")
    if factor > _MAX_SHARDS:
        raise CommandRefusedError(Code.TOO_MANY_SHARDS, f"shard_factor must not exceed {_MAX_SHARDS}")
    if not 0 <= (key or 0) < factor:
        raise CommandRefusedError(Code.BAD_SHARD_KEY, "shard_key must be at least 0 and below shard_factor")


def _refuse_unknown(channels: Sequence[str]) -> None:
    for channel in channels:
        if channel not in CHANNELS:
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
    return Update(sids[0], params.action, params.choice(), params.send_initial_snapshot)
