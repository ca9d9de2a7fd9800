"""One connection seen from the venue: command texts and publications in, frames out (protocol 3 and 4.3).

Pure: it knows neither the socket nor the time; whoever drives it hands in texts, items and the milliseconds, and takes
the frames out of its outbox.
"""

from collections.abc import Iterable
from typing import assert_never

import attrs

from rlflow.exchange import frames
from rlflow.exchange.commands import (
    Code,
    Command,
    CommandRefusedError,
    ListSubscriptions,
    Subscribe,
    Unsubscribe,
    Update,
    read_command,
    read_envelope,
    takes_markets,
)
from rlflow.exchange.faults import FaultKind, FaultScript
from rlflow.exchange.items import ORDERBOOK, Item, Markets
from rlflow.exchange.outbox import Outbox
from rlflow.exchange.subscription import Subscription


@attrs.frozen
class Limits:
    """What one connection may ask for; the venue publishes none of these numbers (protocol 10, 6)."""

    queued_frames: float = 20_000
    """Frames of one subscription that may wait before it is ended by error 25; infinite: the source waits instead."""
    markets: int = 10_000
    """Markets of one subscription; more are error 26."""
    commands_per_second: int = 10_000
    """Of one connection; more are error 27."""


@attrs.frozen
class Ending:
    """How a connection is to end."""

    code: int = 1000
    reason: str = ""
    is_abrupt: bool = False
    """Without a close frame."""


class Conversation:
    """One connection's subscriptions and the frames that wait for its socket."""

    def __init__(self, markets: Markets, limits: Limits | None = None, script: FaultScript | None = None) -> None:
        self.outbox = Outbox()
        self.ending: Ending | None = None
        """Set when the connection is to end behind the frames in the outbox."""
        self.is_mute = False
        """Nothing more is to be sent behind what is in the outbox, pings included."""
        self.slow_consumer_errors = 0
        self._markets = markets
        self._limits = limits or Limits()
        self.script = script or FaultScript()
        self._held: dict[str, Subscription] = {}
        self._last_sid = 0
        self._second = 0
        self._commands_in_second = 0

    @property
    def has_subscription(self) -> bool:
        """Whether anything is subscribed."""
        return bool(self._held)

    def holds(self, tickers: Iterable[str]) -> bool:
        """Return whether the order book subscription covers all of these markets."""
        held = self._held.get(ORDERBOOK)
        return held is not None and (held.tickers is None or held.tickers.issuperset(tickers))

    # What the client says

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Carry out one command; the answers go to the outbox, refusals as the venue's errors."""
        if self.is_mute or self.ending is not None:
            return
        command_id = 0
        try:
            envelope = read_envelope(text)
            command_id = envelope.id
            self._count_command(now_ms)
            self._carry_out(read_command(envelope), command_id, now_ms)
        except CommandRefusedError as refusal:
            self._refuse(refusal, command_id, None, now_ms)

    def _count_command(self, now_ms: int) -> None:
        if now_ms // 1000 != self._second:
            self._second, self._commands_in_second = now_ms // 1000, 0
        self._commands_in_second += 1
        if self._commands_in_second > self._limits.commands_per_second:
            raise CommandRefusedError(Code.TOO_MANY_COMMANDS, "command rate limit exceeded")

    def _carry_out(self, command: Command, command_id: int, now_ms: int) -> None:
        match command:
            case Subscribe():
                self._subscribe(command, command_id, now_ms)
            case Unsubscribe():
                for sid in command.sids:
                    self._unsubscribe(sid, command_id, now_ms)
            case Update():
                self._update(command, command_id, now_ms)
            case ListSubscriptions():
                held = [{"channel": each.channel, "sid": each.sid} for each in self._held.values()]
                self.outbox.put(frames.control("ok", command_id=command_id, msg=held, now_ms=now_ms))
            case _:
                assert_never(command)

    def _subscribe(self, command: Subscribe, command_id: int, now_ms: int) -> None:
        """Subscribe to new channels, merge into held ones; all replies first, then the snapshots."""
        self._check(command)
        wanted: list[tuple[Subscription, tuple[str, ...]]] = []
        for channel in command.channels:
            held = self._held.get(channel)
            if held is None:
                wanted.append((self._open(channel, command, command_id, now_ms), command.tickers or ()))
            else:
                wanted.append((held, held.add(command.tickers)))
                self._acknowledge(held, command_id, now_ms)
        for subscription, tickers in wanted:
            if subscription.channel == ORDERBOOK:
                self._send_snapshots(subscription, tickers, 0, now_ms)

    def _check(self, command: Subscribe) -> None:
        """Refuse a subscription that cannot be served as a whole, before anything is changed."""
        for channel in command.channels:
            held = self._held.get(channel)
            count = len(command.tickers or ()) if held is None else held.count_with(command.tickers)
            if count > self._limits.markets:
                raise CommandRefusedError(Code.TOO_MANY_MARKETS, "too many markets in one subscription")
        if ORDERBOOK in command.channels and ORDERBOOK not in self._held:
            objection = self._markets.objection(use_yes_price=command.use_yes_price)
            if objection is not None:
                raise CommandRefusedError(Code.MALFORMED, objection)

    def _open(self, channel: str, command: Subscribe, command_id: int, now_ms: int) -> Subscription:
        self._last_sid += 1
        tickers = None if command.tickers is None else set(command.tickers)
        opened = Subscription(
            self._last_sid, channel, tickers, command.use_yes_price, skips_ticker_ack=command.skip_ticker_ack
        )
        self._held[channel] = opened
        msg = {"channel": channel, "sid": opened.sid}
        self.outbox.put(frames.control("subscribed", command_id=command_id, msg=msg, now_ms=now_ms))
        return opened

    def _acknowledge(self, held: Subscription, command_id: int, now_ms: int) -> None:
        seq, msg = held.next_seq(), held.acknowledgement()
        self.outbox.put(
            frames.control("ok", command_id=command_id, sid=held.sid, seq=seq, msg=msg, now_ms=now_ms), held
        )

    def _unsubscribe(self, sid: int, command_id: int, now_ms: int) -> None:
        try:
            held = self._subscription(sid)
        except CommandRefusedError as refusal:
            # The other sids of the command are ended all the same.
            self._refuse(refusal, command_id, None, now_ms)
            return
        del self._held[held.channel]
        seq = held.next_seq()
        self.outbox.put(frames.control("unsubscribed", command_id=command_id, sid=sid, seq=seq, now_ms=now_ms))

    def _update(self, command: Update, command_id: int, now_ms: int) -> None:
        held = self._subscription(command.sid)
        try:
            self._check_update(held, command)
        except CommandRefusedError as refusal:
            self._refuse(refusal, command_id, held, now_ms)
            return
        if command.action == "get_snapshot":
            self._send_snapshots(held, command.tickers, command_id, now_ms)
            return
        new: tuple[str, ...] = ()
        if command.action == "add_markets":
            new = held.add(command.tickers)
        elif held.tickers is not None:
            held.tickers.difference_update(command.tickers)
        self._acknowledge(held, command_id, now_ms)
        if held.channel == ORDERBOOK:
            self._send_snapshots(held, new, 0, now_ms)

    def _check_update(self, held: Subscription, command: Update) -> None:
        if not takes_markets(held.channel, command.action):
            raise CommandRefusedError(Code.UNKNOWN_ACTION, f"action {command.action[:40]!r} is not valid here")
        if not command.tickers:
            raise CommandRefusedError(Code.NO_MARKETS, "market specification missing")
        if command.action == "add_markets":
            if held.count_with(command.tickers) > self._limits.markets:
                raise CommandRefusedError(Code.TOO_MANY_MARKETS, "too many markets in one subscription")
        elif held.tickers is None or not held.tickers.issuperset(command.tickers):
            # The venue's documents are silent about markets that are not held (protocol 10, 22).
            raise CommandRefusedError(Code.MALFORMED, "market not in the subscription", tickers=command.tickers)

    def _subscription(self, sid: int) -> Subscription:
        for held in self._held.values():
            if held.sid == sid:
                return held
        raise CommandRefusedError(Code.UNKNOWN_SID, f"unknown sid {sid}")

    def _refuse(self, refusal: CommandRefusedError, command_id: int, held: Subscription | None, now_ms: int) -> None:
        msg: dict[str, object] = {"code": int(refusal.code), "msg": refusal.text}
        if refusal.tickers:
            msg["market_tickers"] = refusal.tickers
        sid, seq = (None, None) if held is None else (held.sid, held.next_seq())
        self.outbox.put(frames.control("error", command_id=command_id, sid=sid, seq=seq, msg=msg, now_ms=now_ms))

    # What the markets say

    def publish(self, items: Iterable[Item], now_ms: int) -> None:
        """Queue the items for the subscriptions that cover them; one whose queue is full is ended by error 25."""
        limit = self._limits.queued_frames
        for item in items:
            held = self._held.get(item.channel)
            if held is None:
                continue
            if not held.covers(item):
                held.numbering.skip(item.recorded_seq)
            elif held.queued >= limit:
                self._fail(held, Code.SLOW_CONSUMER, now_ms)
            else:
                self._send(held, held.frame(item), now_ms)

    def _send_snapshots(self, held: Subscription, tickers: tuple[str, ...], command_id: int, now_ms: int) -> None:
        for ticker in tickers:
            image = self._markets.image(ticker)
            if image is not None:
                frame = frames.snapshot(
                    image,
                    sid=held.sid,
                    seq=held.numbering.insert(),
                    use_yes_price=held.use_yes_price,
                    command_id=command_id,
                    now_ms=now_ms,
                )
                self._send(held, frame, now_ms)

    def _send(self, held: Subscription, frame: bytes, now_ms: int) -> None:
        if self.ending is not None or self.is_mute:
            return
        if self.script.is_idle:
            self.outbox.put(frame, held)
            return
        struck = self.script.strike(held.channel, frame)
        for each in struck.frames:
            self.outbox.put(each, held)
        if struck.then is not None:
            self._suffer(struck.then, held, now_ms)

    def _suffer(self, fault: FaultKind, held: Subscription, now_ms: int) -> None:
        match fault:
            case FaultKind.CHANNEL_FAILURE:
                self._fail(held, Code.CHANNEL_FAILED, now_ms)
            case FaultKind.SLOW_CONSUMER:
                self._fail(held, Code.SLOW_CONSUMER, now_ms)
            case FaultKind.CLOSE:
                self.ending = Ending(1011, "fault on request")
            case FaultKind.ABORT:
                self.ending = Ending(1006, is_abrupt=True)
            case FaultKind.MUTE:
                self.is_mute = True
            case _:
                raise ValueError(f"{fault} happens to the frame itself")

    def _fail(self, held: Subscription, code: Code, now_ms: int) -> None:
        """End a subscription by an error; what is queued still goes out, then there is silence on its sid."""
        self._held.pop(held.channel, None)
        self.slow_consumer_errors += code is Code.SLOW_CONSUMER
        msg = {"code": int(code), "msg": "subscription ended"}
        self.outbox.put(frames.control("error", sid=held.sid, seq=held.next_seq(), msg=msg, now_ms=now_ms))
