import itertools
from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event, Message, Pong, TextMessage

from rlflow.data.feed.frame_splitter import FrameSplitter
from rlflow.data.feed.tap import TapStream
from tests.raw_venue import BINARY, CLOSE, PING, PONG, TEXT, Peer, accept, close_frame, frame

LIMIT = 2**16
FIRST_FRAGMENT, CONTINUATION, LAST_FRAGMENT = 0x01, 0x00, 0x80


@attrs.define
class Heard:
    """What a client understands of a stream of bytes."""

    messages: list[bytes] = attrs.Factory(list)
    others: list[Event] = attrs.Factory(list)
    unfinished: bytes = b""

    def hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                self.others.append(event)
                continue
            self.unfinished += event.data.encode() if isinstance(event, TextMessage) else event.data
            if event.message_finished:
                self.messages.append(self.unfinished)
                self.unfinished = b""


def understood_by_wsproto(stream: bytes) -> Heard:
    heard, protocol = Heard(), Connection(ConnectionType.CLIENT)
    protocol.receive_data(stream)
    heard.hear(list(protocol.events()))
    return heard


def understood_by_splitter(pieces: Sequence[bytes]) -> Heard:
    """Splitter for whole text frames, wsproto for what the splitter leaves."""
    heard, protocol, splitter = Heard(), Connection(ConnectionType.CLIENT), FrameSplitter(LIMIT)
    for piece in pieces:
        frames, others = splitter.feed(piece)
        assert not heard.unfinished or not frames, "a text frame overtook a message that the library has begun"
        heard.messages += frames
        for other in others:
            protocol.receive_data(other)
            heard.hear(list(protocol.events()))
    return heard


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges) if a < b]


def assert_same(heard: Heard, expected: Heard) -> None:
    assert heard.messages == expected.messages
    # A text frame that never ends is held by the splitter and half understood by wsproto: nothing in either case.
    assert [str(event) for event in heard.others] == [str(event) for event in expected.others]


texts = st.one_of(st.text(max_size=40), st.sampled_from([0, 1, 124, 125, 126, 127, 300]).map(lambda n: "x" * n))
text_frames = texts.map(lambda text: frame(text.encode()))
big_frames = st.sampled_from([65_534, 65_535, 65_536, LIMIT + 1]).map(lambda n: frame(b"y" * n))
controls = st.builds(frame, st.binary(max_size=125), st.sampled_from([PING, PONG]))


@st.composite
def fragmented(draw: st.DrawFn) -> bytes:
    """A message in pieces, with control frames in between; text may be cut inside a character."""
    data = draw(st.text(max_size=20)).encode()
    pieces = cut(data, draw(st.lists(st.integers(0, 100), max_size=3))) or [b""]
    kinds = [FIRST_FRAGMENT] + [CONTINUATION] * len(pieces)
    stream = b"".join(
        frame(piece, kind) + draw(st.one_of(st.just(b""), controls)) for piece, kind in zip(pieces, kinds, strict=False)
    )
    return stream + frame(b"", LAST_FRAGMENT)


unusual = st.one_of(
    fragmented(),
    st.binary(max_size=10).map(lambda data: frame(data, BINARY)),
    st.sampled_from([1000, 1001, 4000]).map(close_frame),
    st.just(frame(b"", CLOSE)),
)
illegal = st.one_of(
    st.sampled_from([0xC1, 0xA1, 0x91, 0x83, 0x8B, 0x80, 0x09, 0xC9]).map(lambda first: frame(b"abc", first)),
    st.just(frame(b"", CLOSE, mask_bit=0x80) + b"mask"),
    st.just(frame(b"masked", mask_bit=0x80)),
    st.just(bytes((TEXT, 126, 0, 125)) + b"z" * 125),
    st.just(bytes((TEXT, 127)) + (65_535).to_bytes(8, "big") + b"z" * 65_535),
    st.just(bytes((TEXT, 127)) + (2**63).to_bytes(8, "big")),
    st.just(bytes((PING, 126, 0, 126)) + b"z" * 126),
)
streams = st.lists(
    st.one_of(text_frames, text_frames, text_frames, controls, big_frames, unusual, illegal), max_size=12
).map(b"".join)
ordinary_streams = st.lists(st.one_of(text_frames, controls), max_size=12).map(b"".join)


@given(stream=streams, places=st.lists(st.integers(0, 10**6), max_size=12), lost=st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_any_stream_cut_anywhere_is_understood_as_by_wsproto(stream: bytes, places: list[int], lost: int) -> None:
    stream = stream[: len(stream) - lost]
    assert_same(understood_by_splitter(cut(stream, places)), understood_by_wsproto(stream))


@given(stream=streams.filter(lambda stream: len(stream) < 1500))
@settings(max_examples=25, deadline=None)
def test_every_cut_of_a_stream_is_understood_as_by_wsproto(stream: bytes) -> None:
    expected = understood_by_wsproto(stream)
    for place in range(len(stream) + 1):
        assert_same(understood_by_splitter(cut(stream, [place])), expected)
    assert_same(understood_by_splitter([stream[i : i + 1] for i in range(len(stream))]), expected)


@given(stream=ordinary_streams, places=st.lists(st.integers(0, 10**6), max_size=12))
@settings(deadline=None)
def test_the_library_gets_control_frames_one_by_one_and_never_a_text_frame(stream: bytes, places: list[int]) -> None:
    splitter = FrameSplitter()
    others = [other for piece in cut(stream, places) for other in splitter.feed(piece)[1]]
    assert all(other[0] in (PING, PONG) and len(other) == 2 + other[1] for other in others)
    assert not splitter.is_pipe


def test_a_frame_over_the_limit_is_passed_on_from_its_header_without_being_held() -> None:
    splitter = FrameSplitter(LIMIT)
    assert splitter.feed(frame(b"last")) == ([b"last"], [])
    header = frame(b"z" * (LIMIT + 1))[:10]
    assert splitter.feed(header[:9]) == ([], [])
    assert splitter.feed(header[9:]) == ([], [header])
    assert splitter.is_pipe
    assert not splitter.has_closed


def test_a_long_frame_is_held_in_pieces_and_given_out_whole() -> None:
    splitter = FrameSplitter()
    long = frame(b"z" * 8 * 2**20)
    held = [splitter.feed(long[i : i + 1000]) for i in range(0, len(long), 1000)]
    assert held[-1] == ([long[10:]], [])
    assert all(answer == ([], []) for answer in held[:-1])


def test_what_follows_a_close_frame_is_no_data() -> None:
    splitter = FrameSplitter()
    frames, others = splitter.feed(frame(b"a") + close_frame(1001, "bye") + frame(b"b"))
    assert frames == [b"a"]
    assert others == [close_frame(1001, "bye"), frame(b"b")]
    assert (splitter.has_closed, splitter.close_code) == (True, 1001)


# The tap under the real library, over a stream in memory and a peer that says exactly what a test wants.


class Tapped:
    """A client connection over a tap, and the raw peer at its other end."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.frames: list[bytes] = []
        self.reads: list[int] = []
        self._nursery = nursery
        client, self.server = trio.testing.memory_stream_pair()
        self.tap = TapStream(client)
        self.websocket: WebSocketConnection

    async def open(self, behind: bytes = b"") -> Peer:
        peers: list[Peer] = []

        async def serve() -> None:
            peers.append(await accept(self.server, behind))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            self.websocket = await wrap_client_stream(self._nursery, self.tap, "localhost", "/")  # type: ignore[arg-type]
        self.tap.start(self._take)
        return peers[0]

    def _take(self, frames: list[bytes]) -> None:
        self.frames += frames
        self.reads.append(len(frames))


@pytest.fixture
def tapped(nursery: trio.Nursery) -> Tapped:
    return Tapped(nursery)


async def test_frames_of_one_read_are_handed_over_together(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(frame(b"one"), frame(b"two"), frame(b"th"))
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.reads == [3]
    assert tapped.frames == [b"one", b"two", b"th"]


async def test_frames_that_come_with_the_handshake_wait_for_the_start(tapped: Tapped, nursery: trio.Nursery) -> None:
    async def serve() -> None:
        await accept(tapped.server, frame(b"early"))

    nursery.start_soon(serve)
    await wrap_client_stream(nursery, tapped.tap, "localhost", "/")  # type: ignore[arg-type]
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.frames == []
    tapped.tap.start(tapped._take)
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.frames == [b"early"]


async def test_a_handshake_that_comes_byte_by_byte_is_passed_through(nursery: trio.Nursery) -> None:
    client, server = trio.testing.memory_stream_pair()

    class OneByteAtATime(trio.abc.ReceiveStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            return await client.receive_some(min(max_bytes or 1, 1))

        async def aclose(self) -> None:
            await client.receive_stream.aclose()

    async def serve() -> None:
        await accept(server, frame(b"behind") + frame(b"it"))

    nursery.start_soon(serve)
    tap, frames = TapStream(trio.StapledStream(client.send_stream, OneByteAtATime())), list[bytes]()
    await wrap_client_stream(nursery, tap, "localhost", "/")  # type: ignore[arg-type]
    tap.start(frames.extend)
    await trio.testing.wait_all_tasks_blocked()
    assert frames == [b"behind", b"it"]


async def test_pings_between_frames_are_answered_by_the_library(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(frame(b"a"), frame(b"heartbeat", PING), frame(b"b"), frame(b"again", PING), frame(b"c"))
    with trio.fail_after(5):
        assert await peer.receive() == Pong(payload=b"heartbeat")
        assert await peer.receive() == Pong(payload=b"again")
    assert tapped.frames == [b"a", b"b", b"c"]


async def test_a_fragmented_message_and_all_behind_it_come_by_the_library_in_order(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(
        frame(b"a"), frame(b"b", FIRST_FRAGMENT), frame(b"heartbeat", PING), frame(b"b", LAST_FRAGMENT), frame(b"c")
    )
    with trio.fail_after(5):
        assert [await tapped.websocket.get_message() for _ in range(2)] == ["bb", "c"]
        assert await peer.receive() == Pong(payload=b"heartbeat")
    assert tapped.frames == [b"a"]


async def test_a_plain_pipe_passes_on_single_bytes_of_a_ping(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(frame(b"b", FIRST_FRAGMENT))
    for i in range(4):
        await peer.send(frame(b"hi", PING)[i : i + 1])
        await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(5):
        assert await peer.receive() == Pong(payload=b"hi")


async def test_the_peers_close_ends_the_connection_behind_its_last_frame(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(frame(b"last"), close_frame(1001, "going away"), frame(b"not data"))
    with trio.fail_after(5), pytest.raises(ConnectionClosed) as caught:
        await tapped.websocket.get_message()
    assert caught.value.reason is not None
    assert (caught.value.reason.code, caught.value.reason.reason) == (1001, "going away")
    assert tapped.frames == [b"last"]
    assert tapped.tap.splitter.close_code == 1001
    assert isinstance(await peer.receive(), CloseConnection)


async def test_frames_and_pings_between_our_close_and_the_peers_are_taken(tapped: Tapped) -> None:
    peer = await tapped.open()

    async def close_late() -> None:
        assert isinstance(await peer.receive(), CloseConnection)
        await peer.send(frame(b"late"), frame(b"heartbeat", PING), frame(b"heartbeat", PING), frame(b"later"))
        await peer.send(frame(b"heartbeat", PING), close_frame(1000))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_late)
            tapped.tap.expect_close()
            await tapped.websocket.aclose()
    assert tapped.frames == [b"late", b"later"]
    assert tapped.tap.splitter.close_code == 1000


async def test_pings_that_wait_before_the_peers_close_are_kept_from_the_library_once_we_close(tapped: Tapped) -> None:
    peer = await tapped.open()
    await peer.send(frame(b"first", PING), frame(b"second", PING), frame(b"third", PING))
    await peer.send(close_frame(1000))
    with trio.fail_after(5):
        tapped.tap.expect_close()
        await tapped.websocket.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.websocket.closed is not None


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching"])
async def test_a_line_that_ends_within_the_handshake_is_an_error_and_no_wait(answer: bytes) -> None:
    client, server = trio.testing.memory_stream_pair()
    await server.send_all(answer)
    await server.send_stream.aclose()
    with trio.fail_after(5), pytest.RaisesGroup(HandshakeError):
        async with trio.open_nursery() as nursery:
            await wrap_client_stream(nursery, TapStream(client), "localhost", "/")  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [b"content-length: 4\r\n", b"connection: close\r\n", b""])
async def test_a_refusal_is_told_with_status_and_body_whether_the_body_has_a_length_or_not(head: bytes) -> None:
    client, server = trio.testing.memory_stream_pair()
    await server.send_all(b"HTTP/1.1 401 Unauthorized\r\n" + head + b"\r\nbody")
    await server.send_stream.aclose()

    def is_told(error: ConnectionRejected) -> bool:
        return (error.status_code, bytes(error.body or b"")) == (401, b"body")

    with trio.fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(ConnectionRejected, check=is_told)):
        async with trio.open_nursery() as nursery:
            await wrap_client_stream(nursery, TapStream(client), "localhost", "/")  # type: ignore[arg-type]


async def test_the_last_byte_is_timed_whatever_it_belongs_to(
    autojump_clock: trio.testing.MockClock, tapped: Tapped
) -> None:
    peer = await tapped.open()
    await trio.sleep(10)
    await peer.send(frame(b"heartbeat", PING))
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.tap.last_byte_at == trio.current_time()
    await trio.sleep(5)
    await peer.send(b"\x81")
    await trio.testing.wait_all_tasks_blocked()
    assert tapped.tap.last_byte_at == trio.current_time()
    assert tapped.frames == []


async def test_after_a_send_that_was_cut_short_nothing_goes_out() -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    tap = TapStream(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap.send_all, b"half a frame")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await tap.send_all(b"a whole one")
