"""The time of a simulated venue, and what must not be late there."""

from rlflow.exchange.markets.timetable import Step, Timetable
from rlflow.units import Nanos

# Beyond all times; a number, as it is compared with for every action.
_NEVER: Nanos = 2**63


class VenueClock:
    """Follows the times that it is given, and never goes back.

    Deadlines are steps that have been carried out, each at its own time, before the clock shows that time or a later
    one: whoever advances it acts on a venue that is up to date with them. So they must be cheap.
    """

    def __init__(self, now_ns: Nanos) -> None:
        self.now_ns = now_ns
        self.wall_ns = now_ns
        """What the clock on the wall last showed, behind which what happens late lies; it never goes back either."""
        self._deadlines = Timetable()
        self._next_ns = _NEVER
        """Of the next deadline."""

    @property
    def next_ns(self) -> Nanos | None:
        """When the next deadline is, None if there is none."""
        return self._deadlines.next_ns

    def see_wall(self, wall_ns: Nanos) -> None:
        """Take note of what the clock on the wall shows; nothing happens."""
        self.wall_ns = max(wall_ns, self.wall_ns)

    def is_due(self, at_ns: Nanos) -> bool:
        """Return whether advancing to a time carries anything out."""
        return self._next_ns <= (at_ns if at_ns > self.now_ns else self.now_ns)

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
        self.see_wall(at_ns)
        for due_ns, step in self._deadlines.due(at_ns):
            self.now_ns = max(due_ns, self.now_ns)
            step(self.now_ns)
        next_ns = self._deadlines.next_ns
        self._next_ns = _NEVER if next_ns is None else next_ns
