"""The simulator's own endpoints: what a test, or somebody with curl, does to the venue. No signature is needed.

Bodies are JSON objects with the names of the fields here; none is needed where every field has a default.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

import msgspec

from rlflow.exchange.credentials import read_public_key
from rlflow.exchange.markets.market_life import IllegalStepError
from rlflow.exchange.markets.venue_control import UnknownMarketError, VenueControl
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.markets import shown
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.order_bodies import UNREADABLE, decode
from rlflow.exchange.rest.refusals import RefusedError, bad_parameter
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.outlet import Ending
from rlflow.fees import FeeModel
from rlflow.units import parse_price

BASE = "/sim"

_SECOND_NS = 1_000_000_000

# RFC 6455, 7.4: the others are never sent.
_CLOSE_CODES = frozenset({*range(1_000, 1_004), *range(1_007, 1_015), *range(3_000, 5_000)})

B = TypeVar("B", bound=msgspec.Struct)


class Disconnect(msgspec.Struct, forbid_unknown_fields=True):
    """How websockets are ended."""

    code: int = 1001
    reason: Annotated[str, msgspec.Meta(max_length=30)] = "on request"
    """A close frame has room for 123 bytes."""
    is_abrupt: bool = False


class Switch(msgspec.Struct, forbid_unknown_fields=True):
    """Something is on or off."""

    is_on: bool


class Maintenance(msgspec.Struct, forbid_unknown_fields=True):
    """Maintenance is on or off, and what that does to the clock."""

    is_on: bool
    lowers_clock: bool = True


class Keys(msgspec.Struct, forbid_unknown_fields=True):
    """Public keys as PEM texts, by key id."""

    keys: dict[str, str]


class RestTrouble(msgspec.Struct, forbid_unknown_fields=True):
    """The status of every answer of REST; null: the right one."""

    status: Literal[429, 500, 502, 503, 504] | None


class Determine(msgspec.Struct, forbid_unknown_fields=True):
    """A result; `value` is what a YES contract pays, in dollars."""

    result: Literal["yes", "no", "scalar"]
    value: str | None = None


# Seconds beyond the year 2200 are not meant.
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=7_258_118_400)]


class MoveClose(msgspec.Struct, forbid_unknown_fields=True):
    """A close in Unix seconds."""

    close_ts: _Seconds


class Structure(msgspec.Struct, forbid_unknown_fields=True):
    """The name of a tick structure."""

    price_level_structure: str


class Metadata(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a market's sheet says; what is absent stays."""

    strike_type: str | None = None
    floor_strike: float | None = None
    cap_strike: float | None = None
    custom_strike: dict[str, str] | None = None
    yes_sub_title: str | None = None


_Multiplier = Annotated[float, msgspec.Meta(ge=0, le=10)]


class EventFees(msgspec.Struct, forbid_unknown_fields=True):
    """An event's own fees."""

    fee_type: str | None = None
    fee_multiplier: _Multiplier | None = None


class SeriesFees(msgspec.Struct, forbid_unknown_fields=True):
    """Fees of a series from a time on, in Unix seconds."""

    fee_type: str
    fee_multiplier: _Multiplier = 1.0
    scheduled_ts: _Seconds = 0


def statistics(desk: Desk, _request: Request) -> Answer:
    """Return what the exchange has done since its start."""
    return Answer(200, desk.statistics())


def faults(desk: Desk, request: Request) -> Answer:
    """Let one fault strike, or a list of them; say how many open connections each is for."""
    try:
        content = msgspec.json.decode(request.body)
        found = [Fault.from_json(each) for each in (content if isinstance(content, list) else [content])]
    except UNREADABLE as error:
        raise bad_parameter(str(error)) from error
    return ok(faults=[{**fault.as_json(), "connections": desk.connections.inject(fault)} for fault in found])


def take_faults_back(desk: Desk, _request: Request) -> Answer:
    """Let no fault strike any more, not even those that were in the exchange's settings."""
    desk.connections.take_faults_back()
    return Answer(204, None)


def disconnect(desk: Desk, request: Request) -> Answer:
    """End all websockets."""
    body = _decoded(request, Disconnect)
    if body.code not in _CLOSE_CODES:
        raise bad_parameter("code must be one that a close frame may have: 1000 to 1003, 1007 to 1014, 3000 to 4999")
    desk.connections.end(Ending(body.code, body.reason, body.is_abrupt))
    return Answer(204, None)


def maintenance(desk: Desk, request: Request) -> Answer:
    """Begin maintenance, which ends all websockets, or end it."""
    body = _decoded(request, Maintenance)
    _control(desk).set_maintenance(request.now_ns, is_on=body.is_on, lowers_clock=body.lowers_clock)
    return _exchange(desk)


def trading(desk: Desk, request: Request) -> Answer:
    """Pause trading everywhere, or let it go on."""
    _control(desk).set_trading(request.now_ns, is_on=_decoded(request, Switch).is_on)
    return _exchange(desk)


def keys(desk: Desk, request: Request) -> Answer:
    """Let in these keys from now on, and no others; who is connected stays."""
    try:
        found = {key_id: read_public_key(pem) for key_id, pem in _decoded(request, Keys).keys.items()}
    except ValueError as error:
        raise bad_parameter(f"keys: {error}") from error
    desk.keys.clear()
    desk.keys.update(found)
    return ok(keys=sorted(desk.keys))


def rest(desk: Desk, request: Request) -> Answer:
    """Answer every request of REST with a status, or rightly again; the websocket is not concerned."""
    desk.trouble.status = _decoded(request, RestTrouble).status
    return ok(status=desk.trouble.status)


def pause(desk: Desk, request: Request) -> Answer:
    """Halt trading in a market."""
    return _market(desk, request, lambda control, ticker: control.pause(ticker, request.now_ns))


def unpause(desk: Desk, request: Request) -> Answer:
    """Let trading go on in a market, without the orders that rested there."""
    return _market(desk, request, lambda control, ticker: control.unpause(ticker, request.now_ns))


def close(desk: Desk, request: Request) -> Answer:
    """Close a market now."""
    return _market(desk, request, lambda control, ticker: control.close_early(ticker, request.now_ns))


def move_close(desk: Desk, request: Request) -> Answer:
    """Move a market's close to a time to come."""
    close_ns = _decoded(request, MoveClose).close_ts * _SECOND_NS
    return _market(desk, request, lambda control, ticker: control.move_close(ticker, close_ns, request.now_ns))


def determine(desk: Desk, request: Request) -> Answer:
    """Give a market its result, or another one before it is paid out."""
    body = _decoded(request, Determine)
    try:
        value = None if body.value is None else parse_price(body.value)
    except ValueError as error:
        raise bad_parameter(str(error)) from error
    return _market(
        desk, request, lambda control, ticker: control.determine(ticker, body.result, request.now_ns, value=value)
    )


def structure(desk: Desk, request: Request) -> Answer:
    """Change a market's ticks."""
    name = _decoded(request, Structure).price_level_structure
    return _market(desk, request, lambda control, ticker: control.set_price_structure(ticker, name, request.now_ns))


def metadata(desk: Desk, request: Request) -> Answer:
    """Change what a market's sheet says of its strike or name."""
    fields = msgspec.to_builtins(_decoded(request, Metadata))
    return _market(desk, request, lambda control, ticker: control.set_metadata(ticker, request.now_ns, **fields))


def event_fees(desk: Desk, request: Request) -> Answer:
    """Give an event fees of its own; nothing: those of its series again."""
    body = _decoded(request, EventFees)
    multiplier = None if body.fee_multiplier is None else Fraction(str(body.fee_multiplier))
    event = request.where["ticker"]
    _carry_out(desk, lambda control: control.set_event_fees(event, body.fee_type, multiplier, request.now_ns))
    return ok(event_ticker=event)


def series_fees(desk: Desk, request: Request) -> Answer:
    """Announce a change of a series' fees."""
    body = _decoded(request, SeriesFees)
    try:
        fees = FeeModel.from_sheet(body.fee_type, body.fee_multiplier)
    except ValueError as error:
        raise bad_parameter(str(error)) from error
    ticker, at_ns = request.where["ticker"], body.scheduled_ts * _SECOND_NS
    _carry_out(desk, lambda control: control.set_series_fees(ticker, fees, at_ns, request.now_ns))
    return ok(series_ticker=ticker)


def _decoded(request: Request, kind: type[B]) -> B:
    return decode(request.body or b"{}", kind)


def _control(desk: Desk) -> VenueControl:
    if desk.control is None:
        raise RefusedError(409, "replay", "this is a replay: its markets do what they did")
    return desk.control


def _carry_out(desk: Desk, step: Callable[[VenueControl], None]) -> None:
    try:
        step(_control(desk))
    except UnknownMarketError as error:
        raise RefusedError(404, "not_found", str(error)) from error
    except IllegalStepError as error:
        raise RefusedError(409, "illegal_step", str(error)) from error


def _market(desk: Desk, request: Request, step: Callable[[VenueControl, str], None]) -> Answer:
    """Do something to the market in the path, and show it."""
    ticker = request.where["ticker"]
    _carry_out(desk, lambda control: step(control, ticker))
    return ok(market=shown(desk, desk.venue.listings[ticker]))


def _exchange(desk: Desk) -> Answer:
    return ok(exchange_active=desk.venue.is_exchange_active, trading_active=desk.venue.is_trading)


ROUTES = (
    Route("GET", "/statistics", statistics),
    Route("POST", "/faults", faults),
    Route("DELETE", "/faults", take_faults_back),
    Route("POST", "/disconnect", disconnect),
    Route("POST", "/maintenance", maintenance),
    Route("POST", "/trading", trading),
    Route("POST", "/keys", keys),
    Route("POST", "/rest", rest),
    Route("POST", "/markets/<ticker>/pause", pause),
    Route("POST", "/markets/<ticker>/unpause", unpause),
    Route("POST", "/markets/<ticker>/close", close),
    Route("POST", "/markets/<ticker>/move_close", move_close),
    Route("POST", "/markets/<ticker>/determine", determine),
    Route("POST", "/markets/<ticker>/price_level_structure", structure),
    Route("POST", "/markets/<ticker>/metadata", metadata),
    Route("POST", "/events/<ticker>/fees", event_fees),
    Route("POST", "/series/<ticker>/fees", series_fees),
)
