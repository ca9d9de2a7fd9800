"""A venue in memory that carries out commands as the real one does, and misbehaves on request."""

import enum
from collections import deque
from typing import Any

import attrs
import msgspec

from rlflow.units import Count, Price, Side
from tests.strategies import Wire


class Fault(enum.Enum):
    """What goes wrong with the next frame or command."""

    LOSE_FRAME = enum.auto()
    IGNORE_COMMAND = enum.auto()
    TIME_OUT = enum.auto()
    """Error 18: the command was not carried out."""
    TIME_OUT_AFTERWARDS = enum.auto()
    """Error 18, though the command was carried out."""
    TOO_FAST = enum.auto()
    OVERTAKEN = enum.auto()
    """The command is carried out behind the next one."""


FRAME_FAULTS = frozenset({Fault.LOSE_FRAME})


@attrs.define
class VenueDouble:
    """One connection of the venue. `frames` are what it has sent and nobody has read."""

    wire: Wire = attrs.Factory(Wire)
    frames: deque[bytes] = attrs.Factory(deque)
    faults: deque[Fault] = attrs.Factory(deque)
    """Each strikes the next thing that it can strike."""
    held: dict[str, set[str]] = attrs.Factory(dict)
    mute_markets: set[str] = attrs.Factory(set)
    """Markets of which no snapshot is ever sent."""
    commands: list[dict[str, Any]] = attrs.Factory(list)
    """Every command that came."""
    _late: list[dict[str, Any]] = attrs.Factory(list)

    def receive(self, text: bytes) -> None:
        """Carry out one command."""
        command = msgspec.json.decode(text)
        self.commands.append(command)
        fault = self._take_fault(set(Fault) - FRAME_FAULTS)
        number = command["id"]
        if fault is Fault.IGNORE_COMMAND:
            return
        if fault in (Fault.TIME_OUT, Fault.TOO_FAST):
            self._send(self.wire.error(18 if fault is Fault.TIME_OUT else 27, number))
            return
        if fault is Fault.OVERTAKEN:
            self._late.append(command)
            return
        answers = self._carry_out(command)
        if fault is Fault.TIME_OUT_AFTERWARDS:
            self._send(self.wire.error(18, number))
            # What consumed a seq must still be sent; only the plain acknowledgement is replaced.
            answers = [frame for frame in answers if b'"seq"' in frame]
        for frame in answers:
            self._send(frame)
        self._catch_up()

    def kill(self, channel: str, code: int) -> None:
        """End a subscription by error 10 or 25, if there is one; never lost, for then nothing could be noticed."""
        if channel in self.held:
            self.frames.append(self.wire.error(code, channel=channel))
            del self.held[channel], self.wire.sids[channel]

    def change(self, ticker: str, side: Side, price: Price, delta: Count) -> None:
        """Change a book, and say so to whom it may concern."""
        if ticker in self.held.get("orderbook_delta", ()):
            self._send(self.wire.delta(ticker, side, price, delta))

    def send_out_of_order(self) -> None:
        """Send a frame of the order book subscription whose place has been taken."""
        sid = self.wire.sids.get("orderbook_delta")
        if sid is not None and self.wire.seqs[sid] > 2:
            self._send(b'{"type":"event_fee_update","sid":%d,"seq":2,"msg":{}}' % sid)

    def settle(self) -> None:
        """Forget the faults and carry out what was overtaken."""
        self.faults.clear()
        self._catch_up()

    def _catch_up(self) -> None:
        late, self._late = self._late, []
        for command in late:
            for frame in self._carry_out(command):
                self._send(frame)

    def _carry_out(self, command: dict[str, Any]) -> list[bytes]:
        number, params = command["id"], command.get("params", {})
        match command["cmd"]:
            case "subscribe":
                each = [self._subscribe(number, channel, params["market_tickers"]) for channel in params["channels"]]
                return [frame for answers in each for frame in answers]
            case "unsubscribe":
                return self._unsubscribe(number, params["sids"][0])
            case "list_subscriptions":
                return [self.wire.listed(number)]
            case _:
                return self._update(number, params["action"], params["sids"][0], params["market_tickers"])

    def _subscribe(self, number: int, channel: str, tickers: list[str]) -> list[bytes]:
        if channel in self.held:
            return self._add(number, channel, tickers)
        self.held[channel] = set(tickers)
        return [self.wire.subscribed(channel, number), *self._snapshots(channel, tickers)]

    def _add(self, number: int, channel: str, tickers: list[str]) -> list[bytes]:
        added = [ticker for ticker in tickers if ticker not in self.held[channel]]
        self.held[channel].update(added)
        return [self._ok(number, channel), *self._snapshots(channel, added)]

    def _unsubscribe(self, number: int, sid: int) -> list[bytes]:
        channel = self._channel(sid)
        if channel is None:
            return [self.wire.error(7, number)]
        del self.held[channel]
        return [self.wire.unsubscribed(channel, number)]

    def _update(self, number: int, action: str, sid: int, tickers: list[str]) -> list[bytes]:
        channel = self._channel(sid)
        if channel is None:
            return [self.wire.error(7, number)]
        if action == "get_snapshot":
            return self._snapshots(channel, tickers, number)
        if action == "add_markets":
            return self._add(number, channel, tickers)
        self.held[channel].difference_update(tickers)
        return [self._ok(number, channel)]

    def _ok(self, number: int, channel: str) -> bytes:
        return self.wire.ok(sorted(self.held[channel]), number, channel)

    def _snapshots(self, channel: str, tickers: list[str], number: int | None = None) -> list[bytes]:
        if channel != "orderbook_delta":
            return []
        return [self.wire.snapshot(ticker, number) for ticker in tickers if ticker not in self.mute_markets]

    def _channel(self, sid: int) -> str | None:
        return next((channel for channel, live in self.wire.sids.items() if live == sid), None)

    def _send(self, frame: bytes) -> None:
        if self._take_fault(FRAME_FAULTS) is None:
            self.frames.append(frame)

    def _take_fault(self, kinds: "frozenset[Fault] | set[Fault]") -> Fault | None:
        fault = next((fault for fault in self.faults if fault in kinds), None)
        if fault is not None:
            self.faults.remove(fault)
        return fault
