"""The rows of `rl_markets`: written from data sheets, and asked which markets still lack their end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from rlflow.data.database import Database
from rlflow.data.sheets.fee_changes import SeenFees, write_fees
from rlflow.data.store.copy_text import json_text, storable
from rlflow.data.store.postgres import RowRefusedError, translated
from rlflow.kalshi.sheets import FINAL, EventSheet, MarketSheet, PriceRange
from rlflow.units import Nanos, format_price

_WRITE: Final = """
    INSERT INTO rl_markets AS old (
        market_ticker, event_ticker, series_ticker, title, status, open_ts_ms, close_ts_ms, result,
        settlement_value_e4, price_level_structure, price_ranges, sheet, fetched_ns, yes_sub_title,
        settlement_timer_s, settled_ts_ms)
    VALUES (
        %(market_ticker)s, %(event_ticker)s, %(series_ticker)s, %(title)s, %(status)s, %(open_ts_ms)s,
        %(close_ts_ms)s, %(result)s, %(settlement_value_e4)s, %(price_level_structure)s, %(price_ranges)s::jsonb,
        %(sheet)s::jsonb, %(fetched_ns)s, %(yes_sub_title)s, %(settlement_timer_s)s, %(settled_ts_ms)s)
    ON CONFLICT (market_ticker) DO UPDATE SET
        event_ticker = excluded.event_ticker, series_ticker = coalesce(excluded.series_ticker, old.series_ticker),
        title = coalesce(excluded.title, old.title), status = excluded.status, open_ts_ms = excluded.open_ts_ms,
        close_ts_ms = excluded.close_ts_ms, result = excluded.result,
        settlement_value_e4 = excluded.settlement_value_e4,
        price_level_structure = excluded.price_level_structure, price_ranges = excluded.price_ranges,
        sheet = excluded.sheet, fetched_ns = excluded.fetched_ns, yes_sub_title = excluded.yes_sub_title,
        settlement_timer_s = excluded.settlement_timer_s, settled_ts_ms = excluded.settled_ts_ms
    WHERE old.fetched_ns <= excluded.fetched_ns"""

# Each step of the recursion is one look into the index of each partition, however many snapshots a market has.
_UNFINISHED: Final = """
    WITH RECURSIVE recorded (market_ticker) AS (
        (SELECT market_ticker FROM rl_orderbook_snapshots ORDER BY market_ticker LIMIT 1)
        UNION ALL
        SELECT (SELECT next.market_ticker FROM rl_orderbook_snapshots AS next
                WHERE next.market_ticker > recorded.market_ticker ORDER BY next.market_ticker LIMIT 1)
        FROM recorded WHERE recorded.market_ticker IS NOT NULL)
    SELECT market_ticker FROM recorded WHERE market_ticker IS NOT NULL
    UNION SELECT unnest(tickers) FROM rl_captures
    EXCEPT SELECT market_ticker FROM rl_markets WHERE status = %s"""


@attrs.frozen
class SheetBatch:
    """Sheets that were fetched together."""

    markets: tuple[MarketSheet, ...]
    events: Mapping[str, EventSheet]
    """Those of the markets, by ticker, as far as they are known."""
    fees: tuple[SeenFees, ...]
    fetched_ns: Nanos


def unfinished(database: Database) -> list[str]:
    """Return every market that was recorded, or meant to be, and whose end the store does not know."""
    with translated():
        return sorted(ticker for (ticker,) in database.connection.execute(_UNFINISHED, (FINAL,)))


def store_sheets(database: Database, batch: SheetBatch) -> int:
    """Write sheets and fees; return how many sheets PostgreSQL refused, which are left out."""
    rows = [_row(market, batch.events.get(market.event_ticker), batch.fetched_ns) for market in batch.markets]
    try:
        _write(database, rows, batch)
    except RowRefusedError:
        accepted = [row for row in rows if _is_accepted(database, row)]
        _write(database, accepted, batch)
        return len(rows) - len(accepted)
    return 0


def _write(database: Database, rows: Sequence[dict[str, Any]], batch: SheetBatch) -> None:
    connection = database.connection
    with translated(), connection.transaction():
        connection.cursor().executemany(_WRITE, rows)
        for fees in batch.fees:
            write_fees(connection, fees, batch.fetched_ns)


def _is_accepted(database: Database, row: dict[str, Any]) -> bool:
    try:
        with translated(), database.connection.transaction(force_rollback=True):
            database.connection.execute(_WRITE, row)
    except RowRefusedError:
        return False
    return True


def _row(market: MarketSheet, event: EventSheet | None, fetched_ns: Nanos) -> dict[str, Any]:
    title = market.title or (event.title if event else None)
    texts = {
        "market_ticker": market.ticker,
        "event_ticker": market.event_ticker,
        "series_ticker": event.series_ticker if event else None,
        "title": title,
        "status": market.status,
        "result": market.result,
        "price_level_structure": market.price_level_structure,
        "yes_sub_title": market.yes_sub_title,
    }
    return {name: None if text is None else storable(text) for name, text in texts.items()} | {
        "open_ts_ms": _ms(market.open_ns),
        "close_ts_ms": _ms(market.close_ns),
        "settled_ts_ms": _ms(market.settled_ns),
        "settlement_timer_s": market.settlement_timer_s,
        "settlement_value_e4": market.settlement_value,
        "price_ranges": json_text(list(_ranges(market.price_ranges))),
        "sheet": json_text(msgspec.json.decode(market.raw)),
        "fetched_ns": fetched_ns,
    }


def _ranges(ranges: Iterable[PriceRange]) -> Iterable[dict[str, str]]:
    for band in ranges:
        yield {
            "start": format_price(band.start),
            "end": format_price(band.end),
            "step": format_price(band.step),
        }


def _ms(at_ns: Nanos | None) -> int | None:
    return None if at_ns is None else at_ns // 10**6
