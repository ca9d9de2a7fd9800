"""Frames that wait for the socket, counted for the connection in bytes and for each subscription in frames."""

from collections import deque
from typing import Protocol


class Queued(Protocol):
    """Whoever wants to know how many of its frames wait; compared by identity."""

    queued: int


class Outbox:
    """One connection's frames in the order they will leave; bounded by who puts into it.

    Two things keep frames waiting: `hold` those of one owner, a `pause` all that is put behind it.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, Queued | None]] = deque()
        self._held: dict[int, list[tuple[bytes, Queued | None]]] = {}
        self._taken = 0
        self._pauses: deque[tuple[int, float]] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries) + sum(len(entries) for entries in self._held.values())

    def put(self, frame: bytes, owner: Queued | None = None) -> None:
        """Append one frame, which counts as queued for its owner until it is taken."""
        entries = self._held.get(id(owner), self._entries) if self._held else self._entries
        entries.append((frame, owner))
        self.size_bytes += len(frame)
        if owner is not None:
            owner.queued += 1

    def take(self, max_bytes: int) -> list[bytes]:
        """Return the first frames that fit together into so many bytes, at least one if any may leave."""
        taken: list[bytes] = []
        size = 0
        most = self._pauses[0][0] - self._taken if self._pauses else len(self._entries)
        while len(taken) < most and (not taken or size + len(self._entries[0][0]) <= max_bytes):
            frame, owner = self._entries.popleft()
            taken.append(frame)
            size += len(frame)
            if owner is not None:
                owner.queued -= 1
        self._taken += len(taken)
        self.size_bytes -= size
        return taken

    def hold(self, owner: Queued) -> None:
        """Let the owner's frames from here on wait until they are released."""
        self._held.setdefault(id(owner), [])

    def release(self, owner: Queued) -> None:
        """Put the owner's held frames behind all others."""
        self._entries.extend(self._held.pop(id(owner), ()))

    def pause(self, seconds: float) -> None:
        """Let all that is put from here on wait until `take_pause` was asked for it."""
        self._pauses.append((self._taken + len(self._entries), seconds))

    def take_pause(self) -> float:
        """Return how long nothing may leave now, and end the pause; 0 if what is next may leave."""
        if self._pauses and self._pauses[0][0] == self._taken:
            return self._pauses.popleft()[1]
        return 0.0
