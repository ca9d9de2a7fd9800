"""What is to happen at which time."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

from rlflow.units import Nanos

Step = Callable[[Nanos], None]
"""Carries itself out at the given time; one that has lost its reason in the meantime does nothing."""


class Timetable:
    """Steps in the order of their times; equal times in the order in which they were noted."""

    def __init__(self) -> None:
        self._heap: list[tuple[Nanos, int, Step]] = []
        self._numbers = count()

    @property
    def next_ns(self) -> Nanos | None:
        """When the next step is due, None if there is none."""
        return self._heap[0][0] if self._heap else None

    def note(self, at_ns: Nanos, step: Step) -> None:
        """Note a step; a time in the past makes it due at once."""
        heapq.heappush(self._heap, (at_ns, next(self._numbers), step))

    def due(self, now_ns: Nanos) -> Iterator[tuple[Nanos, Step]]:
        """Take out and yield what is due, those included that are noted meanwhile."""
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, _, step = heapq.heappop(self._heap)
            yield at_ns, step
