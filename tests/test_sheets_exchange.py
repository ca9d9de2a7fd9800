"""The REST client, the data sheets and the backfill against the whole simulated exchange."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import pytest
import trio

from rlflow.data.database import Database
from rlflow.data.rest.client import VenueClient
from rlflow.data.sheets.fee_changes import Fee, read_fees
from rlflow.data.sheets.market_sheets import MarketSheets
from rlflow.data.sheets.trade_backfill import TradeBackfill
from rlflow.errors import RestRefusedError
from rlflow.exchange.config import DEFAULT_TICKERS
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.server import Exchange
from tests.exchange_client import running
from tests.rows_by_hand import first, following, gap, trade

BUSY = DEFAULT_TICKERS[0]
SERIES = "KXSIM2S"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "rsa")


@asynccontextmanager
async def asking(exchange: Exchange, credentials: Credentials) -> AsyncIterator[VenueClient]:
    def headers(method: str, path: str) -> tuple[tuple[str, str], ...]:
        return credentials.signer.headers(method, path, time.time_ns() // 10**6)

    async with VenueClient(exchange.address.api_url, headers) as client:
        yield client


def short_markets() -> SeriesSpec:
    return SeriesSpec(SERIES, period_s=2, fee_type="quadratic_with_maker_fees", settlement_timer_s=0.1)


async def test_every_call_is_answered(credentials: Credentials) -> None:
    async with running(credentials, series=(short_markets(),)) as exchange, asking(exchange, credentials) as client:
        assert (await client.limits()).read.rate == 200
        assert (await client.exchange_status()).is_trading_active
        assert (await client.schedule()).maintenance is not None
        named = await client.markets(tickers=[BUSY, "KXNONE"])
        assert [market.ticker for market in named] == [BUSY]
        assert (await client.market(BUSY)).price_ranges == named[0].price_ranges != ()
        listed = await client.markets(series=SERIES)
        assert {market.status for market in listed} >= {"active", "initialized"}
        changed = await client.markets(series=SERIES, min_updated_ts=int(time.time()) - 60)
        assert {market.ticker for market in changed} >= {market.ticker for market in listed}
        event = await client.event(listed[0].event_ticker)
        assert event.series_ticker == SERIES
        assert (await client.series(SERIES)).fee_type == "quadratic_with_maker_fees"
        assert await client.fee_changes(SERIES) is not None
        assert (await client.orderbook(BUSY)).yes_bids
        assert (await client.trades("KXNONE", 0, 1)).items == []
        with pytest.raises(RestRefusedError) as caught:
            await client.market("KXNONE")
        assert caught.value.status == 404
        statistics = client.statistics()
        assert (statistics.failures, statistics.throttled, statistics.unreadable) == (0, 0, 0)


async def test_short_markets_are_followed_to_their_results(credentials: Credentials, database_url: str) -> None:
    connect = partial(Database.connect, database_url, environment="sim")
    with connect() as database:
        async with (
            running(credentials, series=(short_markets(),)) as exchange,
            asking(exchange, credentials) as client,
            trio.open_nursery() as nursery,
        ):
            listed = [market.ticker for market in await client.markets(series=SERIES, status="open")]
            sheets = MarketSheets(client, connect, lambda: listed)
            nursery.start_soon(sheets.run)
            while sheets.statistics().final < len(listed):
                await trio.sleep(0.2)
                sheets.learn(listed)
            nursery.cancel_scope.cancel()
        rows = database.connection.execute(
            """SELECT status, result IN ('yes', 'no'), settlement_value_e4 IN (0, 10000), settled_ts_ms > close_ts_ms,
                      series_ticker FROM rl_markets"""
        ).fetchall()
        assert rows == [("finalized", True, True, True, SERIES)] * len(listed)
        (fee,) = read_fees(database.connection, "series", SERIES)
        assert fee.fee == Fee("quadratic_with_maker_fees", Decimal(1))


async def test_trades_of_the_exchange_fill_a_gap(credentials: Credentials, database_url: str) -> None:
    connect = partial(Database.connect, database_url, environment="sim")
    async with running(credentials, tickers=(BUSY,)) as exchange, asking(exchange, credentials) as client:
        began_s = int(time.time())
        while len(seen := (await client.trades(BUSY, began_s - 1, began_s + 60)).items) < 20:  # noqa: ASYNC110
            await trio.sleep(0.1)
        end_ns = time.time_ns()
        held = seen[::2]
        rows = first()
        own = [
            trade(
                4 + number,
                trade_id=each.trade_id,
                market_ticker=BUSY,
                received_ns=each.created_ns,
                timestamp_ms=each.created_ns // 10**6,
            )
            for number, each in enumerate(held)
        ]
        lost = gap(4, channel="trade", market_ticker=BUSY, from_ns=began_s * 10**9, to_ns=end_ns, received_ns=end_ns)
        with connect() as database:
            database.commit([rows, following(rows, lost, *own)])
            later = lambda: end_ns + 120 * 10**9  # noqa: E731
            await TradeBackfill(client, connect, trio.lowlevel.checkpoint, wall_ns=later).fill()
            stored = database.connection.execute(
                "SELECT trade_id, count(*) FROM rl_trades WHERE market_ticker = %s GROUP BY 1", (BUSY,)
            ).fetchall()
        assert {trade_id for trade_id, _ in stored} >= {each.trade_id for each in seen}
        assert {count for _, count in stored} == {1}
