"""How the exchange behaves where the venue's behaviour varies, or is not known; all of it can be changed as it runs."""

from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import msgspec

from rlflow.exchange.rest.buckets import Tier
from rlflow.exchange.rest.refusals import ErrorShape
from rlflow.exchange.wire.subscriptions import Limits

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
# Late reads keep a copy of the account for every request that is younger.
_Lag = Annotated[float, msgspec.Meta(ge=0, le=60)]


@attrs.frozen
class RestSettings:
    """The knobs of REST; the defaults are the documented venue's, without its lags."""

    tier: Tier = Tier.BASIC
    """Of every account."""
    error_shape: ErrorShape = ErrorShape.FLAT
    orders_lag_s: _Lag = 0.0
    """How old the orders, fills and settlements that are read are; some 0.4 s on the venue."""
    positions_lag_s: _Lag = 0.0
    """The same of positions and balances; some 1 s on the venue."""
    open_list_lag_s: _Seconds = 0.0
    """How much later a market shows in the lists of open markets than it opens; some 30 s on the venue."""


@attrs.frozen
class Settings:
    """What holds for the whole exchange."""

    rest: RestSettings = attrs.field(factory=RestSettings)
    limits: Limits = attrs.field(factory=Limits)
    """Of connections yet to come; an open one keeps those that it began with."""
    max_skew_s: _Seconds = 15.0
    """How far a signature's time may be off."""
    keys_without_read: frozenset[str] = frozenset()
    """Key ids without the scope `read`."""
    keys_without_write: frozenset[str] = frozenset()
    """Key ids without the scope `write`."""

    def as_json(self) -> dict[str, Any]:
        """Return all of them by name, those that belong together in objects of their own."""
        shown: dict[str, Any] = msgspec.to_builtins(attrs.asdict(self))
        return shown

    def changed(self, given: object) -> "Settings":
        """Return the settings with those in a JSON object in place of the present ones; the others stay.

        Raises:
            ValueError: What is wrong, with what would be right.
        """
        try:
            return msgspec.convert(_merged(self.as_json(), given, "settings"), Settings)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error


@attrs.define
class Knobs:
    """Holds the settings of a running exchange, which are replaced as a whole."""

    settings: Settings = attrs.field(factory=Settings)


def _merged(present: Mapping[str, Any], given: object, what: str) -> dict[str, Any]:
    names = ", ".join(present)
    if not isinstance(given, dict):
        raise ValueError(f"{what} must be a JSON object with any of {names}")  # noqa: TRY004  # one error for the caller
    for name in given.keys() - present.keys():
        raise ValueError(f"{what} has no {name[:40]!r}; it has {names}")
    return {
        name: _merged(value, given[name], name) if name in given and isinstance(value, dict) else given.get(name, value)
        for name, value in present.items()
    }
