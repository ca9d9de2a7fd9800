"""Trades that a running service loses are fetched from the venue, so that its store has each exactly once."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import trio

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.rest.client import VenueClient
from rlflow.data.sheets.trade_backfill import TradeBackfill
from rlflow.exchange.credentials import load_or_make_credentials
from rlflow.kalshi.sheets import RestTrade
from tests.running import Running, exchange, service, wait_for

MARKET = "KXSIM-27JAN01-A"
LOST = 5


def tell(api_url: str, path: str, content: object = None) -> None:
    venue = api_url.partition("/trade-api")[0]
    httpx.post(f"{venue}/sim/{path}", json={} if content is None else content, timeout=30).raise_for_status()


def stored(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            """SELECT trade_id, origin, yes_price_e4, (count * 100)::bigint, taker_side, capture IS NULL
               FROM rlflow_sim.rl_trades"""
        ).fetchall()


def wait_trades(database_url: str, more: int) -> None:
    before = len(stored(database_url))
    wait_for("trades", lambda: True if len(stored(database_url)) >= before + more else None)


async def fill(api_url: str, keys: Path, database_url: str, running: Running) -> list[RestTrade]:
    """Fill what is to be filled, and return what the venue says of its trades."""
    signer = load_or_make_credentials(keys).signer

    async def flush() -> None:
        await trio.to_thread.run_sync(partial(running.post, "/rl/admin/flush"))

    with trio.fail_after(60):
        async with VenueClient(
            api_url, lambda method, path: signer.headers(method, path, time.time_ns() // 10**6)
        ) as client:
            connect = partial(Database.connect, database_url, db_schema="rlflow_sim", environment="sim")
            backfill = TradeBackfill(client, connect, flush, settled_ns=0)
            await backfill.fill()
            assert backfill.statistics().gaps == 1
            return (await client.trades(MARKET, 0, 2**31)).items


def test_trades_that_a_service_loses_are_fetched_and_stored_once(tmp_path: Path, database_url: str) -> None:
    venue = exchange(tmp_path / "venue", "--rate", "1000", "--market", MARKET)
    with venue as found, service(tmp_path, DATABASE_URL=database_url, **found) as running:
        api_url = found["KALSHI_API_URL"]
        running.wait_status("a book", lambda status: status["books"]["valid"] > 0)
        running.post("/rl/admin/flush")
        wait_trades(database_url, 3)
        tell(api_url, "faults", {"kind": "drop", "channel": "trade", "count": LOST})
        running.wait_status("a gap", lambda status: status["gaps"]["rows"] > 0)
        wait_trades(database_url, 3)
        # What trades on cannot be compared.
        tell(api_url, f"markets/{MARKET}/pause")
        running.post("/rl/admin/flush")
        listed = trio.run(fill, api_url, tmp_path / "venue" / "keys", database_url, running)
        rows = stored(database_url)
        assert running.stop() == 0
    assert len({trade_id for trade_id, *_ in rows}) == len(rows)
    by_id = {trade.trade_id: trade for trade in listed}
    assert all(
        (price, count, taker) == (by_id[trade_id].yes_price, by_id[trade_id].count, by_id[trade_id].taker_side)
        for trade_id, _, price, count, taker, _ in rows
    )
    # What the venue had traded shortly before the recording began is fetched too.
    began_ns = min(by_id[trade_id].created_ns for trade_id, origin, *_ in rows if origin == "venue")
    traded = {trade_id for trade_id, trade in by_id.items() if trade.created_ns > began_ns}
    assert traded <= {trade_id for trade_id, *_ in rows}
    fetched = {trade_id for trade_id, origin, *_, is_no_frame in rows if origin == "rest" and is_no_frame}
    assert len(fetched & traded) == LOST
    with Database.connect(database_url, db_schema="rlflow_sim", environment="sim") as database:
        assert audit(database).is_clean
        gaps = database.connection.execute(
            "SELECT filled_trades FROM rl_feed_gaps WHERE channel = 'trade' AND filled_ns IS NOT NULL"
        ).fetchall()
    assert gaps == [(len(fetched),)]
