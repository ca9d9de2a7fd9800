"""Commands that were sent and not answered yet, and those that must wait before they are sent again."""

import enum
from collections.abc import Iterator, Sequence, Set
from typing import Final, assert_never

import attrs

from rlflow.errors import FeedLostError
from rlflow.kalshi import commands
from rlflow.kalshi.subscription import Phase, Subscription

REPLY_LIMIT_S: Final = 10.0
"""The venue answers in milliseconds, or with error 18 when it has timed out itself."""
MAX_ATTEMPTS: Final = 3
"""How often a command is sent before a connection on which it is not carried out is given up."""
MAX_POSTPONEMENTS: Final = 6
"""How often a command that comes too fast is sent again, each time after twice the pause: for a minute in all."""


class Kind(enum.Enum):
    """What is asked for; the value is the word used in messages for people."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    ADD = "add_markets"
    DELETE = "delete_markets"
    GET_SNAPSHOT = "get_snapshot"
    LIST = "list_subscriptions"


# The phase of its subscription in which a command has a purpose.
_PURPOSE = {
    Kind.SUBSCRIBE: Phase.SUBSCRIBING,
    Kind.LIST: Phase.SUBSCRIBING,
    Kind.UNSUBSCRIBE: Phase.LEAVING,
    Kind.ADD: Phase.LIVE,
    Kind.DELETE: Phase.LIVE,
    Kind.GET_SNAPSHOT: Phase.LIVE,
}


@attrs.frozen
class Command:
    """One command, whatever id it is sent under."""

    kind: Kind
    channel: str
    sid: int | None = None
    tickers: tuple[str, ...] = ()
    attempt: int = 1

    def __str__(self) -> str:
        """For people: what, of which channel, about how many markets."""
        return f"{self.kind.value} of {len(self.tickers)} markets on {self.channel}"

    def matters_to(self, subscription: Subscription) -> bool:
        """Return whether its answer still matters to its subscription, which may have moved on."""
        return subscription.phase is _PURPOSE[self.kind] and subscription.sid == self.sid

    def without(self, tickers: Set[str]) -> "Command":
        """Return the command about its other markets."""
        return attrs.evolve(self, tickers=tuple(ticker for ticker in self.tickers if ticker not in tickers))

    def again(self) -> "Command":
        """Return the next attempt."""
        return attrs.evolve(self, attempt=self.attempt + 1)


@attrs.define
class _Open:
    """What was sent under one id; several commands are one subscription to several channels, answered for each."""

    commands: list[Command]
    overdue_at: float


@attrs.define
class Pending:
    """The open commands of one connection. Ids count from 1, because 0 means none to the venue."""

    use_yes_price: bool = False
    _last_id: int = 0
    _open: dict[int, _Open] = attrs.Factory(dict)
    _postponed: list[tuple[Command, float]] = attrs.Factory(list)
    """With the time at which it may be sent."""

    def send(self, now: float, *sent: Command) -> bytes:
        """Return the text frame that carries the command under a new id; several must subscribe to the same markets."""
        self._last_id += 1
        self._open[self._last_id] = _Open(list(sent), now + REPLY_LIMIT_S)
        return self._encode(self._last_id, sent)

    def send_again(self, command: Command, now: float) -> bytes:
        """Return the frame of the next attempt; `FeedLostError` if there were enough."""
        if command.attempt >= MAX_ATTEMPTS:
            raise FeedLostError(f"{command} was not carried out, asked for {MAX_ATTEMPTS} times")
        return self.send(now, command.again())

    def postpone(self, command: Command, now: float) -> None:
        """Keep a command that came too fast for the next attempt; `FeedLostError` if there were enough."""
        if command.attempt > MAX_POSTPONEMENTS:
            raise FeedLostError(f"{command} came too fast for the venue, and still does after a minute")
        self._postponed.append((command.again(), now + 2.0 ** (command.attempt - 1)))

    def take_answered(self, command_id: int | None, channel: str | None = None) -> list[Command]:
        """Return the commands that this answers (on this channel only), and forget them."""
        entry = self._open.get(command_id or 0)
        if entry is None:
            return []
        answered = [command for command in entry.commands if channel in (None, command.channel)]
        entry.commands = [command for command in entry.commands if command not in answered]
        self._drop_answered()
        return answered

    def take_overdue(self, now: float) -> list[Command]:
        """Return the commands whose answer did not come in time, and forget them."""
        overdue = [command_id for command_id, entry in self._open.items() if entry.overdue_at <= now]
        return [command for command_id in overdue for command in self._open.pop(command_id).commands]

    def take_postponed(self, now: float) -> list[Command]:
        """Return the postponed commands whose time has come, and forget them."""
        due = [command for command, until in self._postponed if until <= now]
        self._postponed = [(command, until) for command, until in self._postponed if until > now]
        return due

    def forget(self, channel: str) -> None:
        """Drop every command of a channel: its subscription begins anew, late answers mean nothing."""
        for entry in self._open.values():
            entry.commands = [command for command in entry.commands if command.channel != channel]
        self._drop_answered()
        self._postponed = [entry for entry in self._postponed if entry[0].channel != channel]

    def is_changing(self, channel: str) -> bool:
        """Return whether a command is not answered yet that changes the markets of a channel."""
        return any(each.channel == channel and each.kind in (Kind.ADD, Kind.DELETE) for each in self._waiting())

    def removals(self, channel: str) -> frozenset[str]:
        """Return the markets of which the venue has not said yet that they are removed."""
        removals = [each for each in self._waiting() if each.channel == channel and each.kind is Kind.DELETE]
        return frozenset(ticker for each in removals for ticker in each.tickers)

    def next_deadline(self) -> float | None:
        """Return when one of the two lists has something due; None: never."""
        overdue = [entry.overdue_at for entry in self._open.values()]
        return min([*overdue, *(until for _, until in self._postponed)], default=None)

    def _waiting(self) -> Iterator[Command]:
        for entry in self._open.values():
            yield from entry.commands
        yield from (command for command, _ in self._postponed)

    def _drop_answered(self) -> None:
        self._open = {command_id: entry for command_id, entry in self._open.items() if entry.commands}

    def _encode(self, command_id: int, sent: Sequence[Command]) -> bytes:
        kind, sid, tickers = sent[0].kind, sent[0].sid, sent[0].tickers
        if kind is Kind.SUBSCRIBE:
            channels = [command.channel for command in sent]
            return commands.subscribe(command_id, channels, tickers or None, use_yes_price=self.use_yes_price)
        if kind is Kind.LIST:
            return commands.list_subscriptions(command_id)
        assert sid is not None, "only subscribing and listing go without a sid"
        match kind:
            case Kind.UNSUBSCRIBE:
                return commands.unsubscribe(command_id, (sid,))
            case Kind.ADD:
                return commands.add_markets(command_id, sid, tickers)
            case Kind.DELETE:
                return commands.delete_markets(command_id, sid, tickers)
            case Kind.GET_SNAPSHOT:
                return commands.get_snapshot(command_id, sid, tickers)
            case _:
                assert_never(kind)
