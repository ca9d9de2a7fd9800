"""The local venue's REST interface over real sockets, on the port of its websocket."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trio_websocket

from rlflow.exchange.config import DEFAULT_TICKERS
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.handshake import WEBSOCKET_PATH, is_foreign_page
from rlflow.exchange.server import Exchange
from tests.exchange_client import Frame, connected, gapless, running, subscribe
from tests.exchange_rest import Signing
from tests.exchange_tapes import Recorded, delta, replay, snapshot


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


def sim(exchange: Exchange, path: str) -> str:
    return exchange.address.api_url.partition("/trade-api")[0] + "/sim" + path


@pytest.mark.parametrize(
    ("origin", "is_foreign"),
    [
        (None, False),
        ("http://{host}", False),
        ("http://evil.example", True),
        ("http://127.0.0.1:1", True),
        ("null", True),
        ("http://[", True),
    ],
)
async def test_a_page_of_another_site_can_neither_control_nor_listen(
    credentials: Credentials, origin: str | None, is_foreign: bool
) -> None:
    async with running(credentials) as exchange, httpx.AsyncClient() as client:
        host = f"{exchange.host}:{exchange.port}"
        headers = {} if origin is None else {"Origin": origin.format(host=host)}
        answer = await client.post(sim(exchange, "/disconnect"), headers=headers)
        assert (answer.status_code == 403) == is_foreign
        signed = credentials.signer.headers("GET", WEBSOCKET_PATH, time.time_ns() // 1_000_000)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        stream = await trio.open_tcp_stream(exchange.host, exchange.port)
        lines = [f"{name}: {value}" for name, value in {"Host": host, **upgrade, **headers, **dict(signed)}.items()]
        await stream.send_all("\r\n".join([f"GET {WEBSOCKET_PATH} HTTP/1.1", *lines, "", ""]).encode())
        assert (await stream.receive_some()).split()[1] == (b"403" if is_foreign else b"101")
        await stream.aclose()


def test_a_name_that_was_rebound_to_the_venue_is_foreign() -> None:
    assert is_foreign_page([(b"Host", b"evil.example:1"), (b"Origin", b"http://evil.example:1")])


async def test_a_fault_asked_for_strikes_the_open_websockets(credentials: Credentials) -> None:
    async with (
        running(credentials) as exchange,
        httpx.AsyncClient() as anyone,
        connected(exchange.url, credentials.signer) as websocket,
    ):
        await websocket.say(subscribe(1, DEFAULT_TICKERS[0], channels=["orderbook_delta"]))
        await websocket.hear(2)
        answer = (await anyone.post(sim(exchange, "/faults"), json={"kind": "drop", "number": 2})).raise_for_status()
        assert answer.json()["faults"][0]["connections"] == 1
        frames = await websocket.hear(5)
        while gapless(frames):
            frames += await websocket.hear()
        counted = (await anyone.get(sim(exchange, "/statistics"))).json()
        assert (counted["connections"], counted["rest"]["requests"]) == (1, 2)


async def first_book(exchange: Exchange, credentials: Credentials) -> Frame:
    """Return what the first snapshot of a new connection says."""
    async with connected(exchange.url, credentials.signer) as websocket:
        await websocket.say(subscribe(1, DEFAULT_TICKERS[0], channels=["orderbook_delta"]))
        _, snapshot = await websocket.hear(2)
        assert snapshot["type"] == "orderbook_snapshot"
        return dict(snapshot["msg"])


async def test_a_fault_may_be_for_connections_to_come_until_it_is_taken_back(credentials: Credentials) -> None:
    fault = {"kind": "no clock", "count": 0}
    async with running(credentials) as exchange, httpx.AsyncClient() as anyone:
        (await anyone.post(sim(exchange, "/faults"), json=fault)).raise_for_status()
        assert "clock" in await first_book(exchange, credentials)
        answer = await anyone.post(sim(exchange, "/faults"), json={**fault, "is_for_new": True})
        assert [(each["connections"], each["is_for_new"]) for each in answer.json()["faults"]] == [(0, True)]
        for _ in range(2):
            assert "clock" not in await first_book(exchange, credentials)
        async with connected(exchange.url, credentials.signer) as websocket:
            assert (await anyone.delete(sim(exchange, "/faults"))).status_code == 204
            await websocket.say(subscribe(1, DEFAULT_TICKERS[0], channels=["orderbook_delta"]))
            _, snapshot = await websocket.hear(2)
            assert "clock" in snapshot["msg"]
        assert "clock" in await first_book(exchange, credentials)


async def test_websockets_can_be_ended_and_kept_out(credentials: Credentials) -> None:
    async with running(credentials) as exchange, httpx.AsyncClient() as anyone:
        async with connected(exchange.url, credentials.signer) as websocket:
            await anyone.post(sim(exchange, "/disconnect"), json={"code": 1012, "reason": "restart"})
            await websocket.hear_until_closed()
            assert websocket.close_code == 1012
        async with connected(exchange.url, credentials.signer) as websocket:
            await anyone.post(sim(exchange, "/maintenance"), json={"is_on": True})
            await websocket.hear_until_closed()
            assert websocket.close_code == 1001
        assert (await anyone.get(f"{exchange.address.api_url}/exchange/status")).status_code == 503
        with pytest.raises(trio_websocket.ConnectionRejected) as refused:
            async with connected(exchange.url, credentials.signer):
                pass
        assert refused.value.status_code == 503
        await anyone.post(sim(exchange, "/maintenance"), json={"is_on": False})
        async with connected(exchange.url, credentials.signer) as websocket:
            await websocket.say(subscribe(1, DEFAULT_TICKERS[0]))
            assert (await websocket.hear())[0]["type"] == "subscribed"


async def test_a_venue_forgets_keys_and_learns_others(credentials: Credentials, tmp_path: Path) -> None:
    other = load_or_make_credentials(tmp_path, "ed25519")
    async with running(credentials) as exchange, httpx.AsyncClient() as anyone:

        async def let_in(*found: Credentials) -> int:
            content = {"keys": {each.key_id: each.public_pem for each in found}}
            return (await anyone.post(sim(exchange, "/keys"), json=content)).status_code

        async with connected(exchange.url, credentials.signer) as websocket:
            assert await let_in(other) == 200
            await websocket.say(subscribe(1, DEFAULT_TICKERS[0]))
            assert (await websocket.hear())[0]["type"] == "subscribed"
        with pytest.raises(trio_websocket.ConnectionRejected):
            async with connected(exchange.url, credentials.signer):
                pass
        async with connected(exchange.url, other.signer), calling(exchange, other) as client:
            assert (await client.get("/account/limits")).status_code == 200
        assert await let_in(credentials) == 200
        async with connected(exchange.url, credentials.signer):
            pass
        bad = await anyone.post(sim(exchange, "/keys"), json={"keys": {"id": "no PEM"}})
        assert bad.status_code == 400


async def test_settings_are_changed_for_the_connections_to_come(credentials: Credentials) -> None:
    async with (
        running(credentials) as exchange,
        httpx.AsyncClient() as anyone,
        connected(exchange.url, credentials.signer) as before,
    ):
        told = {"limits": {"markets": 1}}
        assert (await anyone.post(sim(exchange, "/settings"), json=told)).json()["limits"]["markets"] == 1
        both = subscribe(1, *DEFAULT_TICKERS[:2], channels=["ticker"])
        await before.say(both)
        assert (await before.hear())[0]["type"] == "subscribed"
        async with connected(exchange.url, credentials.signer) as websocket:
            await websocket.say(both)
            assert (await websocket.hear())[0]["msg"]["code"] == 26
        await anyone.post(sim(exchange, "/settings"), json={"keys_without_read": [credentials.key_id]})
        async with connected(exchange.url, credentials.signer) as websocket:
            await websocket.say(both)
            assert (await websocket.hear())[0]["msg"]["code"] == 9


async def test_rest_may_have_trouble_while_the_websocket_has_none(credentials: Credentials) -> None:
    async with (
        running(credentials) as exchange,
        httpx.AsyncClient() as anyone,
        calling(exchange, credentials) as client,
        connected(exchange.url, credentials.signer) as websocket,
    ):
        for status, expected in ((429, 429), (503, 503), (None, 200)):
            await anyone.post(sim(exchange, "/rest"), json={"status": status})
            assert (await client.get("/markets")).status_code == expected
        await anyone.post(sim(exchange, "/rest"), json={"status": 500})
        await websocket.say(subscribe(1, DEFAULT_TICKERS[0]))
        assert (await websocket.hear())[0]["type"] == "subscribed"
        assert (await anyone.post(sim(exchange, "/rest"), json={"status": 200})).status_code == 400


async def test_a_replay_lists_its_markets_and_takes_no_orders(credentials: Credentials) -> None:
    book = snapshot(1, "KXA-1-B", ("0.4000", "5.00"))
    async with (
        running(credentials, replay=replay(Recorded([book, delta(2, "KXA-1-B")]), closes_at_end=False)) as exchange,
        calling(exchange, credentials) as client,
    ):
        assert (await client.get("/exchange/status")).json()["exchange_active"]
        [market] = (await client.get("/markets?series_ticker=KXA&status=open")).json()["markets"]
        assert (market["ticker"], market["event_ticker"], market["yes_bid_size_fp"]) == ("KXA-1-B", "KXA-1", "0.00")
        async with connected(exchange.url, credentials.signer) as websocket:
            await websocket.say(subscribe(1, "KXA-1-B"))
            await websocket.hear(4)
            shown = (await client.get("/markets/KXA-1-B")).json()["market"]
            assert shown["yes_bid_dollars"] == "0.4000"
        order = {
            "ticker": "KXA-1-B",
            "side": "bid",
            "count": "1",
            "price": "0.01",
            "time_in_force": "good_till_canceled",
            "self_trade_prevention_type": "maker",
        }
        assert (await client.post("/portfolio/events/orders", json=order)).status_code == 404
        assert (await client.get("/portfolio/orders")).json() == {"orders": [], "cursor": ""}
        assert (await client.post(sim(exchange, "/markets/KXA-1-B/pause"))).json()["code"] == "replay"
