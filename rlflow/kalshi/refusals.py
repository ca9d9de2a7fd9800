"""What the venue's error codes demand of a client (protocol 3.5)."""

import enum

from rlflow.kalshi.messages import Error
from rlflow.kalshi.pending import Command, Kind


class Demand(enum.Enum):
    """What to do about an error."""

    SUBSCRIBE_ANEW = enum.auto()
    """The subscription is dead, while the socket lives."""
    RETRY = enum.auto()
    POSTPONE = enum.auto()
    IT_HAS_ENDED = enum.auto()
    """What was to be ended is not there."""
    IT_IS_HELD = enum.auto()
    """What was to be subscribed is already."""
    DO_WITHOUT = enum.auto()
    """Some of the markets are at fault."""
    TAKE_FEWER = enum.auto()
    """One subscription cannot hold so many markets."""
    RECONNECT = enum.auto()
    """The command cannot be carried out; a mistake of ours, or a limit of the venue."""
    NOTHING = enum.auto()
    """Whatever was asked for will be missed, and dealt with then."""


_BY_CODE = {
    10: Demand.SUBSCRIBE_ANEW,
    # Retired in 2026, and what reads the frames takes it for the end.
    17: Demand.SUBSCRIBE_ANEW,
    25: Demand.SUBSCRIBE_ANEW,
    18: Demand.RETRY,
    27: Demand.POSTPONE,
}
_UNKNOWN_SID = 7
_TOO_MANY_MARKETS = 26
# Retired in 2026; a subscription that exists is now extended instead.
_ALREADY_SUBSCRIBED = 6


def kills_subscription(code: int) -> bool:
    """Return whether the subscription ends with this error."""
    return _BY_CODE.get(code) is Demand.SUBSCRIBE_ANEW


def markets_at_fault(error: Error, command: Command) -> frozenset[str]:
    """Return the markets of the command that the error names."""
    named = {error.msg.market_ticker, *(error.msg.market_tickers or ())}
    return frozenset(ticker for ticker in command.tickers if ticker in named)


def demand_of(error: Error, command: Command) -> Demand:
    """Return what an error demands that answers this command."""
    code, kind = error.msg.code, command.kind
    demand = _BY_CODE.get(code)
    if demand is not None:
        return demand
    if code == _UNKNOWN_SID and command.sid is not None:
        return Demand.IT_HAS_ENDED if kind is Kind.UNSUBSCRIBE else Demand.SUBSCRIBE_ANEW
    if code == _ALREADY_SUBSCRIBED and kind is Kind.SUBSCRIBE:
        return Demand.IT_IS_HELD
    # The limit may name the markets too, but is no fault of theirs.
    if code == _TOO_MANY_MARKETS and kind in (Kind.SUBSCRIBE, Kind.ADD):
        return Demand.TAKE_FEWER
    if code != _TOO_MANY_MARKETS and markets_at_fault(error, command):
        return Demand.DO_WITHOUT
    return Demand.NOTHING if kind in (Kind.GET_SNAPSHOT, Kind.DELETE) else Demand.RECONNECT
