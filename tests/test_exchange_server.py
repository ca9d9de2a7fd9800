"""The local venue over a real socket: who may connect, what arrives, how it ends."""

import math
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio_websocket
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rlflow.exchange.config import DEFAULT_TICKERS, Address, ExchangeConfig, describe_environment
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.server import Exchange, serve
from rlflow.exchange.wire.conversation import Limits
from rlflow.kalshi.auth import Signer
from tests.exchange_client import LIMIT_S, command, connected, gapless, raw_subscriber, running, subscribe
from tests.oracle import replay


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_a_signed_client_gets_books_and_their_changes(tmp_path: Path, kind: Any) -> None:
    credentials = load_or_make_credentials(tmp_path, kind)
    async with running(credentials) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(subscribe(1, *DEFAULT_TICKERS))
        frames = await client.hear(300)
        assert [each["type"] for each in frames[:5]] == ["subscribed"] * 2 + ["orderbook_snapshot"] * 3
        assert "orderbook_delta" in {each["type"] for each in frames[5:]} <= {"orderbook_delta", "trade"}
        assert gapless(frames)
        assert exchange.statistics().connections == 1


async def test_two_clients_see_the_same_changes_with_the_same_clocks(credentials: Credentials) -> None:
    async with (
        running(credentials) as exchange,
        connected(exchange.url, credentials.signer) as first,
        connected(exchange.url, credentials.signer) as second,
    ):
        changes: list[dict[tuple[int, str, str], str]] = []
        for client in (first, second):
            await client.say(subscribe(1, DEFAULT_TICKERS[0], channels=["orderbook_delta"]))
        for client in (first, second):
            msgs = [each["msg"] for each in (await client.hear(200))[2:]]
            changes.append({(msg["clock"], msg["side"], msg["price_dollars"]): msg["delta_fp"] for msg in msgs})
        shared = changes[0].keys() & changes[1].keys()
        assert len(shared) > 100
        assert all(changes[0][key] == changes[1][key] for key in shared)


async def test_a_snapshot_asked_for_continues_the_stream_exactly(credentials: Credentials) -> None:
    async with running(credentials) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(subscribe(1, *DEFAULT_TICKERS, channels=["orderbook_delta"]))
        frames = await client.hear(50)
        ask = command(2, "update_subscription", action="get_snapshot", sid=1, market_ticker=DEFAULT_TICKERS[0])
        await client.say(ask)
        while frames[-1].get("id") != 2:
            frames += await client.hear()
        followed = replay(frames[:-1])[DEFAULT_TICKERS[0]]
        asked_for = replay(frames[-1:])[DEFAULT_TICKERS[0]]
        assert (followed.yes, followed.no) == (asked_for.yes, asked_for.no)
        clock = frames[-1]["msg"]["clock"]
        later = [each["msg"] for each in await client.hear(100)]
        assert all(msg["clock"] > clock for msg in later if msg["market_ticker"] == DEFAULT_TICKERS[0])


def _other_signer(credentials: Credentials, tmp_path: Path) -> Signer:
    return attrs.evolve(credentials.signer, key=load_or_make_credentials(tmp_path, "ed25519").key)


async def test_refusals_have_the_venues_status_and_body(credentials: Credentials, tmp_path: Path) -> None:
    stranger = attrs.evolve(credentials.signer, key_id="nobody")
    forger = _other_signer(credentials, tmp_path)
    cases: list[tuple[Signer | None, dict[str, Any], int, bytes]] = [
        (None, {}, 401, b'"code":"signature_is_missing_from_headers"'),
        (stranger, {}, 401, b'"details":"NOT_FOUND"'),
        (forger, {}, 401, b'"details":"INCORRECT_API_KEY_SIGNATURE"'),
        (credentials.signer, {"now_ms": 1_700_000_000_000}, 401, b'"code":"header_timestamp_expired"'),
        (credentials.signer, {"path": "/trade-api/ws/v3"}, 404, b'"code":"not_found"'),
    ]
    async with running(credentials) as exchange:
        for signer, options, status, body in cases:
            with pytest.raises(trio_websocket.ConnectionRejected) as refused:
                async with connected(exchange.url, signer, **options):
                    pass
            assert refused.value.status_code == status
            assert body in (refused.value.body or b"")
        assert (exchange.statistics().refused, exchange.statistics().accepted) == (5, 0)


@pytest.mark.parametrize(("off_by_s", "is_welcome"), [(-14, True), (14, True), (-16, False), (16, False)])
async def test_a_signature_may_be_fifteen_seconds_off(
    credentials: Credentials, off_by_s: int, is_welcome: bool
) -> None:
    exchange_ns = 1_800_000_000_000_000_000
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            exchange: Exchange = await nursery.start(_serve_at, ExchangeConfig(credentials.public_keys), exchange_ns)
            try:
                async with connected(
                    exchange.url, credentials.signer, now_ms=exchange_ns // 1_000_000 + off_by_s * 1000
                ):
                    assert is_welcome
            except trio_websocket.ConnectionRejected:
                assert not is_welcome
            nursery.cancel_scope.cancel()


async def _serve_at(config: ExchangeConfig, now_ns: int, *, task_status: trio.TaskStatus[Exchange]) -> None:
    await serve(config, now_ns=lambda: now_ns, task_status=task_status)


async def test_what_is_no_upgrade_is_answered_and_harms_nobody(credentials: Credentials) -> None:
    async with running(credentials) as exchange:
        for request, beginning in (
            (b"GET /trade-api/v2/markets HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
            (b"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 404"),
            (b"\x16\x03\x01 nonsense\r\n\r\n", b"HTTP/1.1 400"),
            (b"", b""),
        ):
            stream = await trio.open_tcp_stream(exchange.host, exchange.port)
            async with stream:
                await stream.send_all(request)
                await stream.send_eof()
                answer = b"".join([chunk async for chunk in stream])
                assert answer.startswith(beginning)
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(subscribe(1, DEFAULT_TICKERS[0]))
            assert (await client.hear())[0]["type"] == "subscribed"


async def test_cancelling_the_exchange_closes_connections_properly(credentials: Credentials) -> None:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as clients:
            codes: list[int | None] = []
            async with trio.open_nursery() as nursery:
                config = ExchangeConfig(credentials.public_keys, rate=2_000)
                exchange: Exchange = await nursery.start(serve, config)
                for _ in range(3):
                    await clients.start(_listen_to_the_end, exchange.url, credentials.signer, codes)
                nursery.cancel_scope.cancel()
        assert codes == [1001, 1001, 1001]


async def _listen_to_the_end(
    url: str, signer: Signer, codes: list[int | None], *, task_status: trio.TaskStatus[None]
) -> None:
    async with connected(url, signer) as client:
        await client.say(subscribe(1, *DEFAULT_TICKERS))
        await client.hear(20)
        task_status.started()
        await client.hear_until_closed()
        codes.append(client.close_code)


async def test_a_peer_that_sleeps_does_not_hold_up_the_end(credentials: Credentials) -> None:
    async with running(credentials, rate=math.inf, goodbye_s=0.2) as exchange:
        raw = await raw_subscriber(exchange, credentials)
        await _wait_until_stuck(exchange)
    await raw.aclose()


async def _wait_until_stuck(exchange: Exchange) -> None:
    """Wait until the exchange has sent what the sockets take."""
    sent = -1
    while exchange.statistics().sent_frames != sent or sent <= 0:
        sent = exchange.statistics().sent_frames
        await trio.sleep(0.1)


async def test_who_does_not_read_gets_error_25_and_the_market_goes_on(credentials: Credentials) -> None:
    async with running(credentials, rate=20_000.0, limits=Limits(queued_frames=500)) as exchange:
        sleeper = await raw_subscriber(exchange, credentials)
        async with connected(exchange.url, credentials.signer) as client:
            await client.say(subscribe(1, DEFAULT_TICKERS[0]))
            await client.hear(3)
            while exchange.statistics().slow_consumer_errors == 0:
                await client.hear(100)
            assert (await client.hear())[0]["type"] in {"orderbook_delta", "trade"}
        await sleeper.aclose()


async def test_a_source_without_a_rate_waits_for_its_reader(credentials: Credentials) -> None:
    limits = Limits(queued_frames=10)
    async with (
        running(credentials, rate=math.inf, limits=limits) as exchange,
        connected(exchange.url, credentials.signer) as client,
    ):
        await client.say(subscribe(1, *DEFAULT_TICKERS))
        await client.hear(5)
        await _wait_until_stuck(exchange)
        frames = await client.hear(3_000)
        assert gapless(frames)
        assert not any(each["type"] == "error" for each in frames)


async def test_pings_carry_heartbeat_and_are_answered(credentials: Credentials) -> None:
    async with running(credentials, ping_interval_s=0.02, pong_limit_s=5, rate=0.001) as exchange:
        stream = _RecordingStream(await trio.open_tcp_stream(exchange.host, exchange.port))
        signed = credentials.signer.headers("GET", "/trade-api/ws/v2", time.time_ns() // 1_000_000)
        async with trio.open_nursery() as nursery:
            await trio_websocket.wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # any stream will do
                "x",
                "/trade-api/ws/v2",
                extra_headers=[(n.encode(), v.encode()) for n, v in signed],
            )
            await stream.heartbeats.wait()
            nursery.cancel_scope.cancel()
        await stream.aclose()


class _RecordingStream(trio.abc.Stream):
    """Keeps what it received, and says when there were three pings among it."""

    def __init__(self, transport: trio.SocketStream) -> None:
        self._transport = transport
        self.heartbeats = trio.Event()
        self._received = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._transport.receive_some(max_bytes)
        self._received += data
        if self._received.count(b"\x89\x09heartbeat") >= 3:
            self.heartbeats.set()
        return data

    async def aclose(self) -> None:
        await self._transport.aclose()


async def test_a_connection_without_pongs_is_dropped(credentials: Credentials) -> None:
    async with running(credentials, ping_interval_s=0.01, pong_limit_s=0.05) as exchange:
        silent = await raw_subscriber(exchange, credentials)
        async with silent:
            with suppress(trio.BrokenResourceError):
                [chunk async for chunk in silent]


async def test_a_ping_of_the_clients_is_answered(credentials: Credentials) -> None:
    async with running(credentials) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.websocket.ping(b"hello")


async def test_it_speaks_tls(credentials: Credentials, tmp_path: Path) -> None:
    server, trusting = _tls_contexts(tmp_path)
    async with running(credentials, tls=server) as exchange:
        assert exchange.url.startswith("wss://127.0.0.1:")
        async with connected(exchange.url, credentials.signer, tls=trusting) as client:
            await client.say(subscribe(1, *DEFAULT_TICKERS))
            assert gapless(await client.hear(500))
        with pytest.raises(trio.BrokenResourceError):
            async with connected(exchange.url, credentials.signer, tls=ssl.create_default_context()):
                pass


def _tls_contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a certificate for 127.0.0.1, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    pem = directory / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=certificate.decode())


def test_the_environment_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "a key.pem"
    text = describe_environment(Address("127.0.0.1", 4711), key_id="id", private_key_path=path, tickers=("A", "B"))
    assert text.splitlines() == [
        "KALSHI_API_KEY_ID=id",
        f"KALSHI_PRIVATE_KEY_PATH='{path}'",
        "KALSHI_WS_URL=ws://127.0.0.1:4711/trade-api/ws/v2",
        "KALSHI_API_URL=http://127.0.0.1:4711/trade-api/v2",
        "RL_MARKET_TICKER=A,B",
    ]


def test_a_key_pair_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = load_or_make_credentials(tmp_path / "new", "ed25519")
    second = load_or_make_credentials(tmp_path / "new")
    assert (first.key_id, first.private_key_path) == (second.key_id, second.private_key_path)
    assert first.private_key_path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["exchange_key.pem"]
