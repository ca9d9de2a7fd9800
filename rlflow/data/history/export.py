"""Stored rows into a file: as lines that `import` reads back, or as a table for other tools.

Every capture that has something of the markets in the time is written whole for itself, so nothing is chosen or merged:
that is for whoever reads it. It begins with the last snapshots before the time asked for, on which the books stand.
Trades that were fetched by REST after a gap are of no capture, and come behind all of them.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import dropwhile
from typing import Protocol, TypeAlias

import attrs

from rlflow.data.database import Database
from rlflow.data.history.moments import END_OF_TIME, frames_before
from rlflow.data.history.stored_rows import Selection, StoredRow, fetched_trades, stored_rows
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection, take_time, translated
from rlflow.data.store.removals import removals
from rlflow.session.rows import GapRow, RemovedState, TradeRow
from rlflow.session.sequence import ORDERBOOK
from rlflow.units import Nanos

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with the rows written and the frames stored in all captures in question."""

_Item: TypeAlias = StoredRow | RemovedState
"""What a capture has, in the order of frames."""

_ROWS_PER_PROGRESS = 10_000

# A series gives its name to its markets; the data sheets say so for those that have one.
_MARKETS_OF_SERIES = b"""
    SELECT DISTINCT market_ticker FROM rl_orderbook_snapshots WHERE starts_with(market_ticker, %(series)s || '-')
    UNION SELECT market_ticker FROM rl_markets WHERE series_ticker = %(series)s
    ORDER BY 1"""

_IS_STORED = b"""
    SELECT EXISTS (SELECT FROM rl_orderbook_snapshots WHERE market_ticker = %(market)s)
        OR EXISTS (SELECT FROM rl_orderbook_deltas WHERE market_ticker = %(market)s)
        OR EXISTS (SELECT FROM rl_trades WHERE market_ticker = %(market)s)
        OR EXISTS (SELECT FROM rl_feed_gaps WHERE market_ticker = %(market)s)
        OR EXISTS (SELECT FROM rl_markets WHERE market_ticker = %(market)s)"""

# The earliest of the snapshots on which the markets' books stand at the beginning.
_BASES = b"""
    SELECT min(frame_no) FROM (
        SELECT DISTINCT ON (market_ticker) frame_no FROM rl_orderbook_snapshots
        WHERE capture = %(key)s AND market_ticker = ANY(%(markets)s) AND received_ns < %(start_ns)s
          AND received_ns >= %(rows_from_ns)s
        ORDER BY market_ticker, frame_no DESC
    ) AS bases"""


class ExportTarget(Protocol):
    """A file that rows go into."""

    def begin(self, record: CaptureRecord, markets: Sequence[str]) -> None:
        """Begin a capture."""

    def add(self, record: CaptureRecord, row: StoredRow) -> None:
        """Write one of its rows."""

    def add_removal(self, removed: RemovedState) -> None:
        """Write since when it has no more of a market, in the order of frames; that counts as no row."""

    def end(self, record: CaptureRecord, *, is_whole: bool) -> None:
        """End it; `is_whole`: nothing of it was left out at the end for its time."""

    def add_fetched(self, trade: TradeRow) -> None:
        """Write a trade that was fetched by REST; see `stored_rows.fetched_trades`."""


@attrs.frozen
class Exported:
    """What was written."""

    captures: int
    rows: int
    gaps: int


def markets_of(database: Database, series: str) -> tuple[str, ...]:
    """Return the markets of a series that something is stored of."""
    with translated():
        found = database.connection.execute(_MARKETS_OF_SERIES, {"series": series})
        return tuple(ticker for (ticker,) in found)


def is_stored(database: Database, market: str) -> bool:
    """Return whether something is stored of a market, be it of another time."""
    with translated():
        found = database.connection.execute(_IS_STORED, {"market": market}).fetchone()
    return found == (True,)


def export(
    database: Database,
    markets: Sequence[str],
    target: ExportTarget,
    *,
    start_ns: Nanos = 0,
    end_ns: Nanos = END_OF_TIME,
    progress: Progress = lambda _done, _total: None,
) -> Exported:
    """Write all that is stored of some markets with receive times in [start_ns, end_ns), as it is at this moment.

    Of a capture whose wall clock was set back in that time, all frames between the first and the last of them.
    """
    connection = database.connection
    with translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        take_time(connection)
        records = [
            record
            for record in database.captures()
            if record.opened_ns < end_ns and record.last_received_ns >= start_ns and record.rows_from_ns is not None
        ]
        work = _Export(
            connection, markets, target, start_ns, end_ns, progress, sum(one.counts.stored for one in records)
        )
        for record in records:
            work.write(record)
        if work.captures:
            work.write_fetched()
    progress(work.rows, work.rows)
    return Exported(work.captures, work.rows, work.gaps)


@attrs.define
class _Export:
    """An export while it goes on."""

    _connection: Connection
    _markets: Sequence[str]
    _target: ExportTarget
    _start_ns: Nanos
    _end_ns: Nanos
    _progress: Progress
    _total: int
    captures: int = 0
    rows: int = 0
    gaps: int = 0

    def write(self, record: CaptureRecord) -> None:
        """Write one capture, if it has any data of the markets."""
        is_begun = False
        for row in _with_data(self._selected(record)):
            if not is_begun:
                self._target.begin(record, self._markets)
                is_begun = True
            if isinstance(row, RemovedState):
                self._target.add_removal(row)
            else:
                self._target.add(record, row)
                self._count(row)
        if is_begun:
            self.captures += 1
            self._target.end(record, is_whole=record.last_received_ns < self._end_ns)

    def write_fetched(self) -> None:
        """Write the trades of no capture."""
        for trade in fetched_trades(self._connection, self._markets, self._start_ns, self._end_ns):
            self._target.add_fetched(trade)
            self._count(trade)

    def _selected(self, record: CaptureRecord) -> Iterator[_Item]:
        """Yield what the file is to have of a capture."""
        base, where = self._base(record), record.where
        one = self._markets[0] if len(self._markets) == 1 else None
        selection = Selection(
            record.key,
            market=one,
            markets=None if one is not None else list(self._markets),
            after=-1 if base is None else base - 1,
            upto=frames_before(self._connection, record, self._markets, self._end_ns),
            rows_from_ns=where.rows_from_ns,
            rows_to_ns=where.rows_to_ns,
        )
        items = heapq.merge(
            stored_rows(self._connection, selection),
            self._removals(record, selection.upto),
            key=lambda item: item.frame_no,
        )
        # Nothing that stands before the time is needed then.
        return items if base is not None else dropwhile(lambda item: item.received_ns < self._start_ns, items)

    def _removals(self, record: CaptureRecord, upto: int) -> Iterator[RemovedState]:
        """Yield, in the order of frames, the markets that the capture has no more of."""
        found = removals(self._connection, [record.key], self._markets).items()
        for (_, ticker), place in sorted(found, key=lambda item: item[1].frame_no):
            if place.frame_no <= upto:
                yield RemovedState(ORDERBOOK, ticker, place.frame_no, place.received_ns)

    def _base(self, record: CaptureRecord) -> int | None:
        """Return the frame to begin with for the books to be known at the start; None: none was known before."""
        where = {
            "key": record.key,
            "markets": list(self._markets),
            "start_ns": self._start_ns,
            "rows_from_ns": record.where.rows_from_ns,
        }
        found = self._connection.execute(_BASES, where).fetchone()
        assert found is not None
        frame: int | None = found[0]
        return frame

    def _count(self, row: StoredRow) -> None:
        self.rows += 1
        self.gaps += isinstance(row, GapRow)
        if not self.rows % _ROWS_PER_PROGRESS:
            self._progress(self.rows, max(self._total, self.rows))


def _with_data(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield all unless they are gaps only, which every capture has that was subscribed to trades."""
    waiting: list[_Item] = []
    for item in items:
        waiting.append(item)
        if not isinstance(item, GapRow | RemovedState):
            yield from waiting
            yield from items
