"""The faults that still wait to strike on one connection."""

import re
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from rlflow.exchange.wire.fault_kinds import Target
from rlflow.exchange.wire.faults import Fault

_TYPE: Final = re.compile(rb'"type":\s*"(\w+)"')
_TARGETS: Final = {
    b"orderbook_delta": frozenset({Target.FRAME, Target.BOOK, Target.DELTA}),
    b"orderbook_snapshot": frozenset({Target.FRAME, Target.BOOK}),
}
_OTHER_FRAME: Final = frozenset({Target.FRAME})


@attrs.define(eq=False)
class _Armed:
    fault: Fault
    passing: int
    """How many things it lets pass before it strikes."""
    left: int
    """How often it strikes yet; 0 or below: without end."""


class FaultScript:
    """Counts what happens on one connection, and says what goes wrong with it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed: list[_Armed] = []
        for fault in faults:
            self.add(fault)

    @property
    def is_idle(self) -> bool:
        """Whether nothing can strike any more; nothing need be asked then."""
        return not self._armed

    def add(self, fault: Fault) -> None:
        """Let a fault wait; what has passed already does not count."""
        self._armed.append(_Armed(fault, fault.number - 1, fault.count))

    def clear(self) -> None:
        """Let nothing strike any more."""
        self._armed.clear()

    def strike_frame(self, channel: str, ticker: str, frame: bytes) -> list[Fault]:
        """Return what strikes a data frame, in the order in which the faults were added."""
        found = _TYPE.search(frame)
        targets = _TARGETS.get(found.group(1) if found else b"", _OTHER_FRAME)
        return self._strike(
            lambda fault: fault.target in targets and fault.channel == channel and fault.ticker in {"", ticker}
        )

    def strike_command(self, name: str) -> Fault | None:
        """Return what strikes a command; of several, the first decides."""
        struck = self._strike(lambda fault: fault.target is Target.COMMAND and fault.command in {"", name})
        return struck[0] if struck else None

    def strike_snapshot(self, ticker: str) -> bool:
        """Return whether a snapshot that is due is not to be made."""
        return bool(self._strike(lambda fault: fault.target is Target.SNAPSHOT and fault.ticker in {"", ticker}))

    def strike_change(self, ticker: str) -> bool:
        """Return whether a change of a book is to be left out."""
        return bool(self._strike(lambda fault: fault.target is Target.CHANGE and fault.ticker in {"", ticker}))

    def strike_ok(self, channel: str) -> bool:
        """Return whether an `ok` is to carry no number."""
        return bool(self._strike(lambda fault: fault.target is Target.OK and fault.channel == channel))

    def _strike(self, is_met: Callable[[Fault], bool]) -> list[Fault]:
        struck: list[Fault] = []
        for armed in [each for each in self._armed if is_met(each.fault)]:
            if armed.passing:
                armed.passing -= 1
                continue
            struck.append(armed.fault)
            armed.left -= 1
            if armed.left == 0:
                self._armed.remove(armed)
        return struck
