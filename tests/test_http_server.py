"""The HTTP server over a real socket: what clients do that a test client never does."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import MockClock, memory_stream_pair

from rlflow.config import Settings
from rlflow.errors import SettingsError
from rlflow.supervisor import http
from rlflow.supervisor.http_connections import Client, Clients
from tests.test_api import World

FORM = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
FLUSH = b"POST /rl/admin/flush HTTP/1.1\r\n" + FORM
HEALTH = b"GET /rl/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
REFUSED = FLUSH.replace(b"localhost", b"evil.example")


@asynccontextmanager
async def serving(app: QuartTrio | None = None) -> AsyncIterator[int]:
    """Serve on a free port and yield it; in the end the server has some seconds to stop."""
    listener = http.bind(Settings.from_environ({"RL_PORT": "0"}))
    port = listener.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.serve_http, app or World().app(), listener, stop)
            yield port
            stop.set()


async def read_head(stream: trio.SocketStream) -> bytes:
    """Return the status line and headers of one answer, read whole, in lower case."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        assert chunk, "closed before an answer"
        data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    head = head.lower()
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some()
    return head


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Return the status line of one answer, read whole."""
    return (await read_head(stream)).split(b"\r\n")[0]


async def ask(port: int, request: bytes = HEALTH) -> bytes:
    """Return the head of the answer to one request on a connection of its own."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        return await read_head(stream)


@pytest.mark.parametrize("status", [200, 403])
async def test_a_connection_goes_on_after_every_answer_however_the_body_arrives(status: int) -> None:
    head = FLUSH if status == 200 else REFUSED
    async with serving() as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        for turns in range(20):
            await stream.send_all(head)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            await stream.send_all(b"{}")
            assert f" {status} ".encode() in await read_answer(stream)
        await stream.aclose()


async def test_a_body_that_does_not_end_is_answered_and_its_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.api.app.BODY_LIMIT_S", 0.1)
    async with serving() as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(FLUSH + b"{")
        assert b" 408 " in await read_answer(stream)
        assert await stream.receive_some() == b""
        await stream.aclose()


@pytest.mark.parametrize("sent", [b"", b"GET /rl/hea", b"GET /rl/health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_connection_left_alone_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.1)
    async with serving() as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(sent)
        while await stream.receive_some():
            pass
        await stream.aclose()


async def test_an_upgrade_where_there_is_no_websocket_is_refused() -> None:
    async with serving() as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(
            b"GET /rl/health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 400 " in await read_answer(stream)
        await stream.aclose()


async def test_clients_that_never_read_do_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "USER_TIMEOUT_MS", 500)
    clients = []
    async with serving() as port:
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", port))
            client.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    client.send(b"GET /rl/status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            clients.append(client)
        await trio.sleep(0.1)
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEALTH, 200),
        (HEALTH.replace(b"health", b"nothing"), 404),
        (HEALTH.replace(b"localhost", b"evil.example"), 403),
        (HEALTH.replace(b"GET", b"DELETE"), 405),
        (HEALTH.replace(b"GET /rl/health", b"POST /rl/admin/flush"), 415),
        (b"this is no HTTP\r\n\r\n", 400),
        (HEALTH.replace(b"Host: localhost\r\n", b""), 400),
        (HEALTH.replace(b"Host", b"X: " + b"x" * 100_000 + b"\r\nHost"), 431),
        (HEALTH.replace(b"localhost", b"["), 403),
    ],
)
async def test_every_answer_has_the_security_headers_and_names_no_server(request_: bytes, status: int) -> None:
    async with serving() as port:
        head = await ask(port, request_)
    assert head.startswith(b"http/1.1 %d" % status)
    for name, value in http.SECURITY_HEADERS:
        assert head.count(name + b": " + value.lower()) == 1, name
    assert b"hypercorn" not in head


async def test_when_there_is_no_room_the_quietest_client_goes_and_a_new_one_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MOST_CLIENTS", 3)
    async with serving() as port:
        clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        for client in (clients[1], clients[0], clients[2]):
            await client.send_all(HEALTH)
            await read_head(client)
        assert b" 200" in await ask(port)
        assert await clients[1].receive_some() == b""
        for client in (clients[0], clients[2]):
            await client.send_all(HEALTH)
            assert b" 200" in await read_head(client)
        for client in clients:
            await client.aclose()


async def test_a_client_that_reads_a_little_now_and_then_does_not_hold_up_the_stop() -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with serving() as port:
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                client.send(HEALTH.replace(b"health", b"status") * 1000)
        await trio.sleep(0.1)
        with suppress(BlockingIOError):
            client.recv(100)
        began = trio.current_time()
    assert trio.current_time() - began < http.GRACE_S + 2
    client.close()


async def test_a_websocket_is_opened_only_by_pages_of_this_service() -> None:
    app = World().app()

    @app.websocket("/rl/test")
    async def answer() -> None:
        await websocket.accept()

    async def status(*headers: bytes) -> bytes:
        lines = b"".join(header + b"\r\n" for header in headers)
        head = await ask(port, b"GET /rl/test HTTP/1.1\r\n" + UPGRADE + lines + b"\r\n")
        return head.split()[1]

    async with serving(app) as port:
        assert await status(b"Host: localhost", b"Origin: http://evil.example") == b"403"
        assert await status(b"Host: localhost", b"Origin: null") == b"403"
        assert await status(b"Host: evil.example") == b"403"
        assert await status(b"Host: evil.example", b"Origin: http://evil.example") == b"403"
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        good = b"GET /rl/test HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:8001\r\n"
        await stream.send_all(good + UPGRADE + b"\r\n")
        assert b" 101 " in await stream.receive_some()
        await stream.aclose()


async def test_an_error_in_the_server_costs_one_connection_and_not_the_recording() -> None:
    async def fail(_client: Client) -> None:
        raise AssertionError

    ours, theirs = trio.socket.socketpair()
    with trio.fail_after(5):
        await Clients(fail, 1).handle(trio.SocketStream(ours))
        assert await theirs.recv(1) == b""
    theirs.close()


async def test_who_says_a_byte_at_a_time_is_not_read_a_byte_at_a_time(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    client, began = Client(cast(trio.SocketStream, ours)), trio.current_time()
    for _ in range(240):
        await theirs.send_all(b"x")
        assert await client.receive_some() == b"x"
    assert trio.current_time() - began == pytest.approx(10)
    await trio.sleep(60)
    began = trio.current_time()
    for _ in range(40):
        await theirs.send_all(b"x")
        await client.receive_some()
    assert trio.current_time() == began


def test_an_address_that_turns_out_to_be_public_is_not_listened_on_without_the_token() -> None:
    """As when a name, localhost for one, leads elsewhere than its owner thinks."""
    local = Settings.from_environ({"RL_PORT": "0"})
    with pytest.raises(SettingsError, match="RL_ADMIN_TOKEN"):
        http.bind(attrs.evolve(local, host="0.0.0.0"))
    http.bind(attrs.evolve(local, host="0.0.0.0", admin_token="t")).close()
    http.bind(attrs.evolve(local, host="localhost")).close()


PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            HEALTH,
            FLUSH,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            UPGRADE,
            b"GET /rl/health HTTP/1.1\r\nHost: localhost\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Expect: 100-continue\r\n\r\n",
            b"\r\n\r\n",
        ]
    ),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=6), min_size=1, max_size=8))
async def test_nothing_that_a_client_sends_ends_the_server(conversations: list[list[bytes]]) -> None:
    async with serving() as port:
        for pieces in conversations:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            with suppress(trio.BrokenResourceError), trio.move_on_after(0.02):
                for piece in pieces:
                    await stream.send_all(piece)
                await stream.receive_some()
            await trio.aclose_forcefully(stream)
        assert b" 200" in await ask(port)
