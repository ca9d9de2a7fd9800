"""A market's stored history as one stream of the live rows, from any moment to any other.

Where captures overlap, the one whose book is known is followed, and of those the older. Every row is what the live side
made of a frame. What a reader may rely on:

* The first row is a snapshot, and so is the first row whenever another capture is followed: one that is stored, or the
  book at that moment as a checkpoint.
* Between two rows that no gap separates, everything that the venue sent is there. Where one capture ends and the next
  begins later, a gap says so even if nothing is known to be missing.
* A gap stands where it was noticed, as live; it may reach further back (`from_frame`, `from_ns`).
* A delta with an `action` changes the book, unless a gap came since the last snapshot. One without does not: the book
  is not known, or contains it already.
* A trade comes once, though several captures may have it; what only another capture heard is in its place by receive
  time, what was fetched by REST after a gap is in its place by the venue's time.

`data.history.stored_rows` gives one capture's rows of all markets instead, without any choice.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

import attrs

from rlflow.data.database import Database
from rlflow.data.history.coverage import Leg, legs
from rlflow.data.history.market_history import MarketHistory, read_market
from rlflow.data.history.moments import END_OF_TIME, frames_before, last_frame
from rlflow.data.history.stored_rows import Selection, StoredRow, foreign_trades, stored_rows
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection, take_time, translated
from rlflow.data.store.stored_books import books_at
from rlflow.session.recorder import Place
from rlflow.session.rows import GapRow, SnapshotRow, TradeRow
from rlflow.session.sequence import ORDERBOOK, TRADE
from rlflow.units import Nanos

NOTHING_RECORDED = "nothing was recorded between two captures"

# Far more trades than one market has in the time by which captures differ.
_REMEMBERED_TRADES = 10_000


class Replayed(NamedTuple):
    """A row and the capture that it is of; None: a trade that was fetched by REST, see `ForeignTrade`."""

    capture: UUID | None
    row: StoredRow


def replay(database: Database, market: str, *, start_ns: Nanos = 0, end_ns: Nanos = END_OF_TIME) -> Iterator[Replayed]:
    """Yield the rows of one market with receive times in [start_ns, end_ns), the book at the start before them.

    Where a wall clock was set back, the frames of a capture go on all the same, so some rows have other times.
    Nothing if the market's book is nowhere known in that time. The connection is in one read-only transaction until the
    last row is taken or the iterator is closed, so nothing else can be done on it meanwhile, and what is committed
    meanwhile does not show. Some 6 µs a row; memory stays bounded.

    Of a sampled capture the deltas that were kept are there, and their `new_size` is exact. The book is known at its
    snapshots only: behind each of them comes a gap that says so, though no table has it.
    """
    connection = database.connection
    with translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        take_time(connection)
        history = read_market(connection, database.captures(), market, start_ns, end_ns)
        followed = legs(history.stretches, start_ns, end_ns)
        work = _Replay(connection, market, history.records, history)
        for number, leg in enumerate(followed):
            yield from work.rows(leg, is_first=number == 0, is_last=number == len(followed) - 1)


@attrs.define
class _Replay:
    """One market's replay while it goes on."""

    _connection: Connection
    _market: str
    _records: Mapping[int, CaptureRecord]
    _history: MarketHistory
    _trades: OrderedDict[str, int | None] = attrs.field(factory=OrderedDict, init=False)
    """Which capture gave each of the last trades."""

    def rows(self, leg: Leg, *, is_first: bool, is_last: bool) -> Iterator[Replayed]:
        """Yield what is to be seen while one capture is followed."""
        record = self._records[leg.last.key]
        after, is_told = leg.first.begin.frame_no - 1, False
        if not leg.begins_at_snapshot:
            after = self._frame_before(record, leg)
            yield Replayed(record.capture, self._checkpoint(record, after))
        is_begun = not leg.begins_at_snapshot
        for capture, row in self._merged(record, leg, after):
            if not is_begun:
                is_begun = isinstance(row, SnapshotRow)
                # What this frame shows to have been missing was not missed, because another capture had it.
                if not is_begun and (is_first or not _is_trade_gap(row)):
                    continue
            if isinstance(row, GapRow):
                if row.channel == TRADE and self._history.has_trades_elsewhere(record.key, row):
                    continue
                is_told |= row == leg.last.gap
            yield Replayed(capture, row)
        if leg.is_lost_in_the_end and not is_told and not is_last:
            yield Replayed(record.capture, leg.last.gap or self._silence(leg))

    def _merged(self, record: CaptureRecord, leg: Leg, after: int) -> Iterator[Replayed]:
        """Yield a capture's rows, and the trades among them that only others have; each trade once."""
        selection = Selection(
            record.key,
            self._market,
            after=after,
            upto=self._upto(record, leg),
            rows_from_ns=record.where.rows_from_ns,
            rows_to_ns=record.where.rows_to_ns,
        )
        others = foreign_trades(self._connection, selection, leg.from_ns, leg.until_ns)
        other = next(others, None)
        sampling = self._history.sampled.get(record.key)
        for row in stored_rows(self._connection, selection):
            while other is not None and other.row.received_ns <= row.received_ns:
                yield from self._once(other.key, other.row)
                other = next(others, None)
            if isinstance(row, TradeRow):
                yield from self._once(record.key, row)
            else:
                yield Replayed(record.capture, row)
            if isinstance(row, SnapshotRow) and sampling is not None:
                yield Replayed(record.capture, sampling.gap_behind(Place(row.frame_no, row.received_ns)))
        while other is not None:
            yield from self._once(other.key, other.row)
            other = next(others, None)

    def _once(self, key: int | None, row: TradeRow) -> Iterator[Replayed]:
        if self._trades.setdefault(row.trade_id, key) == key:
            yield Replayed(None if key is None else self._records[key].capture, row)
        if len(self._trades) > _REMEMBERED_TRADES:
            self._trades.popitem(last=False)

    def _frame_before(self, record: CaptureRecord, leg: Leg) -> int:
        """Return the frame behind which a leg begins, one at which the capture knows the book."""
        heard = last_frame(self._connection, record, self._market, leg.from_ns - 1)
        return min(heard, leg.first.end.frame_no)

    def _upto(self, record: CaptureRecord, leg: Leg) -> int:
        """Return the last frame of a leg: all that its stretches have, unless another capture takes over before."""
        end = leg.last.end.frame_no
        if leg.ends_at_loss:
            return end
        heard = frames_before(self._connection, record, [self._market], leg.until_ns)
        return heard if leg.until_ns < leg.last.until_ns else max(heard, end)

    def _checkpoint(self, record: CaptureRecord, frame: int) -> SnapshotRow:
        """Return the book at a frame at which the capture knows it."""
        book = books_at(self._connection, record.where, [self._market], frame)[self._market]
        return book.checkpoint(book.last.frame_no, book.last.received_ns)

    def _silence(self, leg: Leg) -> GapRow:
        """Return the gap between a capture that ended, as far as it knows without a loss, and the next one."""
        end = leg.last.end
        return GapRow(
            channel=ORDERBOOK,
            market_ticker=self._market,
            sid=None,
            frame_no=end.frame_no,
            received_ns=end.received_ns,
            from_frame=end.frame_no,
            from_ns=end.received_ns,
            to_ns=leg.until_ns,
            cause=NOTHING_RECORDED,
        )


def _is_trade_gap(row: StoredRow) -> bool:
    return isinstance(row, GapRow) and row.channel == TRADE
