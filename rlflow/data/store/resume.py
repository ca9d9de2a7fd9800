"""Where a capture stands in the store: all that `Session` needs to go on behind the committed frame."""

from rlflow.data.store import captures
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection
from rlflow.data.store.stored_books import StoredBook, books_at
from rlflow.session.rows import ResumeBook, ResumePoint, ResumeState


def resume_point(connection: Connection, record: CaptureRecord) -> ResumePoint:
    """Return the resume point of a capture; some 0.2 s for 100,000 deltas behind the snapshots."""
    state = captures.resume_state(connection, record.capture)
    books = _valid_books(connection, record, state)
    return ResumePoint(record.capture, record.committed_frame, record.opened, state, books)


def _valid_books(connection: Connection, record: CaptureRecord, state: ResumeState) -> tuple[ResumeBook, ...]:
    invalid = {book.ticker for book in state.invalid}
    tickers = dict.fromkeys(ticker for sid in state.sids for ticker in sid.tickers if ticker not in invalid)
    if record.opened.sample_rate > 1 or not tickers:
        return ()
    books = books_at(connection, record.where, tickers, record.committed_frame)
    return tuple(_resume_book(book) for book in books.values() if book.cause is None)


def _resume_book(book: StoredBook) -> ResumeBook:
    return ResumeBook(
        ticker=book.market_ticker,
        yes_bids=book.yes_bids,
        no_bids=book.no_bids,
        base_clock=book.base_clock,
        last_clock=book.last.clock,
        last_seq=book.last.sequence_number,
        deltas_since=book.deltas_since,
        snapshot_ns=book.snapshot_ns,
        last_frame_no=book.last.frame_no,
        last_received_ns=book.last.received_ns,
        last_timestamp_ms=book.last.timestamp_ms,
        vouched_frame=book.vouched.frame_no,
        vouched_ns=book.vouched.received_ns,
    )
