"""A market's book while its rows are replayed. Pure."""

import attrs

from rlflow.orderbook import Book
from rlflow.session.rows import DeltaRow, GapRow, SnapshotRow, TradeRow
from rlflow.session.sequence import ORDERBOOK


@attrs.define
class ReplayedBook:
    """The book after the rows taken so far, which are those of `data.history.replay`, from a snapshot on."""

    book: Book = attrs.Factory(Book)
    """Owned here; the last that was known while `is_known` is False."""
    is_known: bool = False

    def take(self, row: SnapshotRow | DeltaRow | TradeRow | GapRow) -> bool:
        """Take the next row; return whether the book, or whether it is known, has changed.

        Raises:
            ImpossibleSizeError: the rows do not follow on each other.
        """
        if isinstance(row, DeltaRow):
            # Whatever it says of its level: the book that it changed is not the one from before the gap.
            if row.action is None or not self.is_known:
                return False
            self.book.apply(row.side, row.price, row.delta)
            return True
        if isinstance(row, SnapshotRow):
            self.book.replace(row.yes_bids, row.no_bids)
            self.is_known = True
            return True
        if isinstance(row, GapRow) and row.channel == ORDERBOOK:
            self.is_known = False
            return True
        return False
