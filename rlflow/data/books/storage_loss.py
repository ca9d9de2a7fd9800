"""Frames that the live books saw, but whose rows nothing could take, and how the tables get level with them again."""

import attrs
import msgspec

from rlflow.session.records import Closed, Opened
from rlflow.session.rows import DeltaRow, GapEndRow, GapRow, Rows
from rlflow.session.sequence import ORDERBOOK, TRADE
from rlflow.session.session import Session
from rlflow.units import Nanos

CAUSE = "dropped: journal and database were both unavailable"


@attrs.frozen
class Loss:
    """Frames of a capture that the live books saw, but whose rows nothing could take: neither journal nor writer."""

    session: Session
    after_frame: int
    """The last frame whose rows are not lost."""
    since_ns: Nanos
    """Receive time of the first lost frame."""
    frames: int
    """How many of those that the books saw are lost, local records not counted."""
    dropped: int
    """How many had been dropped before, by a record that is lost now."""
    opened: Opened | None
    """The opening record, if it is among what was lost."""
    closed: Closed | None
    """The closing record, likewise."""

    @classmethod
    def of(cls, session: Session, made: Rows) -> "Loss":
        """Return the loss of these rows."""
        nothing = cls(session, made.after_frame, made.first_received_ns, 0, 0, made.opened, None)
        return nothing.and_of(made)

    def and_of(self, made: Rows) -> "Loss":
        """Return the loss of these rows too, which follow."""
        dropped = made.counts.dropped
        seen = made.counts.total() - dropped
        return attrs.evolve(self, frames=self.frames + seen, dropped=self.dropped + dropped, closed=made.closed)

    def bridge(self, made: Rows) -> None:
        """Let `made` go on behind what is not lost: with gaps, then a checkpoint of every valid book.

        Deltas between them say no sizes: the tables do not know what led there.
        """
        made.opened, made.closed = made.opened or self.opened, made.closed or self.closed
        made.gaps[:0] = self._gaps(made)
        made.deltas[:] = _without_unknown_sizes(made)
        made.counts.dropped += self.frames + self.dropped
        made.after_frame, made.first_received_ns = self.after_frame, self.since_ns
        level(self.session, made)

    def _gaps(self, made: Rows) -> list[GapRow]:
        """Return the gap of every book, open until `level` ends it, and that of the trades, or of each market's."""
        sids = {ticker: book.sid for ticker, book in self.session.books.items()}
        for removed in made.resume.removed:
            if removed.channel == ORDERBOOK and removed.ticker is not None and removed.frame_no > self.after_frame:
                sids[removed.ticker] = None
        trades = GapRow(
            channel=TRADE,
            market_ticker=None,
            sid=None,
            frame_no=self.after_frame + 1,
            received_ns=self.since_ns,
            from_frame=self.after_frame,
            from_ns=self.since_ns,
            to_ns=made.received_ns,
            cause=CAUSE,
        )
        books = [
            msgspec.structs.replace(trades, channel=ORDERBOOK, market_ticker=ticker, sid=sid, to_ns=None)
            for ticker, sid in sids.items()
        ]
        if _trades_live(made) is not False:
            return [*books, trades]
        # The rows that said since when may be lost.
        return [
            *books,
            *(msgspec.structs.replace(trades, market_ticker=ticker, to_ns=None) for ticker in sids or (None,)),
        ]


def _without_unknown_sizes(made: Rows) -> list[DeltaRow]:
    """Return the deltas; those before a book's first snapshot know no sizes, as the tables do not know the book."""
    known_from: dict[str, int] = {}
    for snapshot in made.snapshots:
        known_from.setdefault(snapshot.market_ticker, snapshot.frame_no)
    return [
        row
        if row.frame_no > known_from.get(row.market_ticker, row.frame_no)
        else msgspec.structs.replace(row, action=None, old_size=None, new_size=None)
        for row in made.deltas
    ]


def level(session: Session, made: Rows) -> None:
    """Bring the tables level with the live books: a checkpoint of every valid one, and the end of its gaps."""
    checkpoints = session.checkpoint_all()
    made.snapshots += checkpoints
    for channel in (ORDERBOOK, TRADE) if _trades_live(made) else (ORDERBOOK,):
        made.gap_ends += [
            GapEndRow(channel, row.market_ticker, made.upto_frame, made.received_ns) for row in checkpoints
        ]


def _trades_live(made: Rows) -> bool | None:
    """Return whether trades come behind these rows; None if they were never subscribed."""
    lives = [made.closed is None and not sid.is_dead for sid in made.resume.sids if sid.channel == TRADE]
    return any(lives) if lives else None
