"""The data sheets of markets as a table."""

from collections.abc import Sequence
from typing import Final

import pyarrow

from rlflow.data.database import Database
from rlflow.data.store.postgres import translated

_SHEETS: Final = b"""
    SELECT wanted.ticker, event_ticker, series_ticker, title, yes_sub_title, status, open_ts_ms, close_ts_ms,
           settled_ts_ms, result, settlement_value_e4 / 10000.0::float8, price_level_structure
    FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (ticker, place)
    LEFT JOIN rl_markets ON market_ticker = wanted.ticker ORDER BY place"""

_MS = pyarrow.timestamp("ms", tz="UTC")
_COLUMNS: Final = (
    ("market_ticker", pyarrow.string()),
    ("event_ticker", pyarrow.string()),
    ("series_ticker", pyarrow.string()),
    ("title", pyarrow.string()),
    ("yes_sub_title", pyarrow.string()),
    ("status", pyarrow.string()),
    ("open", _MS),
    ("close", _MS),
    ("settled", _MS),
    ("result", pyarrow.string()),
    ("settlement_value", pyarrow.float64()),
    ("price_level_structure", pyarrow.string()),
)


def market_table(database: Database, tickers: Sequence[str]) -> pyarrow.Table:
    """Return a row for each market, all but its ticker null if no data sheet was fetched; values in dollars."""
    with translated():
        rows = database.connection.execute(_SHEETS, (list(tickers),)).fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    arrays = [pyarrow.array(column, kind) for column, (_, kind) in zip(columns, _COLUMNS, strict=True)]
    return pyarrow.Table.from_arrays(arrays, [name for name, _ in _COLUMNS])
