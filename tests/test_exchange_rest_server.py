"""The local venue's REST interface over real sockets, on the port of its websocket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from rlflow.exchange.config import DEFAULT_TICKERS
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.server import Exchange
from tests.exchange_client import connected, running, subscribe
from tests.exchange_rest import Signing


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "rsa")


@asynccontextmanager
async def calling(exchange: Exchange, credentials: Credentials) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=exchange.address.api_url, auth=Signing(credentials.signer)) as client:
        yield client


async def test_both_interfaces_share_a_port_and_a_signature(credentials: Credentials) -> None:
    async with (
        running(credentials) as exchange,
        calling(exchange, credentials) as client,
        connected(exchange.url, credentials.signer) as websocket,
    ):
        await websocket.say(subscribe(1, DEFAULT_TICKERS[0]))
        assert (await websocket.hear())[0]["type"] == "subscribed"
        limits = (await client.get("/account/limits?some=query")).raise_for_status().json()
        assert limits["usage_tier"] == "basic"
        markets = (await client.get("/markets", params={"status": "open"})).raise_for_status().json()["markets"]
        assert {each["ticker"] for each in markets} >= set(DEFAULT_TICKERS)
        book = (await client.get(f"/markets/{DEFAULT_TICKERS[0]}/orderbook")).raise_for_status().json()
        assert book["orderbook_fp"]["yes_dollars"]
        assert exchange.statistics().connections == 1


async def test_many_calls_at_once_are_answered_on_kept_connections(credentials: Credentials) -> None:
    statuses: list[int] = []
    async with running(credentials) as exchange, calling(exchange, credentials) as client:

        async def call(path: str) -> None:
            statuses.append((await client.get(path)).status_code)

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(call, f"/markets?limit={number + 1}")
    assert statuses == [200] * 20


async def test_a_stranger_is_refused(credentials: Credentials, tmp_path: Path) -> None:
    stranger = load_or_make_credentials(tmp_path, "ed25519")
    async with running(credentials) as exchange, calling(exchange, stranger) as client:
        answer = await client.get("/account/limits")
        assert (answer.status_code, answer.json()["details"]) == (401, "NOT_FOUND")
