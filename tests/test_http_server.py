"""The HTTP server over a real socket: what clients do that a test client never does."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from rlflow.config import Settings
from rlflow.supervisor import http
from tests.test_api import World

FORM = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
FLUSH = b"POST /rl/admin/flush HTTP/1.1\r\n" + FORM
REFUSED = FLUSH.replace(b"localhost", b"evil.example")


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Serve on a free port and yield it; in the end the server has a second to stop."""
    listener = http.bind(Settings.from_environ({"RL_PORT": "0"}))
    port = listener.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.serve_http, World().app(), listener, stop)
            yield port
            stop.set()


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Return the status line of one answer, read whole."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        assert chunk, "closed before an answer"
        data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some()
    return head.split(b"\r\n")[0]


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


@pytest.mark.parametrize("sent", [b"", b"GET /rl/hea", b"GET /rl/health HTTP/1.1\r\nHost: x\r\n\r\n"])
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
            b"GET /rl/health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
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
                    client.send(b"GET /rl/status HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
            clients.append(client)
        await trio.sleep(0.1)
    for client in clients:
        client.close()
