"""The client's part of the conversation with the venue: what to subscribe, and how to make invalid books valid again.

A `Commander` lives as long as one connection. It is told what `Session` noticed and what time it is, and returns the
text frames to send. Each channel has one subscription::

    IDLE ──subscribe──▶ SUBSCRIBING ──subscribed / ok──▶ LIVE ──unsubscribe──▶ LEAVING ──unsubscribed──▶ IDLE
      ▲                                                   │
      └──────────── errors 10, 25, 7: the sid is dead ────┘

An invalid book is repaired by the mildest means that can help: `get_snapshot`, once more, a new subscription, a new
connection (`FeedLostError`). A market whose snapshot never comes while those of others do is not worth a subscription:
it is `missing` and asked for every minute.

Commands are sent one after the other where their order matters. The venue carries them out concurrently: in a recording
of 2026-07-01 the commands 3 to 6 of one connection were answered in the order 6, 5, 3, 4.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rlflow.errors import FeedLostError
from rlflow.kalshi.book_repair import BookRepair
from rlflow.kalshi.messages import Error, Message, Ok, OrderbookSnapshot, Subscribed, Unsubscribed
from rlflow.kalshi.notices import OUT_OF_ORDER, BooksInvalid, BookValid, Heard, Notice
from rlflow.kalshi.pending import Command, Kind, Pending
from rlflow.kalshi.refusals import Demand, demand_of, kills_subscription, markets_at_fault
from rlflow.kalshi.subscription import Phase, Subscription

ORDERBOOK: Final = "orderbook_delta"
TRADE: Final = "trade"

MAX_SNAPSHOTS_PER_COMMAND: Final = 100


class Commander:
    """Keeps channels subscribed and books valid on one connection.

    All times are seconds of one monotonic clock, such as Trio's. The frames that a method returns are to be sent in
    their order. `FeedLostError` means that only a new connection, with a new commander, can help; its cause is made
    for people. `ValueError` is a mistake of the caller, and changes nothing.
    """

    def __init__(
        self, tickers: Iterable[str], channels: Sequence[str] = (ORDERBOOK, TRADE), *, use_yes_price: bool = False
    ) -> None:
        self._tickers = _at_least_one(tickers)
        self._subscriptions = {channel: Subscription(channel) for channel in channels}
        self._pending = Pending(use_yes_price)
        self._repair = BookRepair()
        self._refused: frozenset[str] = frozenset()
        self._out: list[bytes] = []

    # -- for the owner of the connection ----------------------------------------------------------------------------

    def connected(self, now: float) -> list[bytes]:
        """Return the command that opens the conversation."""
        self._subscribe_due(now)
        return self._take_out()

    def tell(self, notice: Notice, now: float) -> list[bytes]:
        """Take one notice about this connection's capture; notices come in the order of the frames."""
        match notice:
            case Heard():
                self._hear(notice.message, now)
            case BooksInvalid():
                self._lose(notice, now)
            case BookValid():
                self._repair.became_valid(notice.sid, notice.ticker, now)
        return self._take_out()

    def tick(self, now: float) -> list[bytes]:
        """Do what time demands; nothing before `next_deadline`."""
        for command in self._pending.take_overdue(now):
            # A snapshot that does not come has its own wait.
            if command.kind is not Kind.GET_SNAPSHOT:
                self._try_again(command, now)
        for command in self._pending.take_postponed(now):
            self._send(command, now)
        self._subscribe_due(now)
        self._repair_overdue(now)
        return self._take_out()

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do; None: not before something else happens."""
        resumptions = [each.not_before for each in self._subscriptions.values() if each.phase is Phase.IDLE]
        deadlines = [*resumptions, self._pending.next_deadline(), self._repair.next_deadline()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def resnapshot(self, tickers: Iterable[str] | None, now: float) -> list[bytes]:
        """Ask for fresh snapshots of these markets, or of all; valid books stay valid meanwhile.

        Markets that are not followed (any more) are left out. While nothing is subscribed nothing is asked for: the
        coming subscription brings snapshots.
        """
        books = self._subscriptions.get(ORDERBOOK)
        if books is not None and books.is_live:
            asked = sorted(books.held if tickers is None else books.held.intersection(tickers))
            self._repair.ask(asked, now)
            self._get_snapshots(books, asked, now)
        return self._take_out()

    def follow(self, tickers: Iterable[str], now: float) -> list[bytes]:
        """Follow these markets from now on instead of the present ones; what stays is not disturbed."""
        self._tickers = _at_least_one(tickers)
        self._refused &= self._tickers
        for subscription in self._subscriptions.values():
            if subscription.is_live:
                self._adjust(subscription, now)
        return self._take_out()

    @property
    def missing(self) -> frozenset[str]:
        """Markets that the venue refused, or of which it sends no snapshot though it does of others."""
        return self._repair.missing | self._refused

    @property
    def sids(self) -> dict[str, int]:
        """The live subscription of each channel that has one."""
        every = self._subscriptions.values()
        return {each.channel: each.sid for each in every if each.is_live and each.sid is not None}

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def _subscribe(self, subscriptions: Sequence[Subscription], now: float) -> None:
        """Subscribe to several channels by one command, so that none gets ahead of the others."""
        wanted = self._tickers - self._refused
        if not wanted:
            raise FeedLostError(f"the venue refused every market: {', '.join(sorted(self._refused)[:5])}")
        for subscription in subscriptions:
            subscription.begin(wanted)
        each = [Command(Kind.SUBSCRIBE, one.channel, tickers=tuple(sorted(wanted))) for one in subscriptions]
        self._out.append(self._pending.send(now, *each))

    def _subscribe_due(self, now: float) -> None:
        every = self._subscriptions.values()
        due = [each for each in every if each.phase is Phase.IDLE and each.not_before <= now]
        if due:
            self._subscribe(due, now)

    def _go_live(self, subscription: Subscription, sid: int, now: float) -> None:
        subscription.go_live(sid, now)
        if subscription.channel == ORDERBOOK:
            self._repair.subscribed(sid, subscription.held, now)
        self._adjust(subscription, now)

    def _adjust(self, subscription: Subscription, now: float) -> None:
        """Make a live subscription hold what is wanted."""
        wanted, sid = self._tickers - self._refused, subscription.sid
        added, removed = wanted - subscription.held, subscription.held - wanted
        subscription.held = wanted
        for kind, tickers in ((Kind.ADD, added), (Kind.DELETE, removed)):
            if tickers:
                self._send(Command(kind, subscription.channel, sid, tuple(sorted(tickers))), now)
        if subscription.channel == ORDERBOOK:
            self._repair.expect(added, now)
            self._repair.forget(removed)

    def _restart(self, subscription: Subscription, cause: str, now: float, *, is_dead: bool) -> None:
        """Make a subscription anew; a dead one need not be left first."""
        subscription.restart(cause, now)
        self._pending.forget(subscription.channel)
        if subscription.channel == ORDERBOOK:
            self._repair.unsubscribed()
        if is_dead:
            self._end(subscription, now)
        else:
            subscription.leave()
            self._send(Command(Kind.UNSUBSCRIBE, subscription.channel, subscription.sid), now)

    def _end(self, subscription: Subscription, now: float) -> None:
        subscription.end()
        self._subscribe_due(now)

    def _holder(self, sid: int | None) -> Subscription | None:
        """Return the subscription that has this sid, or had it until its end was asked for."""
        every = self._subscriptions.values()
        return next((each for each in every if sid is not None and each.sid == sid), None)

    # -- answers ----------------------------------------------------------------------------------------------------

    def _hear(self, message: Message, now: float) -> None:
        match message:
            case Subscribed():
                self._pending.take_answered(message.id, message.msg.channel)
                subscription = self._subscriptions.get(message.msg.channel)
                if subscription is not None and subscription.phase is Phase.SUBSCRIBING:
                    self._go_live(subscription, message.msg.sid, now)
            case Ok():
                self._hear_ok(message, now)
            case Unsubscribed():
                self._hear_unsubscribed(message, now)
            case Error():
                self._hear_error(message, now)
            case OrderbookSnapshot():
                self._repair.snapshot_came(message.sid, message.msg.market_ticker, now)
            case _:
                pass

    def _hear_ok(self, message: Ok, now: float) -> None:
        commands = self._pending.take_answered(message.id)
        for command in filter(self._has_purpose, commands):
            subscription = self._subscriptions[command.channel]
            if command.kind is Kind.SUBSCRIBE:
                # Where several channels were asked for, it does not say which one it is about.
                self._merged(subscription, message.sid if len(commands) == 1 else None, now)
            elif command.kind is Kind.LIST:
                self._hear_list(subscription, message, now)
            elif command.kind is Kind.UNSUBSCRIBE:
                self._end(subscription, now)

    def _hear_list(self, subscription: Subscription, message: Ok, now: float) -> None:
        listed = {each.channel: each.sid for each in message.subscriptions() or ()}
        if subscription.channel in listed:
            self._merged(subscription, listed[subscription.channel], now)
        else:
            self._restart(subscription, "the venue did not list it", now, is_dead=True)

    def _merged(self, subscription: Subscription, sid: int | None, now: float) -> None:
        """Go on with a subscription that the connection had already."""
        if sid is None:
            self._send(Command(Kind.LIST, subscription.channel), now)
        elif sid == subscription.shunned_sid:
            subscription.sid = sid
            self._restart(subscription, f"the venue kept subscription {sid}", now, is_dead=False)
        else:
            self._go_live(subscription, sid, now)

    def _hear_unsubscribed(self, message: Unsubscribed, now: float) -> None:
        self._pending.take_answered(message.id)
        subscription = self._holder(message.sid)
        if subscription is None:
            return
        if subscription.is_live:
            self._restart(subscription, "the venue ended the subscription", now, is_dead=True)
        else:
            self._end(subscription, now)

    def _hear_error(self, message: Error, now: float) -> None:
        commands = self._pending.take_answered(message.id)
        holder = self._holder(message.sid)
        if holder is not None and kills_subscription(message.msg.code):
            self._restart(holder, f"error {message.msg.code}", now, is_dead=True)
            return
        for command in filter(self._has_purpose, commands):
            self._refused_command(command, message, now)

    def _refused_command(self, command: Command, message: Error, now: float) -> None:
        subscription = self._subscriptions[command.channel]
        match demand_of(message, command):
            case Demand.SUBSCRIBE_ANEW:
                self._restart(subscription, f"error {message.msg.code}", now, is_dead=True)
            case Demand.RETRY:
                self._try_again(command, now)
            case Demand.POSTPONE:
                self._pending.postpone(command, now)
            case Demand.IT_HAS_ENDED:
                self._end(subscription, now)
            case Demand.IT_IS_HELD:
                self._merged(subscription, message.sid, now)
            case Demand.DO_WITHOUT:
                self._do_without(markets_at_fault(message, command), command, now)
            case Demand.RECONNECT:
                raise FeedLostError(f"the venue refused {command}: error {message.msg.code} {_shown(message.msg.msg)}")
            case Demand.NOTHING:
                pass

    def _do_without(self, named: frozenset[str], command: Command, now: float) -> None:
        """Carry out a command without the markets that the venue objects to."""
        rest = tuple(ticker for ticker in command.tickers if ticker not in named)
        subscription = self._subscriptions[command.channel]
        if command.kind is Kind.GET_SNAPSHOT:
            self._repair.give_up(named, now)
        elif command.kind is not Kind.DELETE:
            self._refused |= named
            self._repair.forget(named)
            subscription.held -= named
        if command.kind is Kind.SUBSCRIBE:
            self._subscribe([subscription], now)
        elif rest:
            self._send(Command(command.kind, command.channel, command.sid, rest, command.attempt), now)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _send(self, command: Command, now: float) -> None:
        self._out.append(self._pending.send(now, command))

    def _has_purpose(self, command: Command) -> bool:
        """Return whether its answer still matters: a later one may have settled the matter."""
        return command.matters_to(self._subscriptions[command.channel])

    def _try_again(self, command: Command, now: float) -> None:
        if self._has_purpose(command):
            self._out.append(self._pending.send_again(command, now))

    def _take_out(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    # -- books --------------------------------------------------------------------------------------------------------

    def _lose(self, notice: BooksInvalid, now: float) -> None:
        wanted = self._repair.became_invalid(notice.sid, notice.tickers)
        subscription = self._holder(notice.sid)
        if notice.cause == OUT_OF_ORDER and subscription is not None and subscription.is_live:
            self._restart(subscription, notice.cause, now, is_dead=False)
            return
        books = self._subscriptions.get(ORDERBOOK)
        if books is not None and books.is_live:
            asked = [ticker for ticker in wanted if ticker in books.held]
            self._repair.ask(asked, now)
            self._get_snapshots(books, asked, now)

    def _repair_overdue(self, now: float) -> None:
        """Do the next best thing for the books whose snapshot did not come."""
        books = self._subscriptions.get(ORDERBOOK)
        if books is None or not books.is_live:
            return
        wanted = self._repair.take_due(now)
        if wanted is None:
            self._restart(books, "snapshots did not come", now, is_dead=False)
        else:
            self._get_snapshots(books, wanted, now)

    def _get_snapshots(self, books: Subscription, tickers: Sequence[str], now: float) -> None:
        for start in range(0, len(tickers), MAX_SNAPSHOTS_PER_COMMAND):
            chunk = tuple(tickers[start : start + MAX_SNAPSHOTS_PER_COMMAND])
            self._send(Command(Kind.GET_SNAPSHOT, books.channel, books.sid, chunk), now)


def _at_least_one(tickers: Iterable[str]) -> frozenset[str]:
    """Return the markets as a set; none is refused, because to the venue that means all of them on some channels."""
    markets = frozenset(tickers)
    if not markets:
        raise ValueError("a commander needs at least one market to follow")
    return markets


def _shown(text: str) -> str:
    """Return foreign text in a form that may stand in a message."""
    return ascii(text)[1:-1][:100]
