"""What one connection is to do later."""

import heapq
import itertools
from collections.abc import Callable
from typing import TypeAlias

Action: TypeAlias = Callable[[int], None]
"""Takes the time at which it is carried out, in milliseconds."""


class Agenda:
    """Actions with the milliseconds at which they are due; those due at the same time keep their order."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Action]] = []
        self._numbers = itertools.count()

    @property
    def next_ms(self) -> int | None:
        """When the next action is due, None if there is none."""
        return self._entries[0][0] if self._entries else None

    def add(self, due_ms: int, action: Action) -> None:
        """Have something done at the first look at or behind `due_ms`."""
        heapq.heappush(self._entries, (due_ms, next(self._numbers), action))

    def advance(self, now_ms: int) -> None:
        """Do what is due."""
        while self._entries and self._entries[0][0] <= now_ms:
            heapq.heappop(self._entries)[2](now_ms)
