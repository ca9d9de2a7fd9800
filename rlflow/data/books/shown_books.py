"""Which capture's book of a market readers see: one where it is valid, and of those the oldest that keeps up.

Several captures may keep a market's book at once, because it comes over two connections, or because it moves from one
to another. Readers are told when what they see changes, a switch of capture included, and of nothing else.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from uuid import UUID

import attrs

from rlflow.data.books.book_listeners import BookSubscription
from rlflow.data.books.overtaking import Overtaking
from rlflow.data.store.removals import NOT_SUBSCRIBED
from rlflow.orderbook import BookView
from rlflow.session.session import Session

NOT_FOLLOWED: Final = "not followed any more"


class ShownBooks:
    """The readers' view of the books of all open captures.

    Args:
        sessions: those of the open captures, the oldest first; changed by their owner only.
        clock_ns: the time, never going back.
    """

    def __init__(self, sessions: Mapping[UUID, Session], clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._sessions = sessions
        self._clock_ns = clock_ns
        self._overtaking = Overtaking()
        self._keepers: dict[str, tuple[Session, ...]] = {}
        self._shown: dict[str, Session] = {}
        self._last_views: dict[str, BookView] = {}
        self._subscriptions: list[BookSubscription] = []
        self._valid: set[str] = set()
        self._wanted: frozenset[str] | None = None
        """The markets that are followed; None: nobody has said yet."""
        self.lapses = 0
        """How often a market's book was valid in one capture at least, and then in none."""

    # -- for readers ------------------------------------------------------------------------------------------------

    @property
    def valid(self) -> int:
        """How many markets have a book that can be trusted."""
        return len(self._valid)

    def is_valid(self, ticker: str) -> bool:
        """Return whether the market's book can be trusted now. O(1)."""
        return ticker in self._valid

    def tickers(self) -> tuple[str, ...]:
        """Return every market that has a book, or had one and is retained, in order of appearance."""
        return tuple(self._last_views | dict.fromkeys(self._shown))

    def view(self, ticker: str) -> BookView | None:
        """Return the market's book as it is now, valid or not; None if there is none."""
        session = self._shown.get(ticker)
        if session is None:
            return self._last_views.get(ticker)
        view = session.view(ticker)
        # The venue may have ended it already, and the word of that be on its way, or lost.
        return attrs.evolve(view, is_valid=False, cause=NOT_FOLLOWED) if self._is_left(ticker) else view

    def settled_view(self, ticker: str) -> BookView | None:
        """Return the market's book, None while it is crossed within a group of changes that is not complete."""
        session = self._shown.get(ticker)
        if session is not None and not session.books[ticker].is_settled:
            return None
        return self.view(ticker)

    def unsettled(self) -> int:
        """Return how many markets are held back from readers at this moment. O(markets)."""
        return sum(not session.books[ticker].is_settled for ticker, session in self._shown.items())

    def subscribe(self) -> BookSubscription:
        """Return a new subscription to all books."""
        subscription = BookSubscription(self.settled_view)
        self._subscriptions.append(subscription)
        return subscription

    def retain(self, tickers: Iterable[str]) -> None:
        """Trust the books of these markets alone, and forget the last views of all others, which would pile up."""
        before, self._wanted = self._wanted, frozenset(tickers)
        gone = self._last_views.keys() - self._wanted
        for ticker in gone:
            del self._last_views[ticker]
        for subscription in self._subscriptions:
            subscription.forget(gone - self._shown.keys())
        turned = self._shown.keys() - self._wanted if before is None else self._shown.keys() & (before ^ self._wanted)
        for ticker in turned:
            self._choose(ticker, self._shown[ticker])
        self._notify(set(turned))

    # -- for the owner of the sessions ------------------------------------------------------------------------------

    def publish(self, session: Session, changed: Iterable[str]) -> None:
        """Take note that these books of a session changed, became valid or invalid, came or went."""
        visible = set()
        books, shown, valid, contested = session.books, self._shown, self._valid, self._overtaking.contested
        for ticker in changed:
            book = books.get(ticker)
            is_shown = book is not None and book.is_valid and shown.get(ticker) is session
            if is_shown and ticker in valid and ticker not in contested:
                # Nearly every change is one of the book that is shown, and leaves it as good as it was.
                visible.add(ticker)
                continue
            if (book is not None) != (session in self._keepers.get(ticker, ())):
                self._recount(ticker)
            if self._choose(ticker, session):
                visible.add(ticker)
        self._notify(visible)
        if self._overtaking.is_waiting:
            self.overtake()

    def overtake(self) -> None:
        """Turn to the younger books of markets whose oldest has fallen behind by now."""
        while (ticker := self._overtaking.next_due(self._clock_ns())) is not None:
            if self._choose(ticker, self._shown[ticker]):
                self._notify({ticker})

    def retire(self, session: Session) -> None:
        """Take note that a session's capture has ended; it must be out of the sessions already."""
        visible = set()
        for ticker in session.books:
            self._recount(ticker)
            if self._choose(ticker, session):
                visible.add(ticker)
        self._notify(visible)

    def _is_left(self, ticker: str) -> bool:
        return self._wanted is not None and ticker not in self._wanted

    def _notify(self, tickers: set[str]) -> None:
        if tickers:
            for subscription in self._subscriptions:
                subscription.notify(tickers)

    def _recount(self, ticker: str) -> None:
        """Find out which captures keep a market's book, the oldest first."""
        keepers = tuple(session for session in self._sessions.values() if ticker in session.books)
        if keepers:
            self._keepers[ticker] = keepers
        else:
            self._keepers.pop(ticker, None)

    def _choose(self, ticker: str, changed: Session) -> bool:
        """Choose whose book of a market is shown; return whether a change of this session's book can be seen."""
        before, keepers = self._shown.get(ticker), self._keepers.get(ticker, ())
        chosen = self._best(ticker, [session for session in keepers if session.books[ticker].is_valid])
        shown = chosen or (keepers[0] if keepers else None)
        if chosen is not None and not self._is_left(ticker):
            self._valid.add(ticker)
        elif ticker in self._valid:
            self._valid.discard(ticker)
            self.lapses += shown is not None and not self._is_left(ticker)
        if shown is not None:
            self._shown[ticker] = shown
        elif before is not None:
            del self._shown[ticker]
            self._last_views[ticker] = _last_view(changed, ticker)
        return shown is changed or before is not shown

    def _best(self, ticker: str, valid: list[Session]) -> Session | None:
        """Return the oldest of the sessions whose book is valid, unless it has fallen behind; then the foremost."""
        if not valid:
            self._overtaking.forget(ticker)
            return None
        clocks = [session.books[ticker].last_clock or 0 for session in valid]
        oldest, foremost = clocks[0], max(clocks)
        if foremost == oldest:
            self._overtaking.forget(ticker)
        elif self._overtaking.is_overtaken(ticker, oldest, foremost, self._clock_ns()):
            return valid[clocks.index(foremost)]
        return valid[0]


def _last_view(session: Session, ticker: str) -> BookView:
    """Return what is left of a book that nobody keeps any more: invalid, with levels only if its connection ended."""
    if ticker in session.books:
        return session.view(ticker)
    return BookView(
        market_ticker=ticker,
        capture=session.capture,
        frame_no=session.upto_frame,
        sequence_number=None,
        received_ns=session.resume_state().last_received_ns,
        timestamp_ms=None,
        is_valid=False,
        cause=NOT_SUBSCRIBED,
        yes_bids=(),
        no_bids=(),
    )
