"""The client's part of the conversation with the venue: what to subscribe, and how to make invalid books valid again.

A `Commander` lives as long as one connection. It is told what `Session` noticed and what time it is, and returns the
text frames to send. Each channel has one subscription::

    IDLE ──subscribe──▶ SUBSCRIBING ──subscribed / ok──▶ LIVE ──unsubscribe──▶ LEAVING ──unsubscribed──▶ IDLE
      ▲                                                   │
      └──────────── errors 10, 25, 7: the sid is dead ────┘

An invalid book is repaired by the mildest means that can help: `get_snapshot`, once more, a new subscription, a new
connection (`FeedLostError`). A market whose snapshot never comes while those of others do is not worth a subscription:
it is `missing` and asked for every minute.

Markets are added by the hundred, the next hundred when the snapshots of the last have come, and asked for by the
hundred, the next when half of the last have: a thousand books are not to come at once. A subscription that cannot hold
as many as it should (error 26) keeps what it has and says so: `too_many`. The lifecycle channel takes no markets; a
commander that hears it may have none to follow.

Commands are sent one after the other where their order matters. The venue carries them out concurrently: in a recording
of 2026-07-01 the commands 3 to 6 of one connection were answered in the order 6, 5, 3, 4. So what it says to hold is
compared with what it should, once no change is on its way any more.
"""

from collections.abc import Iterable, Sequence

from rlflow.errors import FeedLostError
from rlflow.kalshi.holdings import ORDERBOOK, TRADE, Holdings
from rlflow.kalshi.messages import Error, Message, Ok, OrderbookSnapshot, Subscribed, Unsubscribed
from rlflow.kalshi.notices import OUT_OF_ORDER, BooksInvalid, BookValid, Heard, Notice
from rlflow.kalshi.pending import Command, Kind
from rlflow.kalshi.refusals import Demand, demand_of, kills_subscription, markets_at_fault
from rlflow.kalshi.refused import ASK_AGAIN_S
from rlflow.kalshi.subscription import Phase, Subscription


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
        self._holdings = Holdings(tickers, channels, hears_lifecycle=hears_lifecycle, use_yes_price=use_yes_price)

    # -- for the owner of the connection ----------------------------------------------------------------------------

    def connected(self, now: float) -> list[bytes]:
        """Return the command that opens the conversation."""
        self._holdings.subscribe_due(now)
        return self._holdings.take_out()

    def tell(self, notice: Notice, now: float) -> list[bytes]:
        """Take one notice about this connection's capture; notices come in the order of the frames."""
        match notice:
            case Heard():
                self._hear(notice.message, now)
            case BooksInvalid():
                self._lose(notice, now)
            case BookValid():
                self._holdings.repair.became_valid(notice.sid, notice.ticker, now)
                self._holdings.go_on_adding(now)
        self._holdings.ask_next(now)
        return self._holdings.take_out()

    def tick(self, now: float) -> list[bytes]:
        """Do what time demands; nothing before `next_deadline`."""
        for command in self._holdings.pending.take_overdue(now):
            # A snapshot that does not come has its own wait.
            if command.kind is not Kind.GET_SNAPSHOT:
                self._holdings.try_again(command, now)
        for command in self._holdings.pending.take_postponed(now):
            self._holdings.send_due(command, now)
        self._holdings.forgive_due(now)
        self._holdings.subscribe_due(now)
        self._holdings.go_on_adding(now)
        self._repair_overdue(now)
        return self._holdings.take_out()

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do; None: not before something else happens."""
        return self._holdings.next_deadline()

    def resnapshot(self, tickers: Iterable[str] | None, now: float) -> list[bytes]:
        """Ask for fresh snapshots of these markets, or of all; valid books stay valid meanwhile.

        Markets that are not followed (any more) are left out; one that the venue has refused is subscribed again. While
        nothing is subscribed nothing is asked for: the coming subscription brings snapshots.
        """
        named = None if tickers is None else frozenset(tickers)
        books = self._holdings.subscriptions.get(ORDERBOOK)
        if books is not None and books.is_live:
            asked = sorted(books.held if named is None else books.held & named)
            self._holdings.repair.ask(asked)
            self._holdings.ask_next(now)
        if named is not None:
            self._holdings.forgive(named, now)
        return self._holdings.take_out()

    def follow(self, tickers: Iterable[str], now: float) -> list[bytes]:
        """Follow these markets from now on instead of the present ones; what stays is not disturbed.

        Where there are more than can be added at once, or at all, those that come first are added first.
        """
        self._holdings.wanted.follow(self._holdings.checked(tickers))
        self._holdings.too_many = None
        for subscription in self._holdings.subscriptions.values():
            subscription.room = None
        self._holdings.adjust_all(now)
        self._holdings.subscribe_due(now)
        return self._holdings.take_out()

    def leave(self, now: float) -> list[bytes]:
        """Leave every market for good; `has_left` says when that is done."""
        self._holdings.wanted.follow(())
        self._holdings.adjust_all(now)
        return self._holdings.take_out()

    @property
    def has_left(self) -> bool:
        """Whether nothing is subscribed or being subscribed."""
        return all(each.phase is Phase.IDLE for each in self._holdings.subscriptions.values())

    @property
    def too_many(self) -> int | None:
        """How many markets the venue would not let one subscription hold; None: it has not said so since `follow`."""
        return self._holdings.too_many

    @property
    def missing(self) -> frozenset[str]:
        """Markets whose book cannot be known to be the venue's.

        The venue refused them, or sends no snapshot though it does of others, or they were removed and added again, and
        it has not said when.
        """
        return self._holdings.repair.missing | self._holdings.wanted.refused.tickers | self._holdings.doubtful

    @property
    def sids(self) -> dict[str, int]:
        """The live subscription of each channel that has one."""
        every = self._holdings.subscriptions.values()
        return {each.channel: each.sid for each in every if each.is_live and each.sid is not None}

    # -- answers ----------------------------------------------------------------------------------------------------

    def _hear(self, message: Message, now: float) -> None:
        match message:
            case Subscribed():
                self._holdings.pending.take_answered(message.id, message.msg.channel)
                subscription = self._holdings.subscriptions.get(message.msg.channel)
                if subscription is not None and subscription.phase is Phase.SUBSCRIBING:
                    self._holdings.go_live(subscription, message.msg.sid, now)
            case Ok():
                self._hear_ok(message, now)
            case Unsubscribed():
                self._hear_unsubscribed(message, now)
            case Error():
                self._hear_error(message, now)
            case OrderbookSnapshot():
                self._holdings.doubtful.discard(message.msg.market_ticker)
                self._holdings.repair.snapshot_came(message.sid, message.msg.market_ticker, now)
            case _:
                pass

    def _hear_ok(self, message: Ok, now: float) -> None:
        commands = self._holdings.pending.take_answered(message.id)
        for command in filter(self._holdings.has_purpose, commands):
            subscription = self._holdings.subscriptions[command.channel]
            if command.kind is Kind.SUBSCRIBE:
                # Where several channels were asked for, it does not say which one it is about.
                self._merged(subscription, message.sid if len(commands) == 1 else None, now)
            elif command.kind is Kind.LIST:
                self._hear_list(subscription, message, now)
            elif command.kind is Kind.UNSUBSCRIBE:
                self._holdings.end(subscription, now)
        listed = message.market_tickers()
        if listed is not None:
            self._holdings.compare(message.sid, frozenset(listed), commands, now)

    def _hear_list(self, subscription: Subscription, message: Ok, now: float) -> None:
        listed = {each.channel: each.sid for each in message.subscriptions() or ()}
        if subscription.channel in listed:
            self._merged(subscription, listed[subscription.channel], now)
        else:
            self._holdings.restart(subscription, "the venue did not list it", now, is_dead=True)

    def _merged(self, subscription: Subscription, sid: int | None, now: float) -> None:
        """Go on with a subscription that the connection had already."""
        if sid is None:
            self._holdings.send(Command(Kind.LIST, subscription.channel), now)
        elif sid == subscription.shunned_sid:
            subscription.sid = sid
            self._holdings.restart(subscription, f"the venue kept subscription {sid}", now, is_dead=False)
        else:
            self._holdings.go_live(subscription, sid, now)

    def _hear_unsubscribed(self, message: Unsubscribed, now: float) -> None:
        self._holdings.pending.take_answered(message.id)
        subscription = self._holdings.holder(message.sid)
        if subscription is None:
            return
        if subscription.is_live:
            self._holdings.restart(subscription, "the venue ended the subscription", now, is_dead=True)
        else:
            self._holdings.end(subscription, now)

    def _hear_error(self, message: Error, now: float) -> None:
        commands = self._holdings.pending.take_answered(message.id)
        holder = self._holdings.holder(message.sid)
        if holder is not None and kills_subscription(message.msg.code):
            self._holdings.restart(holder, f"error {message.msg.code}", now, is_dead=True)
            return
        for command in filter(self._holdings.has_purpose, commands):
            self._refused_command(command, message, now)

    def _refused_command(self, command: Command, message: Error, now: float) -> None:
        subscription = self._holdings.subscriptions[command.channel]
        match demand_of(message, command):
            case Demand.SUBSCRIBE_ANEW:
                self._holdings.restart(subscription, f"error {message.msg.code}", now, is_dead=True)
            case Demand.RETRY:
                self._holdings.try_again(command, now)
            case Demand.POSTPONE:
                self._holdings.postpone(command, now)
            case Demand.IT_HAS_ENDED:
                self._holdings.end(subscription, now)
            case Demand.IT_IS_HELD:
                self._merged(subscription, message.sid, now)
            case Demand.DO_WITHOUT:
                self._holdings.do_without(markets_at_fault(message, command), command, now)
            case Demand.TAKE_FEWER:
                self._holdings.take_fewer(subscription, command, now)
            case Demand.RECONNECT if not subscription.has_markets:
                # Books are worth more than news of markets' lives.
                subscription.put_off(now + ASK_AGAIN_S)
            case Demand.RECONNECT:
                raise FeedLostError(f"the venue refused {command}: error {message.msg.code} {_shown(message.msg.msg)}")
            case Demand.NOTHING:
                pass

    # -- books --------------------------------------------------------------------------------------------------------

    def _lose(self, notice: BooksInvalid, now: float) -> None:
        wanted = self._holdings.repair.became_invalid(notice.sid, notice.tickers)
        subscription = self._holdings.holder(notice.sid)
        if notice.cause == OUT_OF_ORDER and subscription is not None and subscription.is_live:
            self._holdings.restart(subscription, notice.cause, now, is_dead=False)
            return
        books = self._holdings.subscriptions.get(ORDERBOOK)
        if books is not None and books.is_live:
            self._holdings.repair.ask(ticker for ticker in wanted if ticker in books.held)

    def _repair_overdue(self, now: float) -> None:
        """Do the next best thing for the books whose snapshot did not come."""
        books = self._holdings.subscriptions.get(ORDERBOOK)
        if books is None or not books.is_live:
            return
        if not self._holdings.repair.take_due(now):
            self._holdings.restart(books, "snapshots did not come", now, is_dead=False)
        self._holdings.ask_next(now)


def _shown(text: str) -> str:
    """Return foreign text in a form that may stand in a message."""
    return ascii(text)[1:-1][:100]
