"""Frames that the live books saw, but whose rows nothing could take, and how the tables get level with them again."""

import attrs
import msgspec

from rlflow.session.records import Closed
from rlflow.session.rows import GapRow, Rows
from rlflow.session.session import Session


@attrs.frozen
class Loss:
    """Frames of a capture that the live books saw, but whose rows nothing could take: neither journal nor writer."""

    session: Session
    after_frame: int
    """The last frame whose rows are not lost."""
    closed: Closed | None
    """The closing record, if it is among what was lost."""

    @property
    def frames(self) -> int:
        """How many numbers are lost."""
        return self.session.upto_frame - self.after_frame

    def bridge(self, made: Rows) -> None:
        """Let `made` go on behind what is not lost: with a gap, then a checkpoint of every valid book.

        The checkpoints bring the tables level with the live books again.
        """
        gap = GapRow(
            channel="trade",
            market_ticker=None,
            sid=None,
            frame_no=made.after_frame,
            received_ns=made.received_ns,
            from_frame=self.after_frame,
            from_ns=made.received_ns,
            to_ns=made.received_ns,
            cause="dropped: journal and database were both unavailable",
        )
        books = [
            msgspec.structs.replace(gap, channel="orderbook_delta", market_ticker=ticker, sid=book.sid)
            for ticker, book in self.session.books.items()
        ]
        made.gaps[:0] = [*books, gap]
        made.snapshots += self.session.checkpoint_all()
        made.counts.dropped += made.after_frame - self.after_frame
        made.after_frame = self.after_frame
        made.closed = made.closed or self.closed
