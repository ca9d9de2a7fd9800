"""What leaves a connection: data frames go through its faults into the outbox, and some of them later."""

from collections.abc import Callable

import attrs

from rlflow.exchange.wire.agenda import Agenda
from rlflow.exchange.wire.commands import Code
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.fault_script import FaultScript
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.forgery import alter, invent
from rlflow.exchange.wire.outbox import Outbox
from rlflow.exchange.wire.subscription import Subscription

_FAULT_CLOSE_CODE = 1011


@attrs.frozen
class Ending:
    """How a connection is to end."""

    code: int = 1000
    reason: str = ""
    is_abrupt: bool = False
    """Without a close frame."""


class Outlet:
    """One connection's way out. Pure: the agenda is advanced, and the outbox emptied, by whoever drives it."""

    def __init__(self, script: FaultScript | None = None) -> None:
        self.outbox = Outbox()
        self.agenda = Agenda()
        self.script = script or FaultScript()
        self.ending: Ending | None = None
        """Set when the connection is to end behind the frames in the outbox."""
        self.is_mute = False
        """Nothing more is to be sent behind what is in the outbox, pings included."""
        self.deafness_s = 0.0
        """How long nothing is to be read; whoever sees to that sets it to 0."""
        self._swapped: dict[Subscription, list[bytes]] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.ending is not None or self.is_mute

    def put(self, frame: bytes, held: Subscription | None = None) -> None:
        """Send a frame as it is."""
        if not self.is_over:
            self.outbox.put(frame, held)

    def shortcut(self) -> Callable[[bytes, Subscription], None] | None:
        """Return what may be called in place of `send` until the next command or fault; None if nothing may."""
        return None if self.is_over or self._swapped or not self.script.is_idle else self.outbox.put

    def send(self, held: Subscription, ticker: str, frame: bytes, now_ms: int) -> Code | None:
        """Send a data frame, or what its faults make of it; return the error with which the subscription fails now."""
        if self.is_over:
            return None
        # What breaks the text comes last: nothing else can be done to it then.
        faults = sorted(self.script.strike_frame(held.channel, ticker, frame), key=lambda each: each.kind in _BREAKING)
        sent = [frame]
        overtaken = self._swapped.pop(held, [])
        for fault in faults:
            sent = self._changed(sent, fault, held, now_ms)
        for each in sent + overtaken:
            self.outbox.put(each, held)
        for fault in faults:
            self._add_invented(fault, held, frame)
        failures = [self._suffer(fault) for fault in faults]
        return next((code for code in failures if code is not None), None)

    def _changed(self, sent: list[bytes], fault: Fault, held: Subscription, now_ms: int) -> list[bytes]:
        """Return what is sent in place of these frames."""
        match fault.kind:
            case FaultKind.DROP:
                return []
            case FaultKind.DUPLICATE:
                return sent * 2
            case FaultKind.SWAP:
                self._swapped[held] = sent
                return []
            case FaultKind.DELAY:
                hold = self.outbox.hold(held)
                self.agenda.add(now_ms + round(fault.seconds * 1000), lambda _: self.outbox.release(hold))
                return sent
            case (
                FaultKind.GARBLE
                | FaultKind.BAD_UTF8
                | FaultKind.UNKNOWN_FIELD
                | FaultKind.NO_CLOCK
                | FaultKind.LEGACY as kind
            ):
                return [alter(kind, each) for each in sent]
            case _:
                return sent

    def _add_invented(self, fault: Fault, held: Subscription, frame: bytes) -> None:
        if fault.kind in _INVENTING:
            self.outbox.put(invent(fault.kind, frame, seq=held.next_seq(), size_bytes=fault.size_bytes), held)

    def _suffer(self, fault: Fault) -> Code | None:
        """Let happen what happens behind a frame."""
        match fault.kind:
            case FaultKind.CHANNEL_FAILURE:
                return Code.CHANNEL_FAILED
            case FaultKind.SLOW_CONSUMER:
                return Code.SLOW_CONSUMER
            case FaultKind.CLOSE:
                self.ending = Ending(fault.code or _FAULT_CLOSE_CODE, "fault on request")
            case FaultKind.ABORT:
                self.ending = Ending(1006, is_abrupt=True)
            case FaultKind.MUTE:
                self.is_mute = True
            case FaultKind.STALL_WRITES:
                self.outbox.pause(fault.seconds)
            case FaultKind.STALL_READS:
                self.deafness_s = max(self.deafness_s, fault.seconds)
            case _:
                pass  # it happened to the frame itself
        return None


_BREAKING = frozenset({FaultKind.GARBLE, FaultKind.BAD_UTF8})
_INVENTING = frozenset(
    {
        FaultKind.NEGATIVE,
        FaultKind.UNKNOWN_LEVEL,
        FaultKind.OFF_GRID,
        FaultKind.UNKNOWN_TYPE,
        FaultKind.OVERSIZE,
    }
)
