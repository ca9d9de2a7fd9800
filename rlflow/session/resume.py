"""What another process needs to go on with a capture, and how it goes on."""

from rlflow.orderbook import Book
from rlflow.session.markets import Markets
from rlflow.session.rows import ResumeBook, ResumeState
from rlflow.session.sequence import Subscription
from rlflow.session.tracked import TrackedBook
from rlflow.units import Nanos

UNRESUMED = "resumed without the book"


def state_of(markets: Markets, last_received_ns: Nanos) -> ResumeState:
    """Return all that going on needs besides the valid books; O(subscriptions + markets that are not valid)."""
    return ResumeState(
        sids=tuple([subscription.state() for subscription in markets.subscriptions.values()]),
        crossed=tuple([tracked.crossing for tracked in markets.crossed.values() if tracked.crossing is not None]),
        invalid=tuple(markets.invalid.values()),
        last_received_ns=last_received_ns,
        removed=tuple(markets.removed.values()),
    )


def restore(state: ResumeState, books: tuple[ResumeBook, ...], markets: Markets) -> list[TrackedBook]:
    """Bring back subscriptions and markets as they were; return those whose book ought to be valid but is not there."""
    for sid_state in state.sids:
        subscription = markets.subscriptions[sid_state.sid] = Subscription.from_state(sid_state)
        for ticker in sid_state.tickers:
            tracked = markets.tracked[ticker] = TrackedBook(ticker, subscription.sid, UNRESUMED)
            subscription.add(tracked)
    for invalid in state.invalid:
        tracked = markets.tracked.setdefault(invalid.ticker, TrackedBook(invalid.ticker, None, invalid.cause))
        tracked.cause = invalid.cause
        markets.invalid[invalid.ticker] = invalid
    for book in books:
        # A store that also returns books of markets which are invalid or gone is not believed.
        if book.ticker in markets.tracked and book.ticker not in markets.invalid:
            _fill(markets.tracked[book.ticker], book)
    for crossing in state.crossed:
        tracked = markets.tracked[crossing.ticker]
        if tracked.is_valid:
            tracked.crossing = crossing
            markets.crossed[crossing.ticker] = tracked
    markets.removed = {(removed.channel, removed.ticker): removed for removed in state.removed}
    return [
        book for book in markets.tracked.values() if not book.is_valid and book.market_ticker not in markets.invalid
    ]


def _fill(tracked: TrackedBook, book: ResumeBook) -> None:
    tracked.stand_on(Book(book.yes_bids, book.no_bids), book.base_clock, book.snapshot_ns)
    tracked.deltas_since = book.deltas_since
    tracked.vouch(book.vouched_frame, book.vouched_ns)
    tracked.touch(book.last_frame_no, book.last_received_ns, book.last_seq, book.last_timestamp_ms, book.last_clock)
