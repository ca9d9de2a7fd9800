"""The simulated venue driven by the real clock: series come and go, and maintenance sends everyone away."""

import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket

from rlflow.exchange.config import Address, describe_environment
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.markets.series import SeriesSpec
from tests.exchange_client import Client, Frame, command, connected, gapless, running, subscribe

SERIES = (SeriesSpec("KXS", 2, settlement_timer_s=0.2),)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


async def hear_until(client: Client, event_type: str, ticker: str) -> list[Frame]:
    """Return what is heard up to this event of the market's life."""
    heard: list[Frame] = []
    while True:
        heard += await client.hear()
        msg: dict[str, Any] = heard[-1].get("msg", {})
        if (msg.get("event_type"), msg.get("market_ticker")) == (event_type, ticker):
            return heard


async def test_markets_of_a_series_are_created_trade_and_are_paid_out(credentials: Credentials) -> None:
    settings: dict[str, Any] = {"tickers": (), "series": SERIES, "rate": 200.0}
    async with running(credentials, **settings) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(command(1, "subscribe", channels=["market_lifecycle_v2"]))
        heard = await client.hear(2)
        while heard[-1]["msg"].get("event_type") != "created":
            heard += await client.hear()
        ticker = heard[-1]["msg"]["market_ticker"]
        await client.say(subscribe(2, ticker, channels=["orderbook_delta", "trade", "ticker"]))
        heard += await hear_until(client, "settled", ticker)
        assert gapless(heard)
        books = [each for each in heard if each["type"].startswith("orderbook")]
        # Before the opening an empty one, at the end another that nobody asked for.
        assert [index for index, each in enumerate(books) if each["type"] == "orderbook_snapshot"] == [
            0,
            len(books) - 1,
        ]
        assert all("yes_dollars_fp" not in each["msg"] for each in (books[0], books[-1]))
        assert len(books) > 100
        assert "ticker" in {each["type"] for each in heard}
        assert exchange.venue is not None
        assert exchange.venue.listings[ticker].status == "finalized"


async def test_maintenance_sends_everyone_away_and_lets_nobody_in(credentials: Credentials) -> None:
    async with running(credentials) as exchange:
        venue = exchange.venue
        assert venue is not None
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(subscribe(1, "KXSIM-27JAN01-A"))
            # Half of it goes; what comes while connecting anew must be less.
            before = await client.hear(1500)
            venue.control.set_maintenance(time.time_ns(), is_on=True)
            await client.hear_until_closed()
            assert client.close_code == 1001
        with pytest.raises(trio_websocket.ConnectionRejected) as refused:
            async with connected(exchange.url, credentials.signer):
                pass
        assert refused.value.status_code == 503
        venue.control.set_maintenance(time.time_ns(), is_on=False)
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(subscribe(1, "KXSIM-27JAN01-A", channels=["orderbook_delta"]))
            snapshot = (await client.hear(3))[1]
            last = [each["msg"]["clock"] for each in before if "clock" in each.get("msg", {})][-1]
            assert snapshot["msg"]["clock"] < last


async def test_an_idle_exchange_without_markets_waits(credentials: Credentials) -> None:
    async with running(credentials, tickers=()) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(command(1, "subscribe", channels=["ticker"]))
        assert (await client.hear())[0]["type"] == "subscribed"
        with trio.move_on_after(0.05):
            await client.hear()
            pytest.fail("nothing can happen without markets")


def test_the_environment_of_series_names_them() -> None:
    text = describe_environment(
        Address("127.0.0.1", 4711), key_id="id", private_key_path=Path("/k.pem"), tickers=(), series=("KXA", "KXB")
    )
    assert "RL_SERIES_TICKER=KXA,KXB\n" in text
    assert "KALSHI_API_URL=http://127.0.0.1:4711/trade-api/v2\n" in text
    assert "RL_MARKET_TICKER" not in text
