"""One market's book together with whether, since when and why it may be trusted."""

from uuid import UUID

import attrs

from rlflow.orderbook import Book, BookView
from rlflow.session.rows import CrossedState
from rlflow.units import Nanos


@attrs.define(eq=False)
class TrackedBook:
    """A market of a capture. Owned by `Books`; everyone else only reads."""

    market_ticker: str
    sid: int | None
    """The subscription that brings its data; None after a stale record about a market that nothing was heard of."""
    cause: str | None
    """Why it is not valid, None if it is."""
    book: Book = attrs.Factory(Book)
    """The venue's book; while not valid, the last that was."""
    crossing: CrossedState | None = None
    """Set while the book is crossed and the venue's action that crossed it may not be complete."""
    base_clock: int | None = None
    """The clock of the venue's snapshot below: changes up to it are included. None after a checkpoint."""
    vouched_frame: int = 0
    """The venue's last snapshot of it, at which it was right for certain."""
    vouched_ns: Nanos = 0
    snapshot_ns: Nanos = 0
    deltas_since: int = 0
    """Deltas since the last stored snapshot."""
    last_frame_no: int = 0
    last_received_ns: Nanos = 0
    last_seq: int | None = None
    last_clock: int | None = None
    """The venue's clock of the last frame about it; None: it named none."""
    last_timestamp_ms: int | None = None
    last_trade_ns: Nanos = 0
    """When its last trade was received; block trades, which change no book, do not count."""

    @property
    def is_valid(self) -> bool:
        """Whether this is the venue's book for certain."""
        return self.cause is None

    @property
    def is_settled(self) -> bool:
        """Whether it may be shown: not crossed within an action of the venue that may not be complete."""
        return self.crossing is None

    def invalidate(self, cause: str) -> None:
        """Stop trusting the book; a cause that it already had is replaced by the newer."""
        self.cause = cause
        self.crossing = None

    def stand_on(self, book: Book, clock: int | None, received_ns: Nanos) -> None:
        """Become the book of a snapshot of the venue."""
        self.book = book
        self.cause = self.crossing = None
        self.anchor(clock, received_ns)

    def anchor(self, base_clock: int | None, received_ns: Nanos) -> None:
        """Note that the whole book was stored."""
        self.base_clock = base_clock
        self.snapshot_ns = received_ns
        self.deltas_since = 0

    def vouch(self, frame_no: int, received_ns: Nanos) -> None:
        """Note that the venue has sent the whole book."""
        self.vouched_frame = frame_no
        self.vouched_ns = received_ns

    def touch(
        self, frame_no: int, received_ns: Nanos, seq: int | None, timestamp_ms: int | None, clock: int | None
    ) -> None:
        """Note the last frame about this book."""
        self.last_clock = clock
        self.last_frame_no = frame_no
        self.last_received_ns = received_ns
        self.last_seq = seq
        self.last_timestamp_ms = timestamp_ms

    def view(self, capture: UUID) -> BookView:
        """Return the book as it is now; O(levels)."""
        return BookView(
            market_ticker=self.market_ticker,
            capture=capture,
            frame_no=self.last_frame_no,
            sequence_number=self.last_seq,
            received_ns=self.last_received_ns,
            timestamp_ms=self.last_timestamp_ms,
            is_valid=self.is_valid,
            cause=self.cause,
            yes_bids=self.book.bids("yes"),
            no_bids=self.book.bids("no"),
            is_settled=self.is_settled,
        )
