"""The client's part of the conversation with the venue: what to subscribe, and how to make invalid books valid again.

A `Commander` lives as long as one connection. It is told what `Session` noticed and what time it is, and returns the
text frames to send. Each channel has one subscription::

    IDLE ──subscribe──▶ SUBSCRIBING ──subscribed / ok──▶ LIVE ──unsubscribe──▶ LEAVING ──unsubscribed──▶ IDLE
      ▲                                                   │
      └──────────── errors 10, 25, 7: the sid is dead ────┘

An invalid book is repaired by the mildest means that can help: `get_snapshot`, once more, a new subscription, a new
connection (`FeedLostError`). A market whose snapshot never comes while those of others do is not worth a subscription:
it is `missing` and asked for every minute.

Markets are added by the hundred, the next hundred when the snapshots of the last have come, so that a thousand books do
not come at once. A subscription that cannot hold as many as it should (error 26) keeps what it has and says so:
`too_many`. The lifecycle channel takes no markets; a commander that hears it may have none to follow.

Commands are sent one after the other where their order matters. The venue carries them out concurrently: in a recording
of 2026-07-01 the commands 3 to 6 of one connection were answered in the order 6, 5, 3, 4.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rlflow.errors import FeedLostError
from rlflow.kalshi.book_repair import BookRepair
from rlflow.kalshi.lifecycle import LIFECYCLE
from rlflow.kalshi.messages import Error, Message, Ok, OrderbookSnapshot, Subscribed, Unsubscribed
from rlflow.kalshi.notices import OUT_OF_ORDER, BooksInvalid, BookValid, Heard, Notice
from rlflow.kalshi.pending import Command, Kind, Pending
from rlflow.kalshi.refusals import Demand, demand_of, kills_subscription, markets_at_fault
from rlflow.kalshi.subscription import Phase, Subscription
from rlflow.kalshi.wanted import ASK_AGAIN_S, Pace, Wanted

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
        self,
        tickers: Iterable[str],
        channels: Sequence[str] = (ORDERBOOK, TRADE),
        *,
        hears_lifecycle: bool = False,
        use_yes_price: bool = False,
    ) -> None:
        self._hears_lifecycle = hears_lifecycle
        self._wanted = Wanted(self._checked(tickers))
        self._pace = Pace()
        self._subscriptions = {channel: Subscription(channel) for channel in channels}
        if hears_lifecycle:
            self._subscriptions[LIFECYCLE] = Subscription(LIFECYCLE, has_markets=False)
        self._pending = Pending(use_yes_price)
        self._repair = BookRepair()
        self._too_many: int | None = None
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
                self._go_on_adding(now)
        return self._take_out()

    def tick(self, now: float) -> list[bytes]:
        """Do what time demands; nothing before `next_deadline`."""
        for command in self._pending.take_overdue(now):
            # A snapshot that does not come has its own wait.
            if command.kind is not Kind.GET_SNAPSHOT:
                self._try_again(command, now)
        for command in self._pending.take_postponed(now):
            self._send(command, now)
        if self._wanted.forgive(now):
            self._adjust_all(now)
        self._subscribe_due(now)
        self._go_on_adding(now)
        self._repair_overdue(now)
        return self._take_out()

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do; None: not before something else happens."""
        resumptions = [each.not_before for each in self._subscriptions.values() if self._is_wanting(each)]
        parts = (self._pending, self._repair, self._wanted, self._pace)
        deadlines = [*resumptions, *(part.next_deadline() for part in parts)]
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
        """Follow these markets from now on instead of the present ones; what stays is not disturbed.

        Where there are more than can be added at once, or at all, those that come first are added first.
        """
        self._wanted.follow(self._checked(tickers))
        self._too_many = None
        for subscription in self._subscriptions.values():
            subscription.room = None
        self._adjust_all(now)
        self._subscribe_due(now)
        return self._take_out()

    @property
    def too_many(self) -> int | None:
        """How many markets the venue would not let one subscription hold; None: it has not said so since `follow`."""
        return self._too_many

    @property
    def missing(self) -> frozenset[str]:
        """Markets that the venue refused, or of which it sends no snapshot though it does of others."""
        return self._repair.missing | self._wanted.refused

    @property
    def sids(self) -> dict[str, int]:
        """The live subscription of each channel that has one."""
        every = self._subscriptions.values()
        return {each.channel: each.sid for each in every if each.is_live and each.sid is not None}

    def _checked(self, tickers: Iterable[str]) -> dict[str, None]:
        """Return the markets in order; ValueError if there are none, though there is nothing else to do."""
        markets = dict.fromkeys(tickers)
        if not markets and not self._hears_lifecycle:
            raise ValueError("a commander needs at least one market to follow")
        return markets

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def _subscribe(self, subscriptions: Sequence[Subscription], now: float) -> None:
        """Subscribe to several channels by one command, so that none gets ahead of the others."""
        for subscription in subscriptions:
            subscription.begin(self._wanted.first_of(*subscriptions) if subscription.has_markets else frozenset())
        each = [Command(Kind.SUBSCRIBE, one.channel, tickers=tuple(sorted(one.held))) for one in subscriptions]
        self._out.append(self._pending.send(now, *each))

    def _is_wanting(self, subscription: Subscription) -> bool:
        """Return whether a subscription is to be made, if its time has come."""
        if subscription.phase is not Phase.IDLE:
            return False
        return not subscription.has_markets or any(True for _ in self._wanted.of(subscription))

    def _subscribe_due(self, now: float) -> None:
        if self._wanted.is_refused_whole and not self._hears_lifecycle:
            raise FeedLostError(f"the venue refused every market: {', '.join(sorted(self._wanted.refused)[:5])}")
        every = self._subscriptions.values()
        due = [each for each in every if self._is_wanting(each) and each.not_before <= now]
        with_markets = [each for each in due if each.has_markets]
        without = [each for each in due if not each.has_markets]
        for together in (with_markets, without):
            if together:
                self._subscribe(together, now)

    def _go_live(self, subscription: Subscription, sid: int, now: float) -> None:
        subscription.go_live(sid, now)
        if subscription.channel == ORDERBOOK:
            self._repair.subscribed(sid, subscription.held, now)
            self._pace.begin(now)
        self._adjust(subscription, now)

    def _adjust_all(self, now: float) -> None:
        for subscription in self._subscriptions.values():
            if subscription.is_live:
                self._adjust(subscription, now)

    def _adjust(self, subscription: Subscription, now: float) -> None:
        """Make a live subscription hold what is wanted, or a part of that for now."""
        if not subscription.has_markets:
            return
        has_books = subscription.channel == ORDERBOOK
        wanted = dict.fromkeys(self._wanted.of(subscription))
        removed = subscription.held - wanted.keys()
        if has_books:
            self._repair.forget(removed)
        if not wanted:
            # On some channels the venue takes no market for all of them.
            self._leave(subscription, now)
            return
        lacking = [ticker for ticker in wanted if ticker not in subscription.held]
        added = self._pace.take(lacking, self._repair.expected, now) if has_books else frozenset(lacking)
        subscription.held = subscription.held - removed | added
        for kind, tickers in ((Kind.ADD, added), (Kind.DELETE, removed)):
            if tickers:
                self._send(Command(kind, subscription.channel, subscription.sid, tuple(sorted(tickers))), now)
        if has_books:
            self._repair.expect(added, now)

    def _go_on_adding(self, now: float) -> None:
        """Add the next books, if the last have come or have had their time."""
        if self._pace.is_due(self._repair.expected, now):
            self._pace.is_waiting = False
            books = self._subscriptions[ORDERBOOK]
            if books.is_live:
                self._adjust(books, now)

    def _restart(self, subscription: Subscription, cause: str, now: float, *, is_dead: bool) -> None:
        """Make a subscription anew; a dead one need not be left first."""
        subscription.restart(cause, now)
        self._pending.forget(subscription.channel)
        if subscription.channel == ORDERBOOK:
            self._repair.unsubscribed()
        if is_dead:
            self._end(subscription, now)
        else:
            self._leave(subscription, now)

    def _leave(self, subscription: Subscription, now: float) -> None:
        if subscription.channel == ORDERBOOK:
            self._repair.unsubscribed()
            self._pace.is_waiting = False
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
            case Demand.TAKE_FEWER:
                self._take_fewer(subscription, command, now)
            case Demand.RECONNECT if not subscription.has_markets:
                # Books are worth more than news of markets' lives.
                subscription.put_off(now + ASK_AGAIN_S)
            case Demand.RECONNECT:
                raise FeedLostError(f"the venue refused {command}: error {message.msg.code} {_shown(message.msg.msg)}")
            case Demand.NOTHING:
                pass

    def _take_fewer(self, subscription: Subscription, command: Command, now: float) -> None:
        """Go on with what a subscription holds, or try with half of it where it holds nothing yet."""
        attempted = len(subscription.held)
        self._too_many = attempted if self._too_many is None else min(attempted, self._too_many)
        if command.kind is Kind.SUBSCRIBE:
            if attempted == 1:
                raise FeedLostError("the venue lets a subscription hold no market at all")
            subscription.room = attempted // 2
            self._subscribe([subscription], now)
            return
        subscription.held -= frozenset(command.tickers)
        subscription.room = max(len(subscription.held), 1)
        if subscription.channel == ORDERBOOK:
            self._repair.forget(command.tickers)
            self._pace.is_waiting = False

    def _do_without(self, named: frozenset[str], command: Command, now: float) -> None:
        """Carry out a command without the markets that the venue objects to."""
        rest = tuple(ticker for ticker in command.tickers if ticker not in named)
        subscription = self._subscriptions[command.channel]
        if command.kind is Kind.GET_SNAPSHOT:
            self._repair.give_up(named, now)
        elif command.kind is not Kind.DELETE:
            self._wanted.refuse(named, now)
            self._repair.forget(named)
            subscription.held -= named
        if command.kind is Kind.SUBSCRIBE:
            subscription.end()
            self._subscribe_due(now)
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


def _shown(text: str) -> str:
    """Return foreign text in a form that may stand in a message."""
    return ascii(text)[1:-1][:100]
