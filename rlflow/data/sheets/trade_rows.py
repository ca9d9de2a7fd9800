"""Gaps of the trade channel, and the trades that are fetched for them: found, stored once, and noted as filled."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final

import attrs

from rlflow.data.database import Database
from rlflow.data.store.copy_text import storable
from rlflow.data.store.postgres import translated
from rlflow.kalshi.sheets import RestTrade
from rlflow.units import Nanos, format_count

MARGIN_NS: Final = 30 * 10**9
"""Trades this long before and after a gap are asked for too: the venue's clock is not ours, and it may have queued."""
REACH_NS: Final = 80 * 86_400 * 10**9
"""The venue keeps some three months within reach (protocol 6.4)."""
# A trade comes within seconds; an hour finds what is stored already whatever the clocks did.
_RECEIVED_WITHIN_NS: Final = 3_600 * 10**9
_GAPS_AT_ONCE: Final = 100

# What stays open is over for a market that has closed meanwhile.
_GAPS: Final = """
    SELECT id, capture, market_ticker, from_ns, over_ns, is_end
    FROM (
        SELECT id, capture, gap.market_ticker, from_ns, gap.received_ns,
               coalesce(gap.received_ns >= closed_ns, false) AS is_end,
               CASE WHEN to_ns IS NOT NULL THEN to_ns
                    WHEN close_ts_ms IS NOT NULL THEN greatest(from_ns, close_ts_ms * 1000000) END AS over_ns
        FROM rl_feed_gaps AS gap JOIN rl_captures USING (capture)
        LEFT JOIN rl_markets AS sheet ON sheet.market_ticker = gap.market_ticker
        WHERE channel = 'trade' AND filled_ns IS NULL) AS unfilled
    WHERE received_ns > %s AND over_ns <= %s AND id <> ALL(%s)
    ORDER BY from_ns, id LIMIT %s"""

# Of a gap that names no market: whatever the capture had a book of, or was to have, unless it cannot have traded in the
# gap; and when it was heard again, or closed.
_MARKETS: Final = """
    SELECT subscribed.market_ticker, coalesce(
        (SELECT min(back.received_ns) FROM rl_orderbook_snapshots AS back
         WHERE back.market_ticker = subscribed.market_ticker AND back.capture <> %(capture)s
           AND back.received_ns >= %(from_ns)s),
        CASE WHEN sheet.close_ts_ms < %(now_ms)s THEN sheet.close_ts_ms * 1000000 END)
    FROM (
        SELECT market_ticker FROM rl_orderbook_snapshots JOIN rl_captures USING (capture)
        WHERE capture = %(capture)s AND received_ns >= rows_from_ns AND received_ns < rows_to_ns
        UNION SELECT unnest(tickers) FROM rl_captures WHERE capture = %(capture)s) AS subscribed
    LEFT JOIN rl_markets AS sheet ON sheet.market_ticker = subscribed.market_ticker
    WHERE (sheet.close_ts_ms < %(from_ms)s OR sheet.open_ts_ms > %(to_ms)s) IS NOT TRUE
    ORDER BY 1"""

_KNOWN: Final = """
    SELECT trade_id FROM rl_trades
    WHERE market_ticker = %(ticker)s AND received_ns BETWEEN %(from_ns)s AND %(to_ns)s
    UNION
    SELECT trade_id FROM rl_trades
    WHERE market_ticker = %(ticker)s AND timestamp_ms BETWEEN %(from_ms)s AND %(to_ms)s AND origin = 'rest'"""

_STORE: Final = """
    INSERT INTO rl_trades (
        market_ticker, timestamp_ms, trade_id, count, taker_side, is_block_trade, received_ns, yes_price_e4, origin)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'rest')"""

_FILLED: Final = """
    UPDATE rl_feed_gaps SET filled_ns = %(now_ns)s, filled_trades = (
        SELECT count(*) FROM rl_trades WHERE market_ticker = ANY(%(tickers)s)
        AND timestamp_ms BETWEEN %(from_ms)s AND %(to_ms)s AND origin = 'rest')
    WHERE id = %(id)s AND filled_ns IS NULL"""


@attrs.frozen
class TradeGap:
    """A stretch in which trades were lost."""

    id: int
    capture: int
    market_ticker: str | None
    """None: every market of the subscription."""
    from_ns: Nanos
    to_ns: Nanos
    is_end: bool = False
    """Whether the connection ended with it. If it names no market, as in older stores, then any connection that hears
    trades again has ended it, be it one of other markets."""

    @property
    def from_ms(self) -> int:
        """The first time to be asked for, ms."""
        return (self.from_ns - MARGIN_NS) // 10**6

    @property
    def to_ms(self) -> int:
        """The last time to be asked for, ms."""
        return (self.to_ns + MARGIN_NS) // 10**6 + 1


@attrs.frozen
class LostMarket:
    """A market that may have lost trades in a gap."""

    ticker: str
    until_ns: Nanos | None
    """When its trades were heard again, or ended; None: they have not been, as far as is known."""


def gaps_to_fill(
    database: Database, *, ended_before_ns: Nanos, now_ns: Nanos, but: Collection[int] = ()
) -> list[TradeGap]:
    """Return the oldest gaps that have ended and are not filled yet, as far as the venue's memory reaches."""
    with translated():
        where = (now_ns - REACH_NS, ended_before_ns, list(but), _GAPS_AT_ONCE)
        return [TradeGap(*row) for row in database.connection.execute(_GAPS, where)]


def markets_of(database: Database, gap: TradeGap, now_ns: Nanos) -> list[LostMarket]:
    """Return the markets that may have lost trades in a gap."""
    if gap.market_ticker is not None:
        return [LostMarket(gap.market_ticker, gap.to_ns)]
    where = {
        "capture": gap.capture,
        "from_ns": gap.from_ns,
        "from_ms": gap.from_ms,
        "to_ms": gap.to_ms,
        "now_ms": now_ns // 10**6,
    }
    with translated():
        found = database.connection.execute(_MARKETS, where).fetchall()
    if not gap.is_end:
        return [LostMarket(ticker, gap.to_ns) for ticker, _ in found]
    return [LostMarket(ticker, None if back_ns is None else max(gap.to_ns, back_ns)) for ticker, back_ns in found]


def store_missing(database: Database, ticker: str, trades: Iterable[RestTrade], now_ns: Nanos) -> int:
    """Store those trades of a market, fetched at `now_ns`, that the store has from nowhere else; return how many."""
    by_id = {storable(trade.trade_id): trade for trade in trades if trade.ticker == ticker}
    if not by_id:
        return 0
    times = [trade.created_ns for trade in by_id.values()]
    window = {
        "ticker": storable(ticker),
        "from_ns": min(times) - _RECEIVED_WITHIN_NS,
        "to_ns": max(times) + _RECEIVED_WITHIN_NS,
        "from_ms": min(times) // 10**6,
        "to_ms": max(times) // 10**6,
    }
    database.make_days([datetime.fromtimestamp(now_ns // 10**9, UTC).date()])
    with translated(), database.connection.transaction():
        known = {trade_id for (trade_id,) in database.connection.execute(_KNOWN, window)}
        rows = [
            (
                *(storable(ticker), trade.created_ns // 10**6, trade_id, format_count(trade.count)),
                *(trade.taker_side, trade.is_block_trade, now_ns, trade.yes_price),
            )
            for trade_id, trade in sorted(by_id.items(), key=lambda item: item[1].created_ns)
            if trade_id not in known
        ]
        if rows:
            database.connection.cursor().executemany(_STORE, rows)
    return len(rows)


def note_filled(database: Database, gap: TradeGap, tickers: list[str], now_ns: Nanos) -> None:
    """Say in a gap's row that its trades were asked for."""
    window = {"id": gap.id, "now_ns": now_ns, "tickers": tickers, "from_ms": gap.from_ms, "to_ms": gap.to_ms}
    with translated():
        database.connection.execute(_FILLED, window)
