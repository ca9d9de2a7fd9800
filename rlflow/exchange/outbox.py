"""Frames that wait for the socket, counted for the connection in bytes and for each subscription in frames."""

from collections import deque
from typing import Protocol


class Queued(Protocol):
    """Whoever wants to know how many of its frames wait."""

    queued: int


class Outbox:
    """One connection's frames in the order they will leave; bounded by who puts into it."""

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, Queued | None]] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, frame: bytes, owner: Queued | None = None) -> None:
        """Append one frame, which counts as queued for its owner until it is taken."""
        self._entries.append((frame, owner))
        self.size_bytes += len(frame)
        if owner is not None:
            owner.queued += 1

    def take(self, max_bytes: int) -> list[bytes]:
        """Return the first frames that fit together into so many bytes, at least one if there is any."""
        taken: list[bytes] = []
        size = 0
        while self._entries and (not taken or size + len(self._entries[0][0]) <= max_bytes):
            frame, owner = self._entries.popleft()
            taken.append(frame)
            size += len(frame)
            if owner is not None:
                owner.queued -= 1
        self.size_bytes -= size
        return taken

    def clear(self) -> None:
        """Forget all frames."""
        self.take(self.size_bytes)
