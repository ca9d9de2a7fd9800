"""Which markets a capture has, which subscription brings their data, and whether their books are trusted."""

from collections.abc import Iterable

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.notices import BooksInvalid
from rlflow.session.recorder import Place, Recorder
from rlflow.session.rows import InvalidState, RemovedState
from rlflow.session.sequence import ORDERBOOK, STORED, TRADE, Subscription
from rlflow.session.tracked import TrackedBook

NO_SNAPSHOT = "no snapshot yet"
UNANNOUNCED = "a delta before its snapshot"
CAME_BACK = "was not subscribed"
TAKEN_OVER = "another subscription took over"

# Removed markets hardly ever come back. Of more than this many, the longest removed gets its gap row at once instead of
# when it comes back; that bounds the state which is stored with every commit.
MAX_REMOVED = 256


class Markets:
    """Every market that the venue has named in a capture. `Books` and `Session` change it, in step with the frames."""

    def __init__(self, record: Recorder) -> None:
        self.subscriptions: dict[int, Subscription] = {}
        """Every sid that was announced or brought data, dead ones included."""
        self.tracked: dict[str, TrackedBook] = {}
        self.invalid: dict[str, InvalidState] = {}
        """Why each book that is not valid is not."""
        self.crossed: dict[str, TrackedBook] = {}
        self.removed: dict[tuple[str, str | None], RemovedState] = {}
        """By channel and market; never a market that is tracked."""
        self.changed: set[str] = set()
        """Markets whose book, validity or presence has changed since someone took this set."""
        self._record = record

    # -- who brings what --------------------------------------------------------------------------------------------

    def follow(self, subscription: Subscription, ticker: str) -> TrackedBook:
        """Return a market's book, not valid and of this subscription if it is new."""
        tracked = self.tracked.get(ticker)
        if tracked is None:
            tracked = TrackedBook(ticker, subscription.sid, NO_SNAPSHOT)
            self.tracked[ticker] = tracked
            self.invalid[ticker] = InvalidState(ticker, NO_SNAPSHOT)
            self.changed.add(ticker)
            subscription.add(tracked)
            self.end_removal(ORDERBOOK, ticker, subscription.sid)
        return tracked

    def move(self, tracked: TrackedBook, subscription: Subscription) -> None:
        """Let a subscription bring a market's data from now on."""
        if tracked.sid != subscription.sid:
            if tracked.sid is not None:
                self.subscriptions[tracked.sid].discard(tracked.market_ticker)
            tracked.sid = subscription.sid
            subscription.add(tracked)

    def take_over(self, tracked: TrackedBook, subscription: Subscription) -> None:
        """Let a subscription bring a market's data from its snapshot on.

        A connection has one subscription of a channel: where another one brought a valid book, that has ended, and it
        is not known when.
        """
        if tracked.is_valid and tracked.sid is not None and tracked.sid != subscription.sid:
            since = self.subscriptions[tracked.sid].last_heard or self._record.previous
            self._record.gap(ORDERBOOK, tracked.market_ticker, tracked.sid, TAKEN_OVER, since=since)
        self.move(tracked, subscription)

    def _is_orphan(self, tracked: TrackedBook) -> bool:
        """Return whether nobody brings a market's data any more."""
        return tracked.sid is None or self.subscriptions[tracked.sid].is_dead

    def adopt(self, subscription: Subscription, ticker: str) -> TrackedBook | None:
        """Return the book for a delta of a market that was not the subscription's; None if a living other brings it."""
        if subscription.channel != ORDERBOOK:
            raise FrameRejectedError(f"a delta on channel {subscription.channel}")
        tracked = self.tracked.get(ticker)
        if tracked is None:
            tracked = self.follow(subscription, ticker)
            self.distrust(tracked, UNANNOUNCED)
        elif not self._is_orphan(tracked):
            return None
        self.move(tracked, subscription)
        return tracked

    def hold_exactly(self, subscription: Subscription, tickers: Iterable[str]) -> None:
        """Make these the markets of a subscription: others are forgotten, new ones wait for their snapshot."""
        wanted = dict.fromkeys(tickers)
        for ticker in [held for held in subscription.books if held not in wanted]:
            self._forget(subscription, ticker)
        for ticker in wanted:
            tracked = self.follow(subscription, ticker)
            if self._is_orphan(tracked):
                self.move(tracked, subscription)

    def _forget(self, subscription: Subscription, ticker: str) -> None:
        """Drop a market on the venue's word, without a gap unless it comes back."""
        subscription.discard(ticker)
        tracked = self.tracked.pop(ticker)
        self.invalid.pop(ticker, None)
        self.crossed.pop(ticker, None)
        self.changed.add(ticker)
        # A book that is not valid has its gap already, and the gap lasts until its next snapshot.
        if tracked.is_valid:
            self.begin_removal(ORDERBOOK, ticker)

    def begin_removal(self, channel: str, ticker: str | None) -> None:
        """Remember since when a market (None: a channel without books) is missing, should it come back."""
        record = self._record
        self.removed[channel, ticker] = RemovedState(channel, ticker, record.frame_no, record.received_ns)
        if len(self.removed) > MAX_REMOVED:
            self.end_removal(*next(iter(self.removed)), None)

    def end_removal(self, channel: str, ticker: str | None, sid: int | None) -> None:
        """Write the gap of what was removed and is back, on `sid`; nothing if it never was removed."""
        removed = self.removed.pop((channel, ticker), None)
        if removed is not None:
            # A book is missing until its snapshot; other channels go on at once.
            is_over = ticker is None or sid is None
            since = Place(removed.frame_no, removed.received_ns)
            self._record.gap(channel, ticker, sid, CAME_BACK, since=since, is_over=is_over)

    # -- going on ---------------------------------------------------------------------------------------------------

    def end_gaps(self, ticker: str) -> None:
        """Write that a market goes on with the snapshot at hand: its book, and its trades if any are subscribed."""
        self._record.gap_end(ORDERBOOK, ticker)
        if any(
            subscription.channel == TRADE and not subscription.is_dead for subscription in self.subscriptions.values()
        ):
            self._record.gap_end(TRADE, ticker)

    def end_trade_gaps(self) -> None:
        """Write that trades go on: of every market that is there, and of what was lost without a name."""
        self._record.gap_end(TRADE, None)
        for ticker in sorted(self.tracked):
            if not self._is_orphan(self.tracked[ticker]):
                self._record.gap_end(TRADE, ticker)

    # -- losing trust -----------------------------------------------------------------------------------------------

    def distrust(self, tracked: TrackedBook, cause: str, since: Place | None = None) -> None:
        """Stop trusting one book until its next snapshot."""
        ticker, record = tracked.market_ticker, self._record
        record.gap(ORDERBOOK, ticker, tracked.sid, cause, since=since or record.previous)
        self.invalidate(tracked, cause)
        record.notices.append(BooksInvalid(tracked.sid, (ticker,), cause))

    def distrust_stale(self, tickers: Iterable[str], cause: str) -> None:
        """Stop trusting books for a reason that no frame shows; markets that nothing was heard of are named so.

        When a book ceased to be the venue's is not known either: what is certain is the last that was heard of it.
        """
        named = tuple(dict.fromkeys(tickers))
        for ticker in named:
            since = self._record.previous
            tracked = self.tracked.get(ticker)
            if tracked is None:
                tracked = self.tracked[ticker] = TrackedBook(ticker, None, cause)
                self.end_removal(ORDERBOOK, ticker, None)
            elif tracked.is_valid:
                since = Place(tracked.last_frame_no, tracked.last_received_ns)
            self._record.gap(ORDERBOOK, ticker, tracked.sid, cause, since=since)
            self.invalidate(tracked, cause)
        self._record.notices.append(BooksInvalid(None, named, cause))

    def lose(
        self,
        subscription: Subscription,
        cause: str,
        *,
        since: Place | None = None,
        is_over: bool = True,
        expected_seq: int | None = None,
        received_seq: int | None = None,
    ) -> None:
        """Write that something of a subscription is missing, and stop trusting its books.

        Of a channel that is not stored no row says so, but whoever listens to it is told. Trades that go on do so for
        all markets at once, and one row says it; those that do not go on for each market by itself, perhaps on another
        connection than the next one.

        Args:
            subscription: The one that lost something.
            cause: For people, and for the commander.
            since: The last good frame; by default the one before the frame at hand.
            is_over: Whether data goes on at the frame at hand; books wait for their snapshots in any case.
            expected_seq: The `seq` that should have come.
            received_seq: The `seq` that came.
        """
        record = self._record
        if subscription.channel not in STORED:
            record.notices.append(BooksInvalid(subscription.sid, (), cause))
            return
        has_books = subscription.channel == ORDERBOOK
        # A session that was resumed has its markets in another order.
        markets = (None,) if is_over else sorted(self.tracked) or (None,)
        for ticker in subscription.books if has_books else markets:
            record.gap(
                subscription.channel,
                ticker,
                subscription.sid,
                cause,
                since=since or record.previous,
                is_over=is_over and not has_books,
                expected_seq=expected_seq,
                received_seq=received_seq,
            )
        for tracked in subscription.books.values():
            self.invalidate(tracked, cause)
        record.notices.append(BooksInvalid(subscription.sid, tuple(subscription.books), cause))

    def invalidate(self, tracked: TrackedBook, cause: str) -> None:
        """Mark a book as not valid; the gap row is the caller's."""
        ticker = tracked.market_ticker
        tracked.invalidate(cause)
        self.invalid[ticker] = InvalidState(ticker, cause)
        self.crossed.pop(ticker, None)
        self.changed.add(ticker)
