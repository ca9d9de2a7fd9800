"""Faults that the local venue makes on request, and how it bears those of its peers."""

import json

import pytest
import trio

from rlflow.exchange.config import DEFAULT_TICKERS
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from tests.exchange_client import LIMIT_S, connected, gapless, raw_subscriber, running, subscribe
from tests.exchange_desk import NOW_MS, Desk, delta, trade

ONE_BOOK = subscribe(1, DEFAULT_TICKERS[0], channels=["orderbook_delta"])


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.DROP, [1, 3, 4]),
        (FaultKind.DUPLICATE, [1, 2, 2, 3, 4]),
        (FaultKind.SWAP, [1, 3, 2, 4]),
    ],
)
def test_a_scripted_fault_strikes_once_at_its_frame(kind: FaultKind, expected: list[int]) -> None:
    desk = Desk(None, Fault(kind, number=2))
    frames = desk.say(subscribe(1, "A"))[2:] + desk.publish(delta("A"), trade("A"), delta("A"), delta("A"))
    assert [each["seq"] for each in frames if each["sid"] == 1] == expected


def test_a_garbled_frame_is_cut_in_half() -> None:
    desk = Desk(None, Fault(FaultKind.GARBLE, number=1))
    desk.conversation.receive(subscribe(1, "A"), NOW_MS)
    with pytest.raises(json.JSONDecodeError):
        json.loads(desk.read_bytes()[2])


@pytest.mark.parametrize(("kind", "code"), [(FaultKind.CHANNEL_FAILURE, 10), (FaultKind.SLOW_CONSUMER, 25)])
def test_a_subscription_can_be_made_to_fail(kind: FaultKind, code: int) -> None:
    desk = Desk(None, Fault(kind, number=2))
    desk.say(subscribe(1, "A"))
    change, failure = desk.publish(delta("A"), delta("A"))
    assert (change["seq"], failure["seq"], failure["msg"]["code"]) == (2, 3, code)


@pytest.mark.parametrize("kind", [FaultKind.CLOSE, FaultKind.ABORT])
def test_a_connection_can_be_made_to_end_behind_a_frame(kind: FaultKind) -> None:
    desk = Desk(None, Fault(kind, number=2))
    desk.say(subscribe(1, "A"))
    assert [each["seq"] for each in desk.publish(delta("A"), delta("A"))] == [2]
    assert desk.conversation.outlet.ending is not None
    assert desk.conversation.outlet.ending.is_abrupt == (kind is FaultKind.ABORT)


def test_a_fault_can_be_asked_for_at_the_next_frame() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A"))
    desk.publish(delta("A"))
    desk.conversation.outlet.script.add(Fault(FaultKind.DROP))
    assert [each["seq"] for each in desk.publish(delta("A"), delta("A"))] == [4]


async def test_an_aborted_connection_ends_without_a_close_frame_behind_its_frame(credentials: Credentials) -> None:
    faults = (Fault(FaultKind.ABORT, connection=1, number=10),)
    async with running(credentials, faults=faults) as exchange:
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(ONE_BOOK)
            frames = await client.hear_until_closed()
            assert [each["seq"] for each in frames[1:]] == list(range(1, 11))
            assert client.close_code == 1006
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(ONE_BOOK)
            assert len(await client.hear(30)) == 30


async def test_a_closed_connection_ends_with_a_close_frame_behind_its_frame(credentials: Credentials) -> None:
    async with (
        running(credentials, faults=(Fault(FaultKind.CLOSE, connection=1, number=10),)) as exchange,
        connected(exchange.url, credentials.signer) as client,
    ):
        await client.say(ONE_BOOK)
        assert len(await client.hear_until_closed()) == 11
        assert client.close_code == 1011


async def test_a_muted_connection_stays_open_and_silent(credentials: Credentials) -> None:
    async with (
        running(credentials, faults=(Fault(FaultKind.MUTE, number=5),), ping_interval_s=0.01) as exchange,
        connected(exchange.url, credentials.signer) as client,
    ):
        await client.say(ONE_BOOK)
        await client.hear(6)
        with trio.move_on_after(0.2):
            pytest.fail(f"heard {await client.hear()}")
        assert client.close_code is None


async def test_faults_and_disconnects_can_be_asked_for_while_it_runs(credentials: Credentials) -> None:
    async with running(credentials) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(subscribe(1, *DEFAULT_TICKERS))
        frames = await client.hear(20)
        assert exchange.inject(FaultKind.DROP) == 1
        # What was on its way when the fault was asked for comes first.
        while gapless([each for each in frames if each.get("sid") == 1]):
            frames += await client.hear(50)
        await exchange.disconnect()
        await client.hear_until_closed()
        assert client.close_code == 1001


async def test_a_ping_behind_our_close_frame_harms_only_its_own_connection(credentials: Credentials) -> None:
    # A goodbye that waited for the peer's close frame would last longer than this test may.
    async with running(credentials, goodbye_s=3 * LIMIT_S) as exchange:
        stream = await raw_subscriber(exchange, credentials)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(exchange.disconnect)
            received = b""
            while not received.endswith(b"\x88\x0d\x03\xe9maintenance"):
                received += await stream.receive_some()
            await stream.send_all(b"\x89\x80\0\0\0\0")  # a ping, masked with zeros
            assert await stream.receive_some() == b""
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(ONE_BOOK)
            assert (await client.hear())[0]["type"] == "subscribed"


async def test_a_disconnect_waits_for_nobody_who_does_not_read(credentials: Credentials) -> None:
    async with running(credentials, rate=20_000.0, goodbye_s=0.2) as exchange:
        stream = await raw_subscriber(exchange, credentials)
        async with stream:
            while exchange.statistics().connections == 0 or exchange.statistics().sent_frames < 100:  # noqa: ASYNC110  (seen from outside)
                await trio.sleep(0.01)
            await exchange.disconnect()
            assert exchange.statistics().connections == 0


@pytest.mark.parametrize(
    "nonsense", [b"\x81\x05hello", b"\xff\xff\xff\xff", b"\x82\x80\0\0\0\0", b"\x81\x81\0\0\0\0\xff"]
)
async def test_a_peer_that_breaks_the_websocket_protocol_harms_only_itself(
    credentials: Credentials, nonsense: bytes
) -> None:
    async with running(credentials, goodbye_s=0.2) as exchange:
        stream = await raw_subscriber(exchange, credentials)
        async with stream, connected(exchange.url, credentials.signer) as client:
            await stream.send_all(nonsense)
            await client.say(ONE_BOOK)
            assert gapless(await client.hear(300))
