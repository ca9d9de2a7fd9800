"""Books and resume points out of rows alone, by the rule that the store follows.

The book at frame F is the latest snapshot row of the market up to F, plus every delta row behind it up to F; a delta
whose clock is not above that of a *venue's* snapshot below is in the snapshot already.
"""

from collections.abc import Iterable

import attrs

from rlflow.orderbook import Book
from rlflow.session.records import Batch, Opened
from rlflow.session.rows import DeltaRow, ResumeBook, ResumePoint, Rows, SnapshotRow
from rlflow.session.sequence import ORDERBOOK
from rlflow.session.session import Session
from tests.session_strategies import CAPTURE


def feed_all(session: Session, batches: Iterable[Batch]) -> Rows:
    """Return what all batches become, as one."""
    rows: Rows | None = None
    for batch in batches:
        made = session.feed(batch)
        if rows is None:
            rows = made
        else:
            rows.absorb(made)
    assert rows is not None
    return rows


@attrs.frozen
class Standing:
    """A snapshot row and the delta rows behind it."""

    snapshot: SnapshotRow
    deltas: tuple[DeltaRow, ...]

    @property
    def base_clock(self) -> int | None:
        return self.snapshot.clock if self.snapshot.origin == "venue" else None

    @property
    def book(self) -> Book:
        book = Book(self.snapshot.yes_bids, self.snapshot.no_bids)
        for row in self.deltas:
            if self.base_clock is None or row.clock is None or row.clock > self.base_clock:
                book.apply(row.side, row.price, row.delta)
        return book


def standing(rows: Rows, ticker: str, frame_no: int) -> Standing | None:
    """Return what the book of a market stands on at a frame; None where it is not valid by the rows."""
    snapshots = [row for row in rows.snapshots if row.market_ticker == ticker and row.frame_no <= frame_no]
    if not snapshots:
        return None
    snapshot = snapshots[-1]
    gaps = [row for row in rows.gaps if (row.channel, row.market_ticker) == (ORDERBOOK, ticker)]
    if any(snapshot.frame_no < row.frame_no <= frame_no for row in gaps):
        return None
    deltas = [
        row for row in rows.deltas if row.market_ticker == ticker and snapshot.frame_no < row.frame_no <= frame_no
    ]
    return Standing(snapshot, tuple(deltas))


def resume_point(rows: Rows, opened: Opened) -> ResumePoint:
    """Return where a store that has exactly these rows stands."""
    invalid = {state.ticker for state in rows.resume.invalid}
    tickers = [ticker for sid in rows.resume.sids for ticker in sid.tickers if ticker not in invalid]
    books = tuple(resume_book(rows, ticker) for ticker in tickers)
    return ResumePoint(CAPTURE, rows.upto_frame, opened, rows.resume, books)


def resume_book(rows: Rows, ticker: str) -> ResumeBook:
    found = standing(rows, ticker, rows.upto_frame)
    assert found is not None, f"{ticker} is valid by the state but not by the rows"
    snapshot, delta = found.snapshot, found.deltas[-1] if found.deltas else None
    if delta is None and snapshot.origin == "checkpoint":
        # A checkpoint includes the delta of its frame.
        delta = next(row for row in reversed(rows.deltas) if row.market_ticker == ticker)
    book = found.book
    whole = [row for row in rows.snapshots if row.market_ticker == ticker and row.origin == "venue"][-1]
    return ResumeBook(
        ticker=ticker,
        yes_bids=book.bids("yes"),
        no_bids=book.bids("no"),
        base_clock=found.base_clock,
        last_clock=snapshot.clock if delta is None else delta.clock,
        last_seq=snapshot.sequence_number if delta is None else delta.sequence_number,
        deltas_since=len(found.deltas),
        snapshot_ns=snapshot.received_ns,
        last_frame_no=snapshot.frame_no if delta is None else delta.frame_no,
        last_received_ns=snapshot.received_ns if delta is None else delta.received_ns,
        last_timestamp_ms=snapshot.sending_ts_ms if delta is None else delta.timestamp_ms,
        vouched_frame=whole.frame_no,
        vouched_ns=whole.received_ns,
    )
