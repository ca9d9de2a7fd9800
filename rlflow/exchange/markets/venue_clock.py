"""The time of a simulated venue, and what must not be late there."""

import math

from rlflow.exchange.markets.timetable import Step, Timetable
from rlflow.units import Nanos


class VenueClock:
    """Follows the times that it is given, and never goes back.

    Deadlines are steps that have been carried out, each at its own time, before the clock shows that time or a later
    one: whoever advances it acts on a venue that is up to date with them. So they must be cheap.
    """

    def __init__(self, now_ns: Nanos) -> None:
        self.now_ns = now_ns
        self._deadlines = Timetable()
        self._next_ns: float = math.inf
        """Of the next deadline; to compare with, as `advance` is called for every action."""

    @property
    def next_ns(self) -> Nanos | None:
        """When the next deadline is, None if there is none."""
        return self._deadlines.next_ns

    def is_due(self, at_ns: Nanos) -> bool:
        """Return whether advancing to a time carries anything out."""
        return self._next_ns <= max(at_ns, self.now_ns)

    def note_deadline(self, at_ns: Nanos, step: Step) -> None:
        """Note a deadline; one in the past is kept when the clock is next advanced."""
        self._deadlines.note(at_ns, step)
        self._next_ns = min(self._next_ns, at_ns)

    def advance(self, at_ns: Nanos) -> Nanos:
        """Go on to a time and return it; one that lies before the last one counts as that."""
        at_ns = at_ns if at_ns > self.now_ns else self.now_ns
        if self._next_ns <= at_ns:
            self._keep_deadlines(at_ns)
        self.now_ns = at_ns
        return at_ns

    def _keep_deadlines(self, at_ns: Nanos) -> None:
        for due_ns, step in self._deadlines.due(at_ns):
            self.now_ns = max(due_ns, self.now_ns)
            step(self.now_ns)
        next_ns = self._deadlines.next_ns
        self._next_ns = math.inf if next_ns is None else next_ns
