"""One connection seen from the venue: command texts and publications in, frames out (protocol 3 and 4.3).

Pure: it knows neither the socket nor the time; whoever drives it hands in texts, items and the milliseconds, and takes
the frames out of its outbox.
"""

from collections.abc import Iterable
from functools import partial
from typing import assert_never

from rlflow.exchange.wire.commands import (
    Code,
    Command,
    CommandRefusedError,
    ListSubscriptions,
    Subscribe,
    Unsubscribe,
    Update,
    read_command,
    read_envelope,
)
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.fault_script import FaultScript
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import Item, Markets
from rlflow.exchange.wire.outlet import Outlet
from rlflow.exchange.wire.replies import Replies
from rlflow.exchange.wire.subscriptions import Caller, Limits, Subscriptions

__all__ = ["Caller", "Conversation", "Limits"]


class Conversation:
    """One connection's subscriptions and the frames that wait for its socket."""

    def __init__(
        self,
        markets: Markets,
        limits: Limits | None = None,
        script: FaultScript | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.outlet = Outlet(script)
        self._limits = limits or Limits()
        self._replies = Replies(self.outlet)
        self._subscriptions = Subscriptions(markets, self._limits, caller or Caller(), self.outlet, self._replies)
        self._second = 0
        self._commands_in_second = 0

    @property
    def has_subscription(self) -> bool:
        """Whether anything is subscribed."""
        return len(self._subscriptions) > 0

    @property
    def slow_consumer_errors(self) -> int:
        """How many subscriptions were ended by error 25."""
        return self._subscriptions.slow_consumer_errors

    def holds(self, tickers: Iterable[str]) -> bool:
        """Return whether the order book subscription covers all of these markets."""
        return self._subscriptions.holds(tickers)

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Carry out one command; the answers go to the outbox, refusals as the venue's errors."""
        if self.outlet.is_over:
            return
        command_id = 0
        try:
            envelope = read_envelope(text)
            command_id = envelope.id
            self._count_command(now_ms)
            command = read_command(envelope)
        except CommandRefusedError as refusal:
            self._replies.refuse(refusal, command_id, None, now_ms)
            return
        fault = self.outlet.script.strike_command(envelope.cmd)
        if fault is None:
            self._carry_out(command, command_id, now_ms)
        else:
            self._carry_out_badly(fault, command, command_id, now_ms)

    def _count_command(self, now_ms: int) -> None:
        if now_ms // 1000 != self._second:
            self._second, self._commands_in_second = now_ms // 1000, 0
        self._commands_in_second += 1
        if self._commands_in_second > self._limits.commands_per_second:
            raise CommandRefusedError(Code.TOO_MANY_COMMANDS, "command rate limit exceeded")

    def _carry_out_badly(self, fault: Fault, command: Command, command_id: int, now_ms: int) -> None:
        match fault.kind:
            case FaultKind.IGNORE:
                pass
            case FaultKind.TIME_OUT | FaultKind.REFUSAL:
                code = Code.TIMED_OUT if fault.kind is FaultKind.TIME_OUT else fault.code or Code.UNREADABLE
                self._replies.refuse(CommandRefusedError(code, "fault on request"), command_id, None, now_ms)
            case FaultKind.LATE:
                due_ms = now_ms + round(fault.seconds * 1000)
                self.outlet.agenda.add(due_ms, partial(self._carry_out, command, command_id))
            case _:
                with self._replies.suffering(fault, command_id, now_ms):
                    self._carry_out(command, command_id, now_ms)

    def _carry_out(self, command: Command, command_id: int, now_ms: int) -> None:
        subscriptions = self._subscriptions
        try:
            match command:
                case Subscribe():
                    subscriptions.subscribe(command, command_id, now_ms)
                case Unsubscribe():
                    self._unsubscribe(command.sids, command_id, now_ms)
                case Update():
                    subscriptions.update(command, command_id, now_ms)
                case ListSubscriptions():
                    subscriptions.name_all(command_id, now_ms)
                case _:
                    assert_never(command)
        except CommandRefusedError as refusal:
            self._replies.refuse(refusal, command_id, None, now_ms)

    def _unsubscribe(self, sids: Iterable[int], command_id: int, now_ms: int) -> None:
        """End all these subscriptions; one that does not exist spares none of the others."""
        for sid in sids:
            try:
                self._subscriptions.unsubscribe(sid, command_id, now_ms)
            except CommandRefusedError as refusal:
                self._replies.refuse(refusal, command_id, None, now_ms)

    def publish(self, items: Iterable[Item], now_ms: int) -> None:
        """Queue what the markets say for the subscriptions that cover it."""
        self._subscriptions.publish(items, now_ms)

    def advance(self, now_ms: int) -> None:
        """Do what was put off until now."""
        self.outlet.agenda.advance(now_ms)
