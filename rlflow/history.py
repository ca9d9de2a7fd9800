"""Stored history as data frames, for notebooks.

>>> from rlflow import history
>>> day = history.load(series="KXBTC15M", start="2026-11-22", end="2026-11-23", grid="1s")
>>> day.top.filter(pl.col("known")).group_by("market_ticker").agg(pl.col("spread").mean())

Everything comes through `data.history.replay`: of captures that overlap the best one, gaps as rows, a book only while
it is known.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, get_args

import attrs
import pyarrow
import pyarrow.compute

from rlflow.config import Settings
from rlflow.data.database import Database
from rlflow.data.history.export import is_stored, markets_of
from rlflow.data.history.moments import END_OF_TIME
from rlflow.data.history.replay import replay
from rlflow.data.history.tables import HistoryTables
from rlflow.data.sheets.market_table import market_table
from rlflow.data.stores import ALL_ENVIRONMENTS, Stores
from rlflow.environ import environ
from rlflow.errors import CommandError
from rlflow.units import Nanos

Moment: TypeAlias = str | date | datetime | int
"""ISO 8601, or nanoseconds since 1970; UTC if it names no zone."""
Library: TypeAlias = Literal["polars", "pandas", "arrow"]

_UNITS_NS: Mapping[str, Nanos] = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9}


@attrs.frozen(repr=False)
class History:
    """What is stored of some markets in some time, each market by itself, in the order of frames.

    Times are UTC: `received` by our clock, `timestamp` by the venue's. Prices are in dollars, which is the probability
    of their side; sizes in contracts. A price of side no is a NO price. Frames are of the library that was asked for.
    """

    top: Any
    """market_ticker, received, known, bid, bid_size, ask, ask_size, mid, spread of YES: a row whenever one of these
    changed, or at each moment of the grid. Not `known`, and all else missing, inside a gap. An empty side is missing
    alone. Of a sampled capture, `known` at its snapshots only, since deltas are missing behind each: a gap says so."""
    deltas: Any
    """market_ticker, received, timestamp, side, price, delta, action, size (after it), clock, frame_no."""
    trades: Any
    """market_ticker, received, timestamp, yes_price, count, taker_side, is_block_trade, trade_id; each trade once."""
    gaps: Any
    """market_ticker, channel, start, noticed, end, cause: nothing is known between start and end. What begins when the
    market was settled, as far as its data sheet says, is left out: nothing can be missing of it any more."""
    markets: Any
    """One row a market of what the venue said of it last: title, times, status, result, settlement value."""
    received: tuple[datetime, datetime] | None
    """When the first and the last row of the books, deltas and trades was received; None: there is none."""

    def __repr__(self) -> str:
        """For people: how much there is of what, and of when."""
        names = ("markets", "top", "deltas", "trades", "gaps")
        rows = ", ".join(f"{name} {len(getattr(self, name)):,}" for name in names)
        if self.received is None:
            return f"History({rows})"
        first, last = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in self.received)
        return f"History({rows}; {first} to {last} UTC)"


def load(
    market: str | Iterable[str] | None = None,
    *,
    series: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    grid: str | timedelta | None = None,
    env: str | None = None,
    library: Library = "polars",
    settings: Mapping[str, str] | None = None,
) -> History:
    """Load what was received of markets in [start, end).

    About 15 µs a row, and some 100 bytes of memory; for more than ten million rows, export to Parquet and scan that.

    Args:
        market: A ticker, or several.
        series: Instead of `market`: all stored markets of a series.
        start: By receive time; without it, from the first book on.
        end: Likewise; without it, up to the last row.
        grid: The distance of the rows of `top`, such as "100ms", "1s", "5m"; without it, a row for every change.
        env: Which store: prod, demo, sim, replay or recordings; without it, the only one there is.
        library: What the frames are of; polars and pandas must be installed then.
        settings: As environment variables; without it, the environment and `.env`, as the commands have them.

    Raises:
        CommandError: nothing is stored of one of the markets or of the series, or several stores are there to choose
            from. If there is something, but not of that time, the frames are empty.
        SettingsError: the settings cannot be used.
        DatabaseAwayError: the database does not answer.
        ValueError: neither or both of `market` and `series` are given, a time, the grid, the store or the library is
            none, or `start` is not before `end`.
        ImportError: the library is not installed.
    """
    if (market is None) == (series is None):
        raise ValueError("give market or series")
    _check_choices(env, library)
    start_ns, end_ns = _stretch(start, end)
    tables = HistoryTables(None if grid is None else _grid_ns(grid))
    read = Settings.from_environ(environ() if settings is None else settings)
    with Stores(read) as stores, stores.connect(stores.choose(env)) as database:
        wanted = _wanted(database, market, series)
        sheets = market_table(database, wanted)
        settled_ms = dict(zip(wanted, sheets["settled"].cast(pyarrow.int64()).to_pylist(), strict=True))
        for ticker in wanted:
            rows = replay(database, ticker, start_ns=start_ns, end_ns=end_ns)
            at_ms = settled_ms[ticker]
            tables.take(ticker, rows, start_ns, END_OF_TIME if at_ms is None else at_ms * 10**6)
    top, deltas, trades = tables.top.finished(), tables.deltas.finished(), tables.trades.finished()
    return History(
        top=_framed(top, library),
        deltas=_framed(deltas, library),
        trades=_framed(trades, library),
        gaps=_framed(tables.gaps.finished(), library),
        markets=_framed(sheets, library),
        received=_span(top, deltas, trades),
    )


def _check_choices(env: str | None, library: Library) -> None:
    if library not in get_args(Library):
        raise ValueError(f"{library!r} is no library of frames: polars, pandas or arrow")
    if library != "arrow" and find_spec(library) is None:
        # Said before a year has been read.
        raise ImportError(f"{library} is not installed: pip install {library}, or ask for library='arrow'")
    if env is not None and env not in ALL_ENVIRONMENTS:
        raise ValueError(f"{env!r} is no store: {', '.join(ALL_ENVIRONMENTS)}")


def _wanted(database: Database, market: str | Iterable[str] | None, series: str | None) -> tuple[str, ...]:
    if series is not None:
        found = markets_of(database, series)
        if not found:
            raise CommandError(f"nothing is stored of series {series}")
        return found
    assert market is not None
    tickers = (market,) if isinstance(market, str) else tuple(market)
    if not tickers:
        raise ValueError("give at least one market")
    if missing := [ticker for ticker in tickers if not is_stored(database, ticker)]:
        raise CommandError(
            f"nothing is stored of {', '.join(ticker or 'a market without a name' for ticker in missing)}"
        )
    return tickers


def _stretch(start: Moment | None, end: Moment | None) -> tuple[Nanos, Nanos]:
    start_ns, end_ns = _nanos(start, 0), _nanos(end, END_OF_TIME)
    if start_ns >= end_ns:
        raise ValueError("start must be before end")
    return start_ns, end_ns


def _nanos(moment: Moment | None, default: Nanos) -> Nanos:
    if moment is None:
        return default
    if isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        moment = _read(moment)
    if not isinstance(moment, datetime):
        moment = _midnight(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _read(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _no_moment(text) from None


def _midnight(day: object) -> datetime:
    if not isinstance(day, date):
        raise _no_moment(day)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _no_moment(given: object) -> ValueError:
    return ValueError(f"{given!r} is no time: ISO 8601 such as '2026-11-22T12:00:00', a datetime, or whole nanoseconds")


def _grid_ns(grid: str | timedelta) -> Nanos:
    if isinstance(grid, timedelta):
        grid_ns = grid // timedelta(microseconds=1) * 1_000
    else:
        found = re.fullmatch(r"(\d{1,9})(ms|s|m|h)", str(grid), re.ASCII)
        if found is None:
            raise ValueError(f"{grid!r} is no grid such as '100ms', '1s', '5m' or '1h'")
        grid_ns = int(found.group(1)) * _UNITS_NS[found.group(2)]
    if grid_ns <= 0:
        raise ValueError("a grid must have a distance")
    return grid_ns


def _span(*tables: pyarrow.Table) -> tuple[datetime, datetime] | None:
    """Return the first and the last receive time, cut to microseconds."""
    chunks = [chunk for table in tables for chunk in table["received"].cast(pyarrow.int64()).chunks]
    times = pyarrow.chunked_array(chunks, pyarrow.int64())
    ends = pyarrow.compute.min_max(times).as_py()
    if ends["min"] is None:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first, last = (epoch + timedelta(microseconds=ends[end] // 1_000) for end in ("min", "max"))
    return first, last


def _framed(table: pyarrow.Table, library: Library) -> Any:
    match library:
        case "polars":
            import polars  # noqa: PLC0415 - as heavy as it is optional

            return polars.from_arrow(table)
        case "pandas":
            return table.to_pandas()
        case "arrow":
            return table
