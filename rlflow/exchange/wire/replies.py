"""The answers to commands, with what can go wrong with them (protocol 3.3)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from rlflow.exchange.wire import frames
from rlflow.exchange.wire.commands import Code, CommandRefusedError
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.outlet import Outlet
from rlflow.exchange.wire.subscription import Subscription

_Put: TypeAlias = Callable[[int], None]


class Replies:
    """Writes one connection's answers and errors."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._fault: Fault | None = None
        self._postponed: list[_Put] = []

    # Acknowledgements, which a fault may spoil

    def subscribed(self, held: Subscription, command_id: int, now_ms: int) -> None:
        """Say that a channel is subscribed; carries no number."""
        msg = {"channel": held.channel, "sid": held.sid}
        self._acknowledge(partial(self._put, "subscribed", command_id, msg, None), None, now_ms)

    def ok(self, held: Subscription, command_id: int, now_ms: int) -> None:
        """Say that a subscription was changed, and what it holds now."""
        put = partial(self._put, "ok", command_id, held.acknowledgement(), held)
        self._acknowledge(put, held, now_ms)

    def listed(self, subscriptions: Sequence[Mapping[str, object]], command_id: int, now_ms: int) -> None:
        """Name all subscriptions."""
        self._acknowledge(partial(self._put, "ok", command_id, subscriptions, None), None, now_ms)

    def unsubscribed(self, held: Subscription, command_id: int, now_ms: int) -> None:
        """Say that a subscription has ended."""
        self._acknowledge(partial(self._put, "unsubscribed", command_id, None, held), held, now_ms)

    def _acknowledge(self, put: _Put, held: Subscription | None, now_ms: int) -> None:
        kind = None if self._fault is None else self._fault.kind
        if kind is FaultKind.DATA_FIRST:
            self._postponed.append(put)
        elif kind is FaultKind.LOST_ANSWER:
            if held is not None:
                held.next_seq()
        elif kind is not FaultKind.TIME_OUT_AFTERWARDS:
            put(now_ms)

    def _put(self, kind: str, command_id: int, msg: object, held: Subscription | None, now_ms: int) -> None:
        sid, seq = None, None
        if held is not None:
            is_bare = kind == "ok" and held.is_sequenced and self._outlet.script.strike_ok(held.channel)
            sid, seq = held.sid, None if is_bare else held.next_seq()
        frame = frames.control(kind, command_id=command_id, sid=sid, seq=seq, msg=msg, now_ms=now_ms)
        self._outlet.put(frame, held)

    @contextmanager
    def suffering(self, fault: Fault, command_id: int, now_ms: int) -> Iterator[None]:
        """Let a fault spoil the acknowledgements that are given within."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None
        if fault.kind is FaultKind.TIME_OUT_AFTERWARDS:
            self.refuse(CommandRefusedError(Code.TIMED_OUT, "fault on request"), command_id, None, now_ms)
        postponed, self._postponed = self._postponed, []
        for put in postponed:
            self._outlet.agenda.add(now_ms + round(fault.seconds * 1000), put)
        self._outlet.agenda.advance(now_ms)

    # Errors

    def refuse(self, refusal: CommandRefusedError, command_id: int, held: Subscription | None, now_ms: int) -> None:
        """Answer a command by an error, which has a number if it is about a subscription."""
        msg: dict[str, object] = {"code": int(refusal.code), "msg": refusal.text}
        if refusal.tickers:
            msg["market_tickers"] = refusal.tickers
        self._put("error", command_id, msg, held, now_ms)

    def failed(self, held: Subscription, code: Code, now_ms: int) -> None:
        """Say that a subscription has ended by itself."""
        self._put("error", 0, {"code": int(code), "msg": "subscription ended"}, held, now_ms)
