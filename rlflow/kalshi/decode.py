"""Frames to messages: strict where a wrong reading would spoil a book, tolerant where the venue may add things.

A frame is first read against structs that forbid every field we do not know, at no cost for the frames of today. Only
a frame that fails is looked at again: about the life of a market (`lifecycle`), of a type that we do not read (its
envelope is kept, for it may take a `seq`), with fields that are new (counted, and left out), or not acceptable at all.
"""

import functools
import operator
import types
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from rlflow.errors import FrameRejectedError
from rlflow.kalshi import legacy as older
from rlflow.kalshi.lifecycle import LIFECYCLE_TYPES, Lifecycle, MarketLifecycle, read_lifecycle
from rlflow.kalshi.messages import (
    Known,
    Message,
    Ok,
    OrderbookDelta,
    OrderbookSnapshot,
    Other,
    SnapshotBody,
    Subscribed,
    Trade,
)

MAX_TEXT: Final = 200
"""Characters in a ticker, trade id or channel; real tickers stay below 60."""
LOOKS_AT_NEW_FIELDS: Final = 500
"""Frames with unknown fields that are read a third time to count them: enough to tell, then it is not paid any more."""
# Bounds for what grows with what the peer sends; real sessions stay far below both.
_MAX_KNOWN_TICKERS = 100_000
_MAX_COUNTED_NAMES = 200

# ValueError covers malformed JSON, broken UTF-8 and failed validation; nesting beyond the stack is a RecursionError.
_UNREADABLE = (ValueError, RecursionError)


class Decoder:
    """Reads the frames of one capture.

    `decode` raises `FrameRejectedError` and nothing else. Two counters say what was news: `unknown_types` by type, and
    `unknown_fields` by "type.field". Fields are counted in the first `LOOKS_AT_NEW_FIELDS` frames that have any.

    With `legacy`, frames may also have the forms used before 2026-03-12 (see `legacy`); the messages are the same.
    """

    def __init__(self, *, legacy: bool = False) -> None:
        family = older.FORMS if legacy else get_args(Known)
        self.unknown_types: Counter[str] = Counter()
        self.unknown_fields: Counter[str] = Counter()
        self._names = _names_by_type(family)
        self._strict: Callable[[bytes], Any] = _strict_reader(family)
        self._tolerant: Callable[[bytes], Any] = _tolerant_reader(family)
        self._read = self._strict
        self._translate = older.to_current if legacy else None
        self._looks_left = LOOKS_AT_NEW_FIELDS
        self._good_tickers: set[str] = set()

    def decode(self, frame: bytes) -> Message:
        """Return the message in one text frame; `FrameRejectedError` if it is not what it claims to be."""
        try:
            message = self._read(frame)
        except _UNREADABLE as error:
            message = self._look_again(frame, error)
        if self._translate is not None:
            message = self._translate(message)
        kind = type(message)
        if kind is OrderbookDelta or kind is OrderbookSnapshot:
            if message.msg.market_ticker not in self._good_tickers:
                self._accept_ticker(message.msg.market_ticker)
        elif kind is not Other:
            self._check_texts(message)
        return message  # type: ignore[no-any-return]  # the readers are typed by classes made at run time

    def _look_again(self, frame: bytes, first_error: Exception) -> Any:
        """Return the message of a frame that the reader refused, if it is merely news."""
        try:
            envelope = _envelope_reader()(frame)
        except _UNREADABLE as error:
            raise FrameRejectedError(_reason(first_error)) from error
        if envelope.type in LIFECYCLE_TYPES and (message := read_lifecycle(frame)) is not None:
            return message
        if envelope.type not in self._names:
            _count(self.unknown_types, envelope.type)
            return envelope
        try:
            message = self._tolerant(frame)
        except _UNREADABLE as error:
            raise FrameRejectedError(_reason(error)) from error
        self._note_new_fields(frame, envelope.type)
        return message

    def _note_new_fields(self, frame: bytes, kind: str) -> None:
        """Count the fields that are not declared; after enough frames, do not look for them first any more.

        Decides nothing about the frame: what is accepted must not depend on how many were looked at before.
        """
        for name in _new_names(frame, *self._names[kind]):
            _count(self.unknown_fields, f"{kind}.{name}")
        self._looks_left -= 1
        if self._looks_left == 0:
            self._read = self._tolerant

    def _accept_ticker(self, ticker: str) -> None:
        _check_text(ticker, "market ticker")
        if len(self._good_tickers) >= _MAX_KNOWN_TICKERS:
            self._good_tickers.clear()
        self._good_tickers.add(ticker)

    def _check_texts(self, message: Known | Lifecycle) -> None:
        """Refuse texts on which rows and states are built and which PostgreSQL or a terminal would choke on."""
        match message:
            case Trade():
                self._accept_ticker(message.msg.market_ticker)
                _check_text(message.msg.trade_id, "trade id")
            case MarketLifecycle():
                _check_text(message.msg.market_ticker, "market ticker")
            case Subscribed():
                _check_text(message.msg.channel, "channel")
            case Ok():
                for ticker in message.market_tickers() or ():
                    _check_text(ticker, "market ticker")
                for subscription in message.subscriptions() or ():
                    _check_text(subscription.channel, "channel")
            case _:
                pass


def _check_text(text: str, name: str) -> None:
    if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
        raise FrameRejectedError(f"{name} of {len(text)} characters, empty, too long or not printable")


def _reason(error: Exception) -> str:
    """Return what was wrong in a few printable words; field names in it come from the peer."""
    return ascii(str(error) or type(error).__name__)[1:-1][:MAX_TEXT]


def _new_names(frame: bytes, own: frozenset[str], inner: frozenset[str]) -> Iterable[str]:
    """Return the names in a frame, and in its `msg`, which are not among these."""
    try:
        content = msgspec.json.decode(frame)
    except _UNREADABLE:  # texts in undeclared fields may be damaged; those are not looked into by the readers
        return ("(unreadable)",)
    body = content.get("msg")
    names: set[str] = content.keys() - own | (body.keys() - inner if isinstance(body, dict) else set())
    return names


def _count(counter: "Counter[str]", name: str) -> None:
    """Count a name that the peer chose, within bounds."""
    key = ascii(name[:MAX_TEXT])[1:-1]
    if key not in counter and len(counter) >= _MAX_COUNTED_NAMES:
        key = "(others)"
    counter[key] += 1


# -- readers, made once per family of structs -----------------------------------------------------------------------


@functools.cache
def _strict_reader(family: tuple[type[msgspec.Struct], ...]) -> Callable[[bytes], Any]:
    """Return the reader that refuses undeclared fields."""
    return msgspec.json.Decoder(_union(family)).decode


@functools.cache
def _envelope_reader() -> Callable[[bytes], Other]:
    return msgspec.json.Decoder(Other).decode


@functools.cache
def _tolerant_reader(family: tuple[type[msgspec.Struct], ...]) -> Callable[[bytes], Any]:
    """Return the reader that leaves undeclared fields out, and gives exactly the same classes as the strict one."""
    strict_of = {_tolerant(struct): struct for struct in family}
    decode = msgspec.json.Decoder(_union(strict_of)).decode

    def read(frame: bytes) -> Any:
        loose = decode(frame)
        message = msgspec.convert(loose, strict_of[type(loose)], from_attributes=True)
        if type(message) is OrderbookSnapshot and not (message.msg.yes_dollars_fp or message.msg.no_dollars_fp):
            _refuse_unread_levels(frame)
        return message

    return read


def _refuse_unread_levels(frame: bytes) -> None:
    """Refuse a snapshot that seems empty only because its levels have another name; ValueError."""
    body = msgspec.json.decode(frame)["msg"]
    declared = _names(SnapshotBody)
    lists = [name for name, value in body.items() if isinstance(value, list) and value and name not in declared]
    if lists:
        raise ValueError(f"no levels where they are expected, but a list in {lists[0]!r}")


@functools.cache
def _tolerant(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a copy of a struct class, and of those it contains, which ignores undeclared fields."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (field.encode_name, _tolerant_type(field.type))
        if field.default is msgspec.NODEFAULT
        else (field.encode_name, _tolerant_type(field.type), field.default)
        for field in msgspec.structs.fields(struct)
    ]
    config = struct.__struct_config__
    return msgspec.defstruct(struct.__name__, fields, tag_field=config.tag_field, tag=config.tag, frozen=True, gc=False)


def _tolerant_type(kind: Any) -> Any:
    """Return a field's type with the struct classes in it made tolerant."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _tolerant(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return _union(_tolerant_type(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return tuple[tuple(_tolerant_type(part) for part in get_args(kind))]  # type: ignore[misc]
    return kind


def _union(kinds: Iterable[Any]) -> Any:
    return functools.reduce(operator.or_, kinds)


def _names_by_type(family: tuple[type[msgspec.Struct], ...]) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Return, for each frame type, the declared names of the frame and of its `msg`."""
    return {str(struct.__struct_config__.tag): (_names(struct) | {"type"}, _body_names(struct)) for struct in family}


def _names(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(struct.__struct_encode_fields__)


def _body_names(struct: type[msgspec.Struct]) -> frozenset[str]:
    kinds = {field.name: field.type for field in msgspec.structs.fields(struct)}
    bodies = [kind for kind in (kinds["msg"], *get_args(kinds["msg"])) if isinstance(kind, type)]
    return frozenset().union(*(_names(body) for body in bodies if issubclass(body, msgspec.Struct)))
