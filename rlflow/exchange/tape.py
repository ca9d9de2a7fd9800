"""Recordings as what a venue sends: connections that begin, and publications with their times."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import attrs
import msgspec

from rlflow.errors import FrameRejectedError
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Item
from rlflow.exchange.wire.numbering import Numbering
from rlflow.kalshi.decode import Decoder
from rlflow.kalshi.messages import (
    Message,
    Ok,
    OrderbookDelta,
    OrderbookSnapshot,
    Subscribed,
    Trade,
)
from rlflow.session.records import Batch, Kind, Opened
from rlflow.units import Nanos

# How every frame of the venue has its numbers; a recorder that wrote frames anew may have another order.
_NUMBERS = re.compile(rb'"sid":\d+,"seq":\d+')

Numbered: TypeAlias = OrderbookDelta | OrderbookSnapshot | Trade | Ok


class RecordedConnection(Protocol):
    """One recorded connection; `rlflow.recordings.RecordedCapture` is one."""

    @property
    def opened(self) -> Opened:
        """How its frames are to be read."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Yield its batches in order; only those of frames are looked at."""
        ...


@attrs.frozen
class Began:
    """A connection begins; whoever is connected belongs to the one before."""

    opened: Opened


class Publication(msgspec.Struct, gc=False):
    """One recorded frame: what it says, and what is sent for it."""

    message: Message
    item: Item


@attrs.frozen
class Played:
    """Recorded frames that arrived together."""

    at_ns: Nanos
    publications: tuple[Publication, ...]


Event: TypeAlias = Began | Played


def play(connections: Iterable[RecordedConnection]) -> Iterator[Event]:
    """Yield the connections' frames in their order, each connection with a `Began` before it.

    A number that falls inside a connection was a reconnect that the recorder did not write down, and begins another.
    Errors of the recording's reader pass through.
    """
    for connection in connections:
        yield Began(connection.opened)
        reader = _ConnectionReader(connection.opened)
        for batch in connection.batches():
            if batch.kind is not Kind.FRAMES:
                continue
            for part in _cut_at_falls(reader, batch.frames):
                if part is None:
                    yield Began(connection.opened)
                elif part:
                    yield Played(batch.received_ns, part)


def _cut_at_falls(reader: "_ConnectionReader", frames: Iterable[bytes]) -> Iterator[tuple[Publication, ...] | None]:
    """Yield the publications in the frames, with a None where a number falls."""
    part: list[Publication] = []
    for frame in frames:
        message = reader.decode(frame)
        if message is None:
            continue
        if reader.falls(message):
            yield tuple(part)
            yield None
            part = []
        publication = reader.publication(message, frame)
        if publication is not None:
            part.append(publication)
    yield tuple(part)


class _ConnectionReader:
    """Reads one connection's frames, and gives each channel one run of numbers through all sids that it had."""

    def __init__(self, opened: Opened) -> None:
        self._is_sparse = opened.sparse_seq
        self._is_legacy = opened.legacy
        self._decoder = Decoder(legacy=opened.legacy)
        self._forget()

    def _forget(self) -> None:
        self._last: dict[int, int] = {}
        self._channels: dict[int, str] = {}
        self._current: dict[str, int] = {}
        self._numbers: dict[str, Numbering] = {}

    def decode(self, frame: bytes) -> Message | None:
        """Return the message in a frame, None if it is not one: a recorder's slip that no venue has sent."""
        try:
            return self._decoder.decode(frame)
        except FrameRejectedError:
            return None

    def falls(self, message: Message) -> bool:
        """Return whether the message's number lies below the last of its sid; if so, all numbers are forgotten."""
        if isinstance(message, Subscribed) or message.sid is None or message.seq is None:
            return False
        falls = message.seq < self._last.get(message.sid, message.seq)
        if falls:
            self._forget()
        self._last[message.sid] = message.seq
        return falls

    def publication(self, message: Message, frame: bytes) -> Publication | None:
        """Return what is sent for a message; None for what the exchange says itself, or cannot say."""
        if isinstance(message, OrderbookDelta | OrderbookSnapshot | Trade):
            channel = TRADE if isinstance(message, Trade) else ORDERBOOK
            return self._published(message, frame, channel, message.msg.market_ticker)
        if isinstance(message, Subscribed):
            self._channels[message.msg.sid] = message.msg.channel
        elif isinstance(message, Ok) and message.sid is not None and message.seq is not None:
            markets = message.market_tickers() or ()
            return self._published(message, frame, self._channel(message.sid), "", markets)
        else:
            self._leave_out(message)
        return None

    def _published(
        self, message: Numbered, frame: bytes, channel: str, ticker: str, markets: tuple[str, ...] = ()
    ) -> Publication:
        assert message.sid is not None
        assert message.seq is not None
        recorded_seq = None if self._is_sparse else self._number(channel, message.sid).follow(message.seq)
        if self._is_legacy and not isinstance(message, Ok):
            frame = _in_current_form(message)
        match = None if _has_command_id(message) else _NUMBERS.search(frame)
        head, tail = (frame[: match.start()], frame[match.end() :]) if match else _rebuilt(frame)
        return Publication(message, Item(channel, ticker, head, tail, -1, recorded_seq, markets))

    def _leave_out(self, message: Message) -> None:
        if message.sid is not None and message.seq is not None and not self._is_sparse:
            self._number(self._channel(message.sid), message.sid).skip(message.seq)

    def _channel(self, sid: int) -> str:
        # A tape that begins in the middle has no `subscribed`; control frames come on the book's sid almost always.
        return self._channels.get(sid, ORDERBOOK)

    def _number(self, channel: str, sid: int) -> Numbering:
        numbering = self._numbers.setdefault(channel, Numbering())
        if self._current.get(channel) != sid:
            numbering.restart()
            self._current[channel] = sid
            self._channels[sid] = channel
        return numbering


def _has_command_id(message: Numbered) -> bool:
    """Return whether the frame answers a command, which somebody else gave."""
    return not isinstance(message, OrderbookDelta | Trade) and message.id is not None


def _in_current_form(message: OrderbookDelta | OrderbookSnapshot | Trade) -> bytes:
    """Return data of the cents era as the venue would write it today, which is all that a collector understands."""
    fields = msgspec.to_builtins(message)
    return msgspec.json.encode(_said(fields | {"msg": _said(fields["msg"])}))


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that the venue leaves out: what is not known, and a side without levels."""
    return {name: value for name, value in fields.items() if value is not None and value != ()}


def _rebuilt(frame: bytes) -> tuple[bytes, bytes]:
    """Return the halves of a frame written anew in the venue's order, every value as it was."""
    fields = msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
    head = b'{"type":%b,' % bytes(fields.pop("type"))
    for name in ("id", "sid", "seq"):
        fields.pop(name, None)
    rest = msgspec.json.encode(fields)
    return head, b"}" if rest == b"{}" else b"," + rest[1:]
