import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.data.tls import TLSStream, verifying_context
from tests.raw_venue import loopback_authority

Staple: TypeAlias = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


@asynccontextmanager
async def tls_pair(
    *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[tuple[TLSStream, trio.SSLStream[Staple], Staple]]:
    """Our client and Trio's server after the handshake, and the transport under the server."""
    authority = loopback_authority(version)
    below_client, below_server = trio.testing.memory_stream_pair()
    server = trio.SSLStream(below_server, authority.server, server_side=True, https_compatible=True)
    client = TLSStream(below_client, authority.client, "localhost")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            await client.do_handshake()
        yield client, server, below_server


both_versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@both_versions
async def test_one_read_returns_all_records_that_have_come(version: ssl.TLSVersion) -> None:
    async with tls_pair(version=version) as (client, server, _):
        for i in range(100):
            await server.send_all(b"%3d " % i)
        assert await client.receive_some() == b"".join(b"%3d " % i for i in range(100))


@both_versions
async def test_both_ways_at_once_bytes_arrive_unchanged(version: ssl.TLSVersion) -> None:
    data = bytes(range(256)) * 8_000

    async def read(stream: trio.abc.ReceiveStream, wanted: int) -> None:
        received = bytearray()
        while len(received) < wanted:
            received += await stream.receive_some()
        assert received == data

    async with tls_pair(version=version) as (client, server, _), trio.open_nursery() as nursery:
        nursery.start_soon(read, client, len(data))
        nursery.start_soon(read, server, len(data))
        nursery.start_soon(client.send_all, data)
        nursery.start_soon(server.send_all, data)


@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=5), limits=st.lists(st.integers(1, 50_000)))
@settings(max_examples=20, deadline=None)
def test_a_read_returns_no_more_than_asked_for_and_loses_nothing(sizes: list[int], limits: list[int]) -> None:
    async def run() -> None:
        sent = [bytes([i]) * size for i, size in enumerate(sizes)]
        async with tls_pair() as (client, server, below):
            for piece in sent:
                await server.send_all(piece)
            await below.send_stream.aclose()
            received, wanted = bytearray(), list(limits)
            while data := await client.receive_some(limit := wanted.pop() if wanted else None):
                assert limit is None or len(data) <= limit
                received += data
            assert received == b"".join(sent)

    trio.run(run)


async def test_data_that_comes_with_the_end_of_the_handshake_is_read_without_waiting() -> None:
    authority = loopback_authority()
    below_client, below_server = trio.testing.memory_stream_pair()
    server = trio.SSLStream(below_server, authority.server, server_side=True)
    client = TLSStream(below_client, authority.client, "127.0.0.1")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"at once")
            await client.do_handshake()
        assert await client.receive_some() == b"at once"


async def test_the_end_of_data_needs_no_goodbye() -> None:
    async with tls_pair() as (client, server, below):
        await server.send_all(b"last")
        await below.send_stream.aclose()
        assert await client.receive_some() == b"last"
        assert await client.receive_some() == b""
        assert await client.receive_some() == b""


async def test_a_goodbye_is_the_end_of_data() -> None:
    authority = loopback_authority()
    below_client, below_server = trio.testing.memory_stream_pair()
    server = trio.SSLStream(below_server, authority.server, server_side=True, https_compatible=False)
    client = TLSStream(below_client, authority.client, "localhost")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            await client.do_handshake()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            assert await client.receive_some() == b""


async def test_a_record_that_was_tampered_with_breaks_the_stream_behind_the_whole_ones_before_it() -> None:
    async with tls_pair() as (client, server, below):
        line, tape = below.send_stream, trio.testing.MemorySendStream()
        below.send_stream = tape
        await server.send_all(b"whole")
        await server.send_all(b"broken")
        sent = tape.get_data_nowait()
        sent[-1] ^= 1
        await line.send_all(sent)
        assert await client.receive_some() == b"whole"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="TLS"):
                await client.receive_some()


async def test_an_unknown_authority_is_refused_and_told_why() -> None:
    await assert_handshake_fails(verifying_context(), "localhost", "certificate|issuer")


async def test_another_host_name_is_refused_and_told_why() -> None:
    await assert_handshake_fails(loopback_authority().client, "example.com", "example.com")


async def assert_handshake_fails(context: ssl.SSLContext, host: str, why: str) -> None:
    below_client, below_server = trio.testing.memory_stream_pair()
    server = trio.SSLStream(below_server, loopback_authority().server, server_side=True)
    client = TLSStream(below_client, context, host)

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await server.receive_some()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(trio.BrokenResourceError, match=why) as caught:
                await client.do_handshake()
            await below_client.aclose()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


def test_the_environment_can_name_the_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = loopback_authority().ca_pem
    (tmp_path / "ca.pem").write_text(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert ssl.PEM_cert_to_DER_cert(authority) in verifying_context().get_ca_certs(binary_form=True)


@pytest.mark.parametrize("checks", ["nothing", "certificate"])
def test_a_context_that_does_not_verify_everything_is_refused(checks: str) -> None:
    context = verifying_context()
    context.check_hostname = False
    if checks == "nothing":
        context.verify_mode = ssl.CERT_NONE
    stream, _ = trio.testing.memory_stream_pair()
    with pytest.raises(ValueError, match="verify"):
        TLSStream(stream, context, "localhost")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_peer_that_does_not_speak_tls_is_a_broken_stream(answer: bytes) -> None:
    below_client, below_server = trio.testing.memory_stream_pair()
    await below_server.send_all(answer)
    await below_server.send_stream.aclose()
    with trio.fail_after(10), pytest.raises(trio.BrokenResourceError, match="TLS"):
        await TLSStream(below_client, loopback_authority().client, "localhost").do_handshake()


async def test_a_send_that_was_cut_short_stops_sending_but_not_receiving() -> None:
    below_client, below_server = trio.testing.lockstep_stream_pair()
    server = trio.SSLStream(below_server, loopback_authority().server, server_side=True)
    client = TLSStream(below_client, loopback_authority().client, "localhost")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"first")
            await client.do_handshake()
            assert await client.receive_some() == b"first"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"half a record")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"more")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"still heard")
            assert await client.receive_some() == b"still heard"


async def test_sends_that_overlap_go_out_whole_in_order() -> None:
    async with tls_pair() as (client, server, _):
        async with trio.open_nursery() as nursery:
            for i in range(20):
                nursery.start_soon(client.send_all, bytes([65 + i]) * 30_000)
        received = bytearray()
        while len(received) < 600_000:
            received += await server.receive_some()
        order = [chr(received[i]) for i in range(0, len(received), 30_000)]
        assert bytes(received) == b"".join(letter.encode() * 30_000 for letter in order)
        assert len(set(order)) == 20


async def test_closing_while_another_task_receives_wakes_it() -> None:
    async with tls_pair() as (client, _server, _), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
