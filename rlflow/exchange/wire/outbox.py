"""Frames that wait for the socket, counted for the connection in bytes and for each subscription in frames."""

from collections import deque
from typing import Protocol

import attrs


class Queued(Protocol):
    """Whoever wants to know how many of its frames wait; compared by identity."""

    queued: int


@attrs.define(eq=False)
class Hold:
    """One owner's frames from some place on, up to the next hold; made and ended by the outbox."""

    owner: Queued
    entries: list[tuple[bytes, Queued | None]] = attrs.field(factory=list)
    is_over: bool = False


class Outbox:
    """One connection's frames in the order they will leave; bounded by who puts into it.

    Two things keep frames waiting: a `hold` those of one owner, a `pause` all that is put behind it. An owner's frames
    leave in their order, each as soon as all holds are over that were begun before it.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, Queued | None]] = deque()
        self._holds: dict[int, deque[Hold]] = {}
        self._taken = 0
        self._pauses: deque[tuple[int, float]] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries) + sum(len(hold.entries) for holds in self._holds.values() for hold in holds)

    def put(self, frame: bytes, owner: Queued | None = None) -> None:
        """Append one frame, which counts as queued for its owner until it is taken."""
        holds = self._holds.get(id(owner)) if self._holds else None
        (holds[-1].entries if holds else self._entries).append((frame, owner))
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

    def hold(self, owner: Queued) -> Hold:
        """Let the owner's frames from here on wait until the returned hold is released."""
        hold = Hold(owner)
        self._holds.setdefault(id(owner), deque()).append(hold)
        return hold

    def release(self, hold: Hold) -> None:
        """End a hold; put what no other one keeps behind all other frames."""
        hold.is_over = True
        holds = self._holds[id(hold.owner)]
        while holds and holds[0].is_over:
            self._entries.extend(holds.popleft().entries)
        if not holds:
            del self._holds[id(hold.owner)]

    def pause(self, seconds: float) -> None:
        """Let all that is put from here on wait until `take_pause` was asked for it."""
        self._pauses.append((self._taken + len(self._entries), seconds))

    def take_pause(self) -> float:
        """Return how long nothing may leave now, and end the pause; 0 if what is next may leave."""
        if self._pauses and self._pauses[0][0] == self._taken:
            return self._pauses.popleft()[1]
        return 0.0
