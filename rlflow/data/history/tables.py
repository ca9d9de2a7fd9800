"""Replayed rows as columns: the best of the book, deltas, trades and gaps, for notebooks.

Values are floats here and nowhere before: prices in dollars, which is the probability of the contract's side, and sizes
in contracts.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import pyarrow

from rlflow.data.history.replay import Replayed
from rlflow.data.history.replayed_book import ReplayedBook
from rlflow.orderbook import Book
from rlflow.session.rows import DeltaRow, GapRow, TradeRow
from rlflow.units import ONE_CONTRACT, ONE_DOLLAR, Count, Nanos, Price

_NS = pyarrow.timestamp("ns", tz="UTC")
_MS = pyarrow.timestamp("ms", tz="UTC")
_NAME = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
_FLOAT = pyarrow.float64()

Schema: TypeAlias = Sequence[tuple[str, Any]]

TOP: Final[Schema] = (
    ("market_ticker", _NAME),
    ("received", _NS),
    ("known", pyarrow.bool_()),
    ("bid", _FLOAT),
    ("bid_size", _FLOAT),
    ("ask", _FLOAT),
    ("ask_size", _FLOAT),
    ("mid", _FLOAT),
    ("spread", _FLOAT),
)
DELTAS: Final[Schema] = (
    ("market_ticker", _NAME),
    ("received", _NS),
    ("timestamp", _MS),
    ("side", _NAME),
    ("price", _FLOAT),
    ("delta", _FLOAT),
    ("action", _NAME),
    ("size", _FLOAT),
    ("clock", pyarrow.int64()),
    ("frame_no", pyarrow.int64()),
)
TRADES: Final[Schema] = (
    ("market_ticker", _NAME),
    ("received", _NS),
    ("timestamp", _MS),
    ("yes_price", _FLOAT),
    ("count", _FLOAT),
    ("taker_side", _NAME),
    ("is_block_trade", pyarrow.bool_()),
    ("trade_id", pyarrow.string()),
)
GAPS: Final[Schema] = (
    ("market_ticker", _NAME),
    ("channel", _NAME),
    ("start", _NS),
    ("noticed", _NS),
    ("end", _NS),
    ("cause", pyarrow.string()),
)

# So many values are plain Python objects before they become a column of Arrow's.
_ROWS_PER_CHUNK = 100_000


@attrs.define
class Table:
    """Rows that become a table; memory is that of the table."""

    schema: Schema
    _rows: list[Sequence[object]] = attrs.field(factory=list, init=False)
    _chunks: list[pyarrow.Table] = attrs.field(factory=list, init=False)

    def add(self, *values: object) -> None:
        """Add a row."""
        self._rows.append(values)
        if len(self._rows) >= _ROWS_PER_CHUNK:
            self._pack()

    def finished(self) -> pyarrow.Table:
        """Return all rows."""
        self._pack()
        return pyarrow.concat_tables(self._chunks).unify_dictionaries()

    def _pack(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self.schema)
        arrays = [pyarrow.array(column, kind) for column, (_, kind) in zip(columns, self.schema, strict=True)]
        self._chunks.append(pyarrow.Table.from_arrays(arrays, [name for name, _ in self.schema]))
        self._rows = []


@attrs.define
class HistoryTables:
    """The tables of one or several markets, one market after the other."""

    grid_ns: Nanos | None = None
    """The best of the book at each multiple of this; None: whenever it changes."""
    top: Table = attrs.field(factory=lambda: Table(TOP), init=False)
    deltas: Table = attrs.field(factory=lambda: Table(DELTAS), init=False)
    trades: Table = attrs.field(factory=lambda: Table(TRADES), init=False)
    gaps: Table = attrs.field(factory=lambda: Table(GAPS), init=False)

    def take(self, market: str, rows: Iterable[Replayed], start_ns: Nanos, settled_ns: Nanos) -> None:
        """Take a market's rows, as `replay` gives them from `start_ns` on; no gaps from its settlement on."""
        top = _Top(market, self.top, self.grid_ns, start_ns)
        for _, row in rows:
            top.take(row)
            if isinstance(row, DeltaRow):
                self._add_delta(row)
            elif isinstance(row, TradeRow):
                self._add_trade(row)
            elif isinstance(row, GapRow) and row.from_ns < settled_ns:
                self.gaps.add(market, row.channel, row.from_ns, row.received_ns, row.to_ns, row.cause)
        top.finish()

    def _add_delta(self, row: DeltaRow) -> None:
        self.deltas.add(
            row.market_ticker,
            row.received_ns,
            row.timestamp_ms,
            row.side,
            _dollars(row.price),
            _contracts(row.delta),
            row.action,
            None if row.new_size is None else _contracts(row.new_size),
            row.clock,
            row.frame_no,
        )

    def _add_trade(self, row: TradeRow) -> None:
        self.trades.add(
            row.market_ticker,
            row.received_ns,
            row.timestamp_ms,
            _dollars(row.yes_price),
            _contracts(row.count),
            row.taker_side,
            row.is_block_trade,
            row.trade_id,
        )


@attrs.define
class _Top:
    """The best bid and ask of one market while its rows are taken."""

    _market: str
    _table: Table
    _grid_ns: Nanos | None
    _start_ns: Nanos
    _replayed: ReplayedBook = attrs.field(factory=ReplayedBook, init=False)
    _shown: Sequence[object] = attrs.field(default=(), init=False)
    """What was the best when the book was last not crossed."""
    _now_ns: Nanos = attrs.field(default=0, init=False)
    _next_ns: Nanos = attrs.field(default=0, init=False)
    """The next moment of the grid."""

    def take(self, row: Any) -> None:
        """Take the next row."""
        # The book at the start was received before it.
        now_ns = max(row.received_ns, self._start_ns, self._now_ns)
        if self._grid_ns is not None:
            if not self._now_ns:
                self._next_ns = -(-now_ns // self._grid_ns) * self._grid_ns
            self._show_grid(now_ns)
        self._now_ns = now_ns
        if self._replayed.take(row):
            self._look()

    def finish(self) -> None:
        """Show what is left of the grid."""
        if self._grid_ns is not None and self._now_ns:
            self._show_grid(self._now_ns + 1)

    def _look(self) -> None:
        """Note the best levels, unless the book is crossed within an action of the venue."""
        if self._replayed.is_known and self._replayed.book.is_crossed:
            return
        best = _best(self._replayed.book) if self._replayed.is_known else _UNKNOWN
        if best != self._shown:
            self._shown = best
            if self._grid_ns is None:
                self._table.add(self._market, self._now_ns, *best)

    def _show_grid(self, before_ns: Nanos) -> None:
        assert self._grid_ns is not None
        while self._next_ns < before_ns:
            self._table.add(self._market, self._next_ns, *(self._shown or _UNKNOWN))
            self._next_ns += self._grid_ns


_UNKNOWN: Final = (False, None, None, None, None, None, None)


def _best(book: Book) -> Sequence[object]:
    bid, ask, doubled, spread = book.best_bid("yes"), book.best_ask("yes"), book.doubled_mid("yes"), book.spread
    return (
        True,
        None if bid is None else _dollars(bid[0]),
        None if bid is None else _contracts(bid[1]),
        None if ask is None else _dollars(ask[0]),
        None if ask is None else _contracts(ask[1]),
        None if doubled is None else doubled / (2 * ONE_DOLLAR),
        None if spread is None else _dollars(spread),
    )


def _dollars(price: Price) -> float:
    return price / ONE_DOLLAR


def _contracts(count: Count) -> float:
    return count / ONE_CONTRACT
