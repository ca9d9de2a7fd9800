"""For how long nothing was heard of each book of one connection."""

from collections.abc import Iterable
from typing import Final

import attrs

from rlflow.session.session import Session
from rlflow.units import Nanos

TRADE_WAIT_NS: Final[Nanos] = 2 * 10**9
"""A trade and the change of the book that it makes come apart by milliseconds (protocol 9.4, 13)."""


@attrs.frozen
class Silence:
    """A book that can be trusted, as far as anybody knows."""

    ticker: str
    last_frame: int
    """The last frame about it."""
    silent_s: float
    """Since that was received."""
    has_changed: bool
    """Whether changes have come since its last snapshot."""
    is_contradicted: bool
    """Whether a trade has come, but no change of the book with it."""


def silences(session: Session, tickers: Iterable[str], now_ns: Nanos) -> list[Silence]:
    """Return the silence of each valid book among some of a session's, by the wall clock. O(markets)."""
    books = session.books
    found: list[Silence] = []
    for ticker in tickers:
        book = books.get(ticker)
        if book is None or not book.is_valid:
            continue
        heard_ns, traded_ns = book.last_received_ns, book.last_trade_ns
        is_contradicted = heard_ns + TRADE_WAIT_NS < traded_ns < now_ns - TRADE_WAIT_NS
        silent_s = (now_ns - heard_ns) / 1e9
        found.append(Silence(ticker, book.last_frame_no, silent_s, book.deltas_since > 0, is_contradicted))
    return found
