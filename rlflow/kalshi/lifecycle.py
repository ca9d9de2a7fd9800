"""What the venue says about the lives of markets and events (protocol 5.3), as frozen structs.

Times are whole seconds since 1970 UTC, as on the wire. Undeclared fields are left out without a count: the venue adds
some now and then, nothing here spoils a book, and a frame that cannot be read is merely not heard. Hence only what is
used is declared, as no other field can make a frame unreadable then; REST gives all of it. The time-driven steps,
opening and closing, are never announced (protocol 8.1).
"""

from typing import Annotated, Final, TypeAlias

import msgspec

LIFECYCLE: Final = "market_lifecycle_v2"
"""The channel; it takes no market filter and brings every market of the venue but combos."""

_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class MarketEvent(msgspec.Struct, frozen=True):
    """One event in a market's life; which fields it has depends on `event_type`."""

    market_ticker: str
    event_type: str
    """created, activated, deactivated, close_date_updated, determined, settled, price_level_structure_updated,
    metadata_updated; more may come."""
    open_ts: _Whole | None = None
    close_ts: _Whole | None = None
    is_deactivated: bool | None = None


class _Frame(msgspec.Struct, frozen=True, tag_field="type"):
    """What every frame of the channel may carry."""


class MarketLifecycle(_Frame, frozen=True, tag="market_lifecycle_v2"):
    """Something happened to a market."""

    msg: MarketEvent
    sid: _Whole | None = None
    seq: _Whole | None = None


class EventBody(msgspec.Struct, frozen=True):
    """An event, which is a group of markets."""

    event_ticker: str


class EventLifecycle(_Frame, frozen=True, tag="event_lifecycle"):
    """An event was created or changed."""

    msg: EventBody
    sid: _Whole | None = None
    seq: _Whole | None = None


class FeeUpdate(msgspec.Struct, frozen=True):
    """Whose fee has changed; REST says to what."""

    event_ticker: str


class EventFeeUpdate(_Frame, frozen=True, tag="event_fee_update"):
    """An event's fee has changed."""

    msg: FeeUpdate
    sid: _Whole | None = None
    seq: _Whole | None = None


Lifecycle: TypeAlias = MarketLifecycle | EventLifecycle | EventFeeUpdate
LIFECYCLE_TYPES: Final = frozenset({"market_lifecycle_v2", "event_lifecycle", "event_fee_update"})

_decoder: msgspec.json.Decoder[Lifecycle] = msgspec.json.Decoder(Lifecycle)


def read_lifecycle(frame: bytes) -> Lifecycle | None:
    """Return the message of a frame of one of these types, None if it cannot be read."""
    try:
        return _decoder.decode(frame)
    except (ValueError, RecursionError):
        return None
