"""Faults on request: what goes wrong on a real line and at a real venue, at a place that the test names."""

from typing import Any, Final

import attrs
import msgspec

from rlflow.exchange.wire.channels import CHANNELS
from rlflow.exchange.wire.fault_kinds import TRAITS, FaultKind, Target
from rlflow.exchange.wire.items import ORDERBOOK

MAX_SECONDS: Final = 3_600.0
MAX_SIZE_BYTES: Final = 64 * 2**20
_CLOSE_CODES: Final = range(1_000, 5_000)
_COMMANDS: Final = frozenset({"", "subscribe", "unsubscribe", "update_subscription", "list_subscriptions"})
_WHERE: Final[dict[Target, tuple[str, ...]]] = {
    Target.FRAME: ("channel", "ticker"),
    Target.BOOK: ("ticker",),
    Target.DELTA: ("ticker",),
    Target.SNAPSHOT: ("ticker",),
    Target.CHANGE: ("ticker",),
    Target.OK: ("channel",),
    Target.COMMAND: ("command",),
}


@attrs.frozen
class Fault:
    """One fault: what, where and how often. ValueError if that makes no sense.

    Where: at the `number`-th thing that it can strike, counted from when the connection or the fault begins, whichever
    is later, among those of the channel and market, or of the command, that are named.
    """

    kind: FaultKind
    number: int = 1
    """Which of the things that it can strike, from 1; 1 is the next."""
    count: int = 1
    """How many in a row it strikes from there; 0: all."""
    connection: int = 0
    """Which accepted connection of the exchange, from 1; 0: every one."""
    is_for_new: bool = False
    """Whether connections yet to come suffer it, too, if it is asked for while the exchange runs; those that are in its
    settings always strike them."""
    channel: str = ORDERBOOK
    ticker: str = ""
    """Only frames of this market count; empty: all of the channel."""
    command: str = ""
    """Only commands of this name count; empty: all."""
    seconds: float = 1.0
    code: int = 0
    """Of the error, or of the websocket's close frame; 0: that kind's usual one."""
    size_bytes: int = 2**20

    def __attrs_post_init__(self) -> None:
        allowed = ("kind", *parameters(self.kind))
        for field in attrs.fields(Fault):
            if field.name not in allowed and getattr(self, field.name) != field.default:
                raise ValueError(_needless(self.kind, field.name))
        for name, is_good in self._checks().items():
            if not is_good:
                raise ValueError(f"a fault {self.kind.value!r} cannot have {name} {getattr(self, name)!r}")

    def _checks(self) -> dict[str, bool]:
        is_close = self.kind is FaultKind.CLOSE
        return {
            "number": self.number >= 1,
            "count": self.count >= 0,
            "connection": self.connection >= 0,
            "channel": self.channel in CHANNELS,
            "command": self.command in _COMMANDS,
            "seconds": 0 <= self.seconds <= MAX_SECONDS,
            "code": self.code == 0 or (self.code in _CLOSE_CODES if is_close else 0 < self.code < 1_000),
            "size_bytes": 0 < self.size_bytes <= MAX_SIZE_BYTES,
        }

    @property
    def target(self) -> Target:
        """What it waits for."""
        return TRAITS[self.kind].target

    def is_for(self, connection: int) -> bool:
        """Return whether it is meant for the exchange's n-th connection."""
        return self.connection in {0, connection}

    @classmethod
    def from_json(cls, content: object) -> "Fault":
        """Return the fault in a JSON object such as `{"kind": "drop", "number": 3}`.

        Names are those of the fields; `kind` is in the words of `FaultKind`, underscores allowed.

        Raises:
            ValueError: What is wrong, with what would be right.
        """
        if not isinstance(content, dict):
            raise ValueError("a fault is a JSON object with a 'kind'")  # noqa: TRY004  # one error for the caller
        kind = _kind(content.get("kind"))
        for name in content.keys() - {"kind", *parameters(kind)}:
            raise ValueError(_needless(kind, name))
        try:
            return msgspec.convert({**content, "kind": kind.value}, cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    def as_json(self) -> dict[str, Any]:
        """Return the object from which `from_json` makes this fault; what does not matter to its kind is left out."""
        return {"kind": self.kind.value} | {name: getattr(self, name) for name in parameters(self.kind)}


def parameters(kind: FaultKind) -> tuple[str, ...]:
    """Return the names of the parameters that mean something to a kind of fault."""
    trait = TRAITS[kind]
    return ("number", "connection", "is_for_new", *_WHERE[trait.target], *trait.takes)


def _needless(kind: FaultKind, name: str) -> str:
    return f"a fault {kind.value!r} takes no {name!r}; it takes {', '.join(parameters(kind))}"


def _kind(word: object) -> FaultKind:
    try:
        return FaultKind(str(word).lower().replace("_", " ").replace("-", " "))
    except ValueError:
        known = ", ".join(kind.value for kind in FaultKind)
        raise ValueError(f"no fault is called {str(word)[:40]!r}; there are {known}") from None
