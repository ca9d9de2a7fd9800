"""The subscriptions of one connection: made, extended, made anew and left, so that they hold what is wanted."""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Final

from rlflow.errors import FeedLostError
from rlflow.kalshi.book_repair import BookRepair
from rlflow.kalshi.lifecycle import LIFECYCLE
from rlflow.kalshi.pending import Command, Kind, Pending
from rlflow.kalshi.refused import ASK_AGAIN_S, Refused
from rlflow.kalshi.subscription import Phase, Subscription
from rlflow.kalshi.wanted import Pace, Wanted

ORDERBOOK: Final = "orderbook_delta"
TRADE: Final = "trade"


class Holdings:
    """What one connection has subscribed, and the commands that change it. For the `Commander` alone."""

    def __init__(
        self, tickers: Iterable[str], channels: Sequence[str], *, hears_lifecycle: bool, use_yes_price: bool
    ) -> None:
        self.hears_lifecycle = hears_lifecycle
        self.wanted = Wanted(self.checked(tickers))
        self.pace = Pace()
        self.subscriptions = {channel: Subscription(channel) for channel in channels}
        if hears_lifecycle:
            self.subscriptions[LIFECYCLE] = Subscription(LIFECYCLE, has_markets=False)
        self.pending = Pending(use_yes_price)
        self.repair = BookRepair()
        self.too_many: int | None = None
        """How many markets the venue would not let one subscription hold."""
        self.doubtful: set[str] = set()
        """Markets that were added again before the venue said that they were removed, until their snapshot comes."""
        self._out: list[bytes] = []

    def checked(self, tickers: Iterable[str]) -> dict[str, None]:
        """Return the markets in order; ValueError if there are none, though there is nothing else to do."""
        markets = dict.fromkeys(tickers)
        if not markets and not self.hears_lifecycle:
            raise ValueError("a commander needs at least one market to follow")
        return markets

    def _subscribe(self, subscriptions: Sequence[Subscription], now: float) -> None:
        """Subscribe to several channels by one command, so that none gets ahead of the others."""
        for subscription in subscriptions:
            subscription.begin(self.wanted.first_of(*subscriptions) if subscription.has_markets else frozenset())
        each = [Command(Kind.SUBSCRIBE, one.channel, tickers=tuple(sorted(one.held))) for one in subscriptions]
        self._out.append(self.pending.send(now, *each))

    def _is_wanting(self, subscription: Subscription) -> bool:
        """Return whether a subscription is to be made, if its time has come."""
        if subscription.phase is not Phase.IDLE:
            return False
        return not subscription.has_markets or any(True for _ in self.wanted.of(subscription))

    def next_deadline(self) -> float | None:
        """Return when there is something to do again; None: not before something else happens."""
        resumptions = [each.not_before for each in self.subscriptions.values() if self._is_wanting(each)]
        parts = [self.pending.next_deadline(), self.repair.next_deadline(), self.pace.next_deadline()]
        deadlines = [*resumptions, *parts, *(each.next_deadline() for each in self._refused())]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def subscribe_due(self, now: float) -> None:
        """Subscribe what is not subscribed and may be; FeedLostError if there is nothing that the venue grants."""
        if self.wanted.is_refused_whole and not self.hears_lifecycle:
            raise FeedLostError(f"the venue refused every market: {', '.join(sorted(self.wanted.refused.tickers)[:5])}")
        every = self.subscriptions.values()
        due = [each for each in every if self._is_wanting(each) and each.not_before <= now]
        with_markets = [each for each in due if each.has_markets]
        without = [each for each in due if not each.has_markets]
        for together in (with_markets, without):
            if together:
                self._subscribe(together, now)

    def go_live(self, subscription: Subscription, sid: int, now: float) -> None:
        """Go on with a subscription that the venue has granted."""
        subscription.go_live(sid, now)
        if subscription.channel == ORDERBOOK:
            self.repair.subscribed(sid, subscription.held, now)
            self.pace.begin(now)
        self._adjust(subscription, now)

    def adjust_all(self, now: float) -> None:
        """Make every live subscription hold what is wanted."""
        for subscription in self.subscriptions.values():
            if subscription.is_live:
                self._adjust(subscription, now)

    def forgive(self, tickers: Set[str], now: float) -> None:
        """Ask again for those of these markets that the venue has refused."""
        forgiven = [each.forgive(tickers) for each in self._refused()]
        if any(forgiven):
            self.adjust_all(now)
            self.subscribe_due(now)

    def forgive_due(self, now: float) -> None:
        """Ask again for whatever the venue has refused for long enough."""
        forgiven = [each.forgive_due(now) for each in self._refused()]
        if any(forgiven):
            self.adjust_all(now)

    def _refused(self) -> list[Refused]:
        return [self.wanted.refused, *(each.withheld for each in self.subscriptions.values())]

    def _adjust(self, subscription: Subscription, now: float) -> None:
        """Make a live subscription hold what is wanted, or a part of that for now."""
        if not subscription.has_markets:
            return
        has_books = subscription.channel == ORDERBOOK
        wanted = dict.fromkeys(self.wanted.of(subscription))
        removed = subscription.held - wanted.keys()
        if has_books:
            self.repair.forget(removed)
            self.doubtful -= removed
        if not wanted:
            # On some channels the venue takes no market for all of them (protocol 3.2).
            self.leave(subscription, now)
            return
        lacking = [ticker for ticker in wanted if ticker not in subscription.held]
        added = self.pace.take(lacking, self.repair.expected, now) if has_books else frozenset(lacking)
        subscription.held = subscription.held - removed | added
        if has_books:
            self.doubtful |= added & self.pending.removals(subscription.channel)
        # What leaves makes room for what comes; but to be empty between the two may mean to hold all markets.
        changes = [(Kind.DELETE, removed), (Kind.ADD, added)]
        for kind, tickers in changes if subscription.held - added else reversed(changes):
            if tickers:
                self.send(Command(kind, subscription.channel, subscription.sid, tuple(sorted(tickers))), now)
        if has_books:
            self.repair.expect(added, now)

    def go_on_adding(self, now: float) -> None:
        """Add the next books, if the last have come or have had their time."""
        if self.pace.is_due(self.repair.expected, now):
            self.pace.is_waiting = False
            books = self.subscriptions[ORDERBOOK]
            if books.is_live:
                self._adjust(books, now)

    def compare(self, sid: int | None, listed: frozenset[str], answered: Iterable[Command], now: float) -> None:
        """Correct a subscription of which the venue says that it does not hold what it should.

        A command may be carried out late, behind the one that was to undo it. Nothing is done before the venue's last
        word: while another change is on its way.
        """
        subscription = self.holder(sid)
        if subscription is None or not subscription.is_live or not subscription.has_markets:
            return
        if subscription.held == listed or self.pending.is_changing(subscription.channel):
            return
        held, lacking = subscription.held, subscription.held - listed
        removed = {ticker for command in answered if command.kind is Kind.DELETE for ticker in command.tickers}
        added = {ticker for command in answered if command.kind is not Kind.DELETE for ticker in command.tickers}
        # What the very command did not bring about is not asked for again at once, lest it go on for ever.
        subscription.held = listed - (removed - held)
        if subscription.channel == ORDERBOOK:
            self.wanted.refuse(lacking & added, now)
            self.repair.forget(lacking)
            self.repair.expect(subscription.held - held, now)
        else:
            # A market has its book, though its trades do not come.
            subscription.withheld.refuse(lacking & added, now)
        self._adjust(subscription, now)

    def restart(self, subscription: Subscription, cause: str, now: float, *, is_dead: bool) -> None:
        """Make a subscription anew; a dead one need not be left first."""
        subscription.restart(cause, now)
        self.pending.forget(subscription.channel)
        if subscription.channel == ORDERBOOK:
            self.repair.unsubscribed()
        if is_dead:
            self.end(subscription, now)
        else:
            self.leave(subscription, now)

    def leave(self, subscription: Subscription, now: float) -> None:
        """Ask for the end of a subscription."""
        if subscription.channel == ORDERBOOK:
            self.repair.unsubscribed()
            self.pace.is_waiting = False
        subscription.leave()
        self.send(Command(Kind.UNSUBSCRIBE, subscription.channel, subscription.sid), now)

    def end(self, subscription: Subscription, now: float) -> None:
        """Note the end of a subscription, and make it anew if it is wanted and may be."""
        subscription.end()
        self.subscribe_due(now)

    def holder(self, sid: int | None) -> Subscription | None:
        """Return the subscription that has this sid, or had it until its end was asked for."""
        every = self.subscriptions.values()
        return next((each for each in every if sid is not None and each.sid == sid), None)

    def take_fewer(self, subscription: Subscription, command: Command, now: float) -> None:
        """Go on with what a subscription holds, or try with half of it where it holds nothing yet."""
        if command.kind is Kind.ADD and self.pending.removals(command.channel):
            # Others may have to leave first.
            self.postpone(command, now)
            return
        attempted = len(subscription.held)
        self.too_many = attempted if self.too_many is None else min(attempted, self.too_many)
        if command.kind is Kind.SUBSCRIBE:
            if attempted == 1:
                raise FeedLostError("the venue lets a subscription hold no market at all")
            subscription.room = attempted // 2
            self._subscribe([subscription], now)
            return
        subscription.held -= frozenset(command.tickers)
        subscription.room = max(len(subscription.held), 1)
        if subscription.channel == ORDERBOOK:
            self.repair.forget(command.tickers)
            self.pace.is_waiting = False

    def do_without(self, named: frozenset[str], command: Command, now: float) -> None:
        """Carry out a command without the markets that the venue objects to."""
        subscription = self.subscriptions[command.channel]
        if command.kind is Kind.GET_SNAPSHOT:
            # One that was left meanwhile is not missed.
            self.repair.give_up(named & subscription.held, now)
        elif command.kind is not Kind.DELETE:
            self.wanted.refuse(named, now)
            self.repair.forget(named)
            subscription.held -= named
        if command.kind is Kind.SUBSCRIBE:
            subscription.end()
            self.subscribe_due(now)
        else:
            self.send_due(command.without(named), now)

    def ask_next(self, now: float) -> None:
        """Ask for the next snapshots, if the last have come, or have had their time."""
        tickers = self.repair.take_next(now)
        if tickers:
            books = self.subscriptions[ORDERBOOK]
            self.send(Command(Kind.GET_SNAPSHOT, books.channel, books.sid, tuple(tickers)), now)

    def send(self, command: Command, now: float) -> None:
        """Send a command."""
        self._out.append(self.pending.send(now, command))

    def has_purpose(self, command: Command) -> bool:
        """Return whether its answer still matters: a later one may have settled the matter."""
        return command.matters_to(self.subscriptions[command.channel])

    def send_due(self, command: Command, now: float) -> None:
        """Send what is still to be asked for of a command that had to wait."""
        due = self._due(command)
        if due is not None:
            self.send(due, now)

    def try_again(self, command: Command, now: float) -> None:
        """Send what is still to be asked for of a command once more."""
        due = self._due(command)
        if due is not None:
            with self._without_lifecycle(due, now):
                self._out.append(self.pending.send_again(due, now))

    def postpone(self, command: Command, now: float) -> None:
        """Send a command that came too fast once more, later."""
        with self._without_lifecycle(command, now):
            self.pending.postpone(command, now)

    @contextmanager
    def _without_lifecycle(self, command: Command, now: float) -> Iterator[None]:
        """Put the lifecycle channel off where another would cost the connection: books are worth more."""
        subscription = self.subscriptions[command.channel]
        try:
            yield
        except FeedLostError:
            if subscription.has_markets:
                raise
            subscription.put_off(now + ASK_AGAIN_S)

    def _due(self, command: Command) -> Command | None:
        """Return a command about those of its markets of which it is still true; None: it has no purpose any more.

        Since it was first sent, a market may have been left, or followed again.
        """
        if not self.has_purpose(command):
            return None
        held = self.subscriptions[command.channel].held
        match command.kind:
            case Kind.ADD | Kind.GET_SNAPSHOT:
                due = command.without(frozenset(command.tickers) - held)
            case Kind.DELETE:
                due = command.without(held)
            case _:
                return command
        return due if due.tickers else None

    def take_out(self) -> list[bytes]:
        """Return the frames to send, and forget them."""
        out, self._out = self._out, []
        return out
