"""What one connection is subscribed to, and what the markets tell it about that (protocol 3.3, 3.4 and 4.3)."""

from collections.abc import Iterable
from typing import Annotated, Any

import attrs
import msgspec

from rlflow.exchange.wire import frames
from rlflow.exchange.wire.channels import (
    ADD_MARKETS,
    BENCHMARKS,
    FILTERED,
    GET_SNAPSHOT,
    LEAVING,
    LISTING,
    PYTH,
    TICKER,
    takes_action,
)
from rlflow.exchange.wire.commands import Choice, Code, CommandRefusedError, Subscribe, Update
from rlflow.exchange.wire.items import ORDERBOOK, Item, Markets
from rlflow.exchange.wire.outlet import Outlet
from rlflow.exchange.wire.replies import Replies
from rlflow.exchange.wire.subscription import Subscription


@attrs.frozen
class Limits:
    """What one connection may ask for; the venue publishes none of these numbers (protocol 10, 6)."""

    queued_frames: Annotated[float, msgspec.Meta(ge=0)] = 20_000
    """Frames of one subscription that may wait before it is ended by error 25; infinite: the source waits instead."""
    markets: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Markets of one subscription; more are error 26."""
    commands_per_second: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Of one connection; more are error 27."""


@attrs.frozen
class Caller:
    """Who is at the other end of a connection."""

    account: str = ""
    """The API key id, to which private publications are addressed."""
    may_read: bool = True
    """Without the scope `read`, every channel is refused by error 9."""


class Subscriptions:
    """One connection's subscriptions. `CommandRefusedError` where a command cannot be carried out at all."""

    def __init__(self, markets: Markets, limits: Limits, caller: Caller, outlet: Outlet, replies: Replies) -> None:
        self.slow_consumer_errors = 0
        self._markets = markets
        self._limits = limits
        self._caller = caller
        self._outlet = outlet
        self._replies = replies
        self._held: dict[str, Subscription] = {}
        self._last_sid = 0

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, tickers: Iterable[str]) -> bool:
        """Return whether the order book subscription covers all of these markets."""
        held = self._held.get(ORDERBOOK)
        return held is not None and (held.tickers is None or held.tickers.issuperset(tickers))

    # Subscribing

    def subscribe(self, command: Subscribe, command_id: int, now_ms: int) -> None:
        """Subscribe to new channels, merge into held ones; all replies first, then the snapshots."""
        tickers = self._named(command.choice)
        self._check(command, tickers)
        wanted: list[tuple[Subscription, tuple[str, ...]]] = []
        for channel in command.channels:
            named = tickers if channel in FILTERED and command.choice.has_markets else None
            held = self._held.get(channel)
            if held is None:
                held = self._open(channel, command, named)
                self._replies.subscribed(held, command_id, now_ms)
                wanted.append((held, named or ()))
            else:
                new = held.add(named, command.choice.market_ids if channel == TICKER else ())
                held.sources.update(command.choice.sources(channel))
                self._replies.ok(held, command_id, now_ms)
                wanted.append((held, new if channel == ORDERBOOK else named or ()))
        for subscription, named in wanted:
            if subscription.channel == ORDERBOOK:
                self._send_snapshots(subscription, named, 0, now_ms)
            elif subscription.channel == TICKER and command.send_initial_snapshot:
                self._send_quotes(subscription, named, now_ms)

    def _named(self, choice: Choice) -> tuple[str, ...]:
        """Return the markets that a command names by ticker or id."""
        found = {market_id: self._markets.ticker_of(market_id) for market_id in choice.market_ids}
        unknown = [market_id for market_id, ticker in found.items() if ticker is None]
        if unknown:
            raise CommandRefusedError(Code.MALFORMED, f"unknown market id {unknown[0][:40]!r}")
        return choice.tickers + tuple(ticker for ticker in found.values() if ticker is not None)

    def _check(self, command: Subscribe, tickers: tuple[str, ...]) -> None:
        """Refuse a subscription that cannot be served as a whole, before anything is changed."""
        if not self._caller.may_read:
            raise CommandRefusedError(Code.UNAUTHORIZED, "the key has no scope for this channel")
        for channel in FILTERED.intersection(command.channels):
            held = self._held.get(channel)
            count = len(tickers) if held is None else held.count_with(tickers)
            if count > self._limits.markets:
                raise CommandRefusedError(Code.TOO_MANY_MARKETS, "too many markets in one subscription")
        if ORDERBOOK in command.channels and ORDERBOOK not in self._held:
            objection = self._markets.objection(use_yes_price=command.use_yes_price)
            if objection is not None:
                raise CommandRefusedError(Code.MALFORMED, objection)

    def _open(self, channel: str, command: Subscribe, tickers: tuple[str, ...] | None) -> Subscription:
        self._last_sid += 1
        opened = self._held[channel] = Subscription(
            self._last_sid,
            channel,
            None if tickers is None else set(tickers),
            command.use_yes_price,
            skips_ticker_ack=command.skip_ticker_ack,
            account=self._caller.account,
            market_ids=set(command.choice.market_ids) if channel == TICKER else set(),
            sources=set(command.choice.sources(channel)),
        )
        return opened

    def unsubscribe(self, sid: int, command_id: int, now_ms: int) -> None:
        """End a subscription."""
        held = self._subscription(sid)
        del self._held[held.channel]
        self._replies.unsubscribed(held, command_id, now_ms)

    def name_all(self, command_id: int, now_ms: int) -> None:
        """Answer what is subscribed."""
        held = [{"channel": each.channel, "sid": each.sid} for each in self._held.values()]
        self._replies.listed(held, command_id, now_ms)

    # Changing a subscription

    def update(self, command: Update, command_id: int, now_ms: int) -> None:
        """Change a subscription, or send it snapshots; refusals are about it, and numbered."""
        held = self._subscription(command.sid)
        try:
            tickers = self._named(command.choice)
            self._check_update(held, command, tickers)
        except CommandRefusedError as refusal:
            self._replies.refuse(refusal, command_id, held, now_ms)
            return
        if command.action == GET_SNAPSHOT:
            self._send_snapshots(held, tickers, command_id, now_ms)
            return
        new = self._change(held, command, tickers)
        self._replies.ok(held, command_id, now_ms)
        if held.channel == ORDERBOOK:
            self._send_snapshots(held, new, 0, now_ms)
        elif held.channel == TICKER and command.send_initial_snapshot:
            self._send_quotes(held, new, now_ms)

    def _check_update(self, held: Subscription, command: Update, tickers: tuple[str, ...]) -> None:
        if not takes_action(held.channel, command.action):
            raise CommandRefusedError(Code.UNKNOWN_ACTION, f"action {command.action[:40]!r} is not valid here")
        if held.channel in BENCHMARKS or held.channel == PYTH:
            if command.action not in LISTING and not command.choice.sources(held.channel):
                code = Code.NO_INDICES if held.channel in BENCHMARKS else Code.NO_UNDERLYINGS
                raise CommandRefusedError(code, "index ids or underlying tickers missing")
            return
        if not tickers or (command.choice.market_ids and held.channel != TICKER):
            raise CommandRefusedError(Code.NO_MARKETS, "market specification missing")
        if command.action == ADD_MARKETS:
            if held.count_with(tickers) > self._limits.markets:
                raise CommandRefusedError(Code.TOO_MANY_MARKETS, "too many markets in one subscription")
        elif held.tickers is None or not held.tickers.issuperset(tickers):
            # The venue's documents are silent about markets that are not held (protocol 10, 22).
            raise CommandRefusedError(Code.MALFORMED, "market not in the subscription", tickers=tickers)

    def _change(self, held: Subscription, command: Update, tickers: tuple[str, ...]) -> tuple[str, ...]:
        """Add to, or take from, a subscription; return the markets that are new to it."""
        choice = command.choice
        if command.action not in LEAVING:
            held.sources.update(choice.sources(held.channel))
            return held.add(tickers, choice.market_ids) if command.action == ADD_MARKETS else ()
        held.sources.difference_update(choice.sources(held.channel))
        if held.tickers is not None:
            held.tickers.difference_update(tickers)
            held.market_ids = {each for each in held.market_ids if self._markets.ticker_of(each) in held.tickers}
        return ()

    def _subscription(self, sid: int) -> Subscription:
        for held in self._held.values():
            if held.sid == sid:
                return held
        raise CommandRefusedError(Code.UNKNOWN_SID, f"unknown sid {sid}")

    # What the markets say

    def publish(self, items: Iterable[Item], now_ms: int) -> None:
        """Queue the items for the subscriptions that cover them; one whose queue is full is ended by error 25."""
        limit = self._limits.queued_frames
        put = self._outlet.shortcut()
        for item in items:
            held = self._held.get(item.channel)
            if held is None:
                continue
            if not held.covers(item):
                held.numbering.skip(item.recorded_seq)
            elif held.queued >= limit:
                self._fail(held, Code.SLOW_CONSUMER, now_ms)
            elif put is not None:
                put(held.frame(item), held)
            elif item.channel != ORDERBOOK or not self._outlet.script.strike_change(item.ticker):
                self._send(held, item.ticker, held.frame(item), now_ms)

    def _send_snapshots(self, held: Subscription, tickers: tuple[str, ...], command_id: int, now_ms: int) -> None:
        for ticker in tickers:
            if not self._lives(held):
                return
            image = self._markets.image(ticker)
            if image is None or self._outlet.script.strike_snapshot(ticker):
                continue
            fields: dict[str, Any] = {"use_yes_price": held.use_yes_price, "command_id": command_id, "now_ms": now_ms}
            frame = frames.snapshot(image, sid=held.sid, seq=held.numbering.insert(), **fields)
            self._send(held, ticker, frame, now_ms)

    def _send_quotes(self, held: Subscription, tickers: tuple[str, ...], now_ms: int) -> None:
        for ticker in tickers:
            quote = self._markets.quote(ticker)
            if quote is not None and self._lives(held):
                self._send(held, ticker, held.frame(quote), now_ms)

    def _lives(self, held: Subscription) -> bool:
        return self._held.get(held.channel) is held

    def _send(self, held: Subscription, ticker: str, frame: bytes, now_ms: int) -> None:
        failure = self._outlet.send(held, ticker, frame, now_ms)
        if failure is not None:
            self._fail(held, failure, now_ms)

    def _fail(self, held: Subscription, code: Code, now_ms: int) -> None:
        """End a subscription by an error; what is queued still goes out, then there is silence on its sid."""
        self._held.pop(held.channel, None)
        self.slow_consumer_errors += code is Code.SLOW_CONSUMER
        self._replies.failed(held, code, now_ms)
