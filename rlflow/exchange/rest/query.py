"""Parameters of a query, read strictly: what a name cannot mean is refused with 400."""

from collections.abc import Collection, Mapping

import attrs

from rlflow.exchange.rest.refusals import bad_parameter
from rlflow.units import Nanos

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# Seconds have ten digits until the year 2286, nanoseconds nineteen.
_LONGEST_NUMBER = 19


@attrs.frozen
class Query:
    """Parameters by name. An empty value is the same as none."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return the value, empty if there is none."""
        return self.values.get(name, "")

    def words(self, name: str) -> tuple[str, ...]:
        """Return the values of a list separated by commas."""
        return tuple(word for word in (each.strip() for each in self.text(name).split(",")) if word)

    def some_words(self, name: str, most: int) -> tuple[str, ...]:
        """Return the values of a list that must have one at least."""
        words = self.words(name)
        if not 0 < len(words) <= most:
            raise bad_parameter(f"{name} must hold 1 to {most} values, not {len(words)}")
        return words

    def choice(self, name: str, allowed: Collection[str], default: str = "") -> str:
        """Return one of the allowed words."""
        word = self.text(name) or default
        if word and word not in allowed:
            raise bad_parameter(f"{name} must be one of {', '.join(sorted(allowed))}, not {word[:40]!r}")
        return word

    def flag(self, name: str) -> bool | None:
        """Return true or false, None if nothing is said."""
        text = self.text(name).lower()
        if text and text not in _FLAGS:
            raise bad_parameter(f"{name} must be true or false, not {text[:40]!r}")
        return _FLAGS.get(text)

    def number(self, name: str) -> int | None:
        """Return a whole number, None if there is none."""
        text = self.text(name)
        if not text:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > _LONGEST_NUMBER:
            raise bad_parameter(f"{name} must be a whole number, not {text[:40]!r}")
        return int(text)

    def bounded(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a whole number within bounds."""
        given = self.number(name)
        value = default if given is None else given
        if not lowest <= value <= highest:
            raise bad_parameter(f"{name} must be {lowest} to {highest}, not {value}")
        return value

    def required(self, name: str) -> int:
        """Return a whole number that must be there."""
        value = self.number(name)
        if value is None:
            raise bad_parameter(f"{name} is required")
        return value

    def period(self, family: str = "") -> "Period":
        """Return the time between `min_<family>_ts` and `max_<family>_ts`, both in seconds (protocol 6.0)."""
        stem = f"{family}_ts" if family else "ts"
        return Period(self.number(f"min_{stem}"), self.number(f"max_{stem}"))


@attrs.frozen
class Period:
    """A stretch of time, both ends included; None: open on that side."""

    min_s: int | None
    max_s: int | None

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound at all."""
        return self.min_s is not None or self.max_s is not None

    def __contains__(self, at_ns: Nanos) -> bool:
        at_s = at_ns // 1_000_000_000
        return (self.min_s is None or at_s >= self.min_s) and (self.max_s is None or at_s <= self.max_s)
