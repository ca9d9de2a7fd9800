"""Faults on request: what goes wrong on a real line and at a real venue, at a frame that the test names."""

import enum
from collections.abc import Iterable

import attrs

from rlflow.exchange.items import ORDERBOOK


class FaultKind(enum.Enum):
    """What happens at the frame."""

    DROP = "drop"
    """The frame is not sent: a gap in seq."""
    DUPLICATE = "duplicate"
    """The frame is sent twice."""
    SWAP = "swap"
    """The frame is sent right behind the next one of its channel."""
    GARBLE = "garble"
    """The frame's second half is missing."""
    CHANNEL_FAILURE = "channel failure"
    """Error 10 behind the frame; the subscription is dead."""
    SLOW_CONSUMER = "slow consumer"
    """Error 25 behind the frame; the subscription is dead."""
    CLOSE = "close"
    """The connection is closed properly behind the frame."""
    ABORT = "abort"
    """The connection ends behind the frame without a close frame."""
    MUTE = "mute"
    """Nothing more is sent on the connection, pings included, while it stays open."""


@attrs.frozen
class Fault:
    """One fault, which strikes once."""

    kind: FaultKind
    frame: int
    """Which data frame of the channel on that connection, from 1; snapshots count."""
    connection: int = 1
    """Which accepted connection of the exchange, from 1."""
    channel: str = ORDERBOOK


class FaultScript:
    """The faults that still wait to strike on one connection."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._seen: dict[str, int] = {}
        self._held: dict[str, bytes] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing can strike any more; frames are not counted then."""
        return not self._faults and not self._held

    def add_next(self, kind: FaultKind, channel: str) -> None:
        """Let a fault strike at the channel's next frame."""
        self._faults.append(Fault(kind, self._seen.get(channel, 0) + 1, channel=channel))

    def strike(self, channel: str, frame: bytes) -> "Struck":
        """Return what is sent in place of a frame, and what happens behind it."""
        number = self._seen[channel] = self._seen.get(channel, 0) + 1
        fault = next((fault for fault in self._faults if fault.channel == channel and fault.frame == number), None)
        if fault is not None:
            self._faults.remove(fault)
            struck = _struck(fault.kind, frame)
            if fault.kind is FaultKind.SWAP:
                self._held[channel] = frame
                return struck
        else:
            struck = Struck((frame,))
        held = self._held.pop(channel, None)
        return struck if held is None else attrs.evolve(struck, frames=(*struck.frames, held))


@attrs.frozen
class Struck:
    """What became of a frame."""

    frames: tuple[bytes, ...]
    then: FaultKind | None = None


def _struck(kind: FaultKind, frame: bytes) -> Struck:
    match kind:
        case FaultKind.DROP | FaultKind.SWAP:
            return Struck(())
        case FaultKind.DUPLICATE:
            return Struck((frame, frame))
        case FaultKind.GARBLE:
            return Struck((frame[: len(frame) // 2],))
        case _:
            return Struck((frame,), then=kind)
