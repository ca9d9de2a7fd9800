"""What was asked for in vain, and when each of it may be asked for again: pure, times are seconds of one clock."""

from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)


@attrs.frozen
class _Failure:
    times: int
    due_s: float
    reason: str | None


@attrs.define
class Retries(Generic[K]):
    """Waits that double from one failure of a thing to the next, so that it takes little from the others."""

    first_s: float
    last_s: float
    """The longest wait."""
    _failures: dict[K, _Failure] = attrs.field(factory=dict, init=False)

    @property
    def reason(self) -> str | None:
        """Why one of them fails at present; None: none does, or none in a way to be told."""
        return next((failure.reason for failure in self._failures.values() if failure.reason), None)

    def is_due(self, key: K, now_s: float) -> bool:
        """Return whether a thing may be asked for now."""
        failure = self._failures.get(key)
        return failure is None or failure.due_s <= now_s

    def failed(self, key: K, now_s: float, reason: str | None) -> None:
        """Note that a thing was asked for in vain; without a reason where that is to be expected."""
        times = self._failures[key].times if key in self._failures else 0
        wait_s = min(self.last_s, self.first_s * 2.0 ** min(times, 20))
        self._failures[key] = _Failure(times + 1, now_s + wait_s, reason)

    def forget(self, key: K) -> None:
        """Note that a thing was found, or that it may be asked for at once."""
        self._failures.pop(key, None)
