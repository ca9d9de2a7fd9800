"""The time of a simulated venue."""

from rlflow.units import Nanos


class VenueClock:
    """Follows the times that it is given, and never goes back."""

    def __init__(self, now_ns: Nanos) -> None:
        self.now_ns = now_ns

    def advance(self, at_ns: Nanos) -> Nanos:
        """Go on to a time and return it; one that lies before the last one counts as that."""
        self.now_ns = at_ns if at_ns > self.now_ns else self.now_ns
        return self.now_ns
