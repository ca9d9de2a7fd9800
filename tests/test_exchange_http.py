"""HTTP of the local venue's REST interface on one connection: what is answered, and what is not waited for."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from rlflow.exchange.opening import asks_for_websocket, read_head
from rlflow.exchange.rest.http_server import MAX_BODY_BYTES, MAX_HEAD_BYTES, Heard, Waits, serve_http
from rlflow.exchange.rest.messages import Answer
from rlflow.exchange.stream import SharedStream

LIMIT_S = 20


def echo(heard: Heard) -> Answer:
    if heard.target == "/nothing":
        return Answer(204, None)
    return Answer(200, {"method": heard.method, "target": heard.target, "size": len(heard.body)})


@asynccontextmanager
async def served(waits: Waits | None = None) -> AsyncIterator[trio.abc.Stream]:
    """Serve the other end of the stream that is given; it is closed when the server has done."""
    ours, theirs = memory_stream_pair()

    async def serve() -> None:
        async with theirs:
            await serve_http(theirs, echo, waits or Waits())

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield ours
            await ours.aclose()


async def everything(stream: trio.abc.Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


def statuses(raw: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


async def test_one_connection_serves_many_requests_until_it_is_asked_to_close() -> None:
    async with served() as stream:
        await stream.send_all(
            b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /two HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            b"DELETE /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answer = await everything(stream)
        assert statuses(answer) == [200, 200, 204, 200]
        assert b'{"method":"POST","target":"/two","size":3}' in answer
        assert answer.index(b"/one") < answer.index(b"/two") < answer.index(b"/last")


async def test_a_request_may_come_in_pieces() -> None:
    async with served() as stream:
        request = b"POST /x?y=1 HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"
        for number in range(len(request)):
            await stream.send_all(request[number : number + 1])
        assert (await everything(stream)).endswith(b'{"method":"POST","target":"/x?y=1","size":2}')


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with served() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await stream.receive_some(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"ok")
        assert statuses(bytes(await stream.receive_some(1000))) == [200]


async def test_head_has_a_length_and_no_body() -> None:
    async with served() as stream:
        await stream.send_all(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await everything(stream)
        assert answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: 39" in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MAX_HEAD_BYTES, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
    ],
)
async def test_what_is_too_large_or_no_request_is_refused_and_ends_the_connection(
    autojump_clock: MockClock, request_bytes: bytes, status: int
) -> None:
    async with served() as stream:
        await stream.send_all(request_bytes)
        if status == 413:
            await stream.send_all(b"a" * (MAX_BODY_BYTES + 1))
        assert statuses(await everything(stream)) == [status]


async def test_silence_ends_the_connection(autojump_clock: MockClock) -> None:
    async with served(Waits(idle_s=12)) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(bytes(await stream.receive_some(1000))) == [200]
        began = trio.current_time()
        assert await stream.receive_some(1000) == b""
        assert trio.current_time() - began == pytest.approx(12)


@pytest.mark.parametrize("beginning", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_request_that_does_not_end_is_not_waited_for(autojump_clock: MockClock, beginning: bytes) -> None:
    async with served(Waits(idle_s=15, request_s=4)) as stream:
        await trio.sleep(9)
        await stream.send_all(beginning)
        assert await stream.receive_some(1000) == b""
        assert trio.current_time() == pytest.approx(13)


async def test_a_peer_that_leaves_in_the_middle_ends_it() -> None:
    async with served() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")


@pytest.mark.parametrize(
    ("head", "is_upgrade"),
    [
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nupgrade:WebSocket\r\nX: y\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nupgrade: websocket\r\n", False),
        (b"", False),
    ],
)
def test_an_upgrade_is_told_by_its_header(head: bytes, is_upgrade: bool) -> None:
    assert asks_for_websocket(head) is is_upgrade


async def test_the_first_bytes_are_heard_again_by_who_serves_them() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"GET / HTTP/1.1\r\n")
    await ours.send_all(b"Host: x\r\n\r\nrest")
    await ours.aclose()
    with trio.fail_after(LIMIT_S):
        head = await read_head(theirs)
        stream = SharedStream(theirs, head)
        assert await stream.receive_some(5) == head[:5]
        assert await stream.receive_some() == head[5:]
        assert await stream.receive_some() == b""
        assert stream.over.is_set()


async def test_a_head_without_an_end_is_not_read_for_ever() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"x" * 200_000)
    with trio.fail_after(LIMIT_S):
        assert len(await read_head(theirs)) <= 128 * 1024
