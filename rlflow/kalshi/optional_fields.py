"""The fields of a JSON object that may be missing, each read so that none spoils the others."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class OptionalFields:
    """Reads fields of one object, and remembers those that stand there but cannot be read."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._unread: list[str] = []

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of the fields that could not be read so far."""
        return tuple(self._unread)

    def get(self, field: str, kind: Any, translate: Callable[[Any], T | None]) -> T | None:
        """Return what `translate` makes of a field; None where it is missing, is none of `kind`, or is a ValueError."""
        value = self._body.get(field)
        if value is None:
            return None
        try:
            return translate(msgspec.convert(value, type=kind))
        except ValueError:
            self._unread.append(field)
            return None

    def plain(self, field: str, kind: type[T]) -> T | None:
        """Return a field as it is; None for an empty text too."""
        return self.get(field, kind, lambda value: None if value == "" else value)
