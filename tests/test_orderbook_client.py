"""Feeds against real websockets on loopback: the library's server, and one whose every byte a test decides."""

import itertools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket
from wsproto.events import CloseConnection, Event, Pong, TextMessage

from rlflow.data.backoff import Backoff
from rlflow.data.feed import conversation
from rlflow.data.feed.capture_log import CaptureLog
from rlflow.data.feed.connection import VenueAddress
from rlflow.data.orderbook_client import Admission, OrderbookClient
from rlflow.errors import FeedLostError, KeyRefusedError, Problem, SettingsError
from rlflow.kalshi.notices import BooksInvalid, BookValid, Notice
from rlflow.session.records import Batch, Closed, Kind, Opened
from tests.raw_venue import PING, Peer, accept, close_frame, frame, loopback_authority, raw_venue

FIRST_FRAGMENT, LAST_FRAGMENT = 0x01, 0x80
HEADERS = (("KALSHI-ACCESS-KEY", "key"), ("KALSHI-ACCESS-TIMESTAMP", "1"), ("KALSHI-ACCESS-SIGNATURE", "c2ln"))

tls_or_not = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@attrs.define
class MemoryJournal:
    """A journal that takes everything and keeps nothing."""

    end: int = 0

    def append(self, batch: Batch) -> Batch:
        start, self.end = self.end, self.end + 1
        return attrs.evolve(batch, start=start, end=self.end)


@attrs.define
class EchoCommander:
    """Says what it hears as commands, to be seen at the venue."""

    deadline: float | None = None
    missing: frozenset[str] = frozenset()
    too_many: int | None = None
    sids: Mapping[str, int] = attrs.Factory(dict)
    has_left: bool = False
    times: list[float] = attrs.Factory(list)

    def connected(self, now: float) -> list[bytes]:
        self.times.append(now)
        return [b'"subscribe"']

    def tell(self, notice: Notice, now: float) -> list[bytes]:
        self.times.append(now)
        if isinstance(notice, BooksInvalid):
            raise FeedLostError(notice.cause)
        assert isinstance(notice, BookValid)
        return [json.dumps(notice.ticker).encode()]

    def tick(self, now: float) -> list[bytes]:
        due = self.deadline is not None and now >= self.deadline
        self.deadline = None if due else self.deadline
        return [b'"tick"'] if due else []

    def next_deadline(self) -> float | None:
        return self.deadline

    def resnapshot(self, tickers: Sequence[str] | None, now: float) -> list[bytes]:
        self.times.append(now)
        if tickers == ["unknown"]:
            raise ValueError("not followed")
        return [json.dumps(["snapshot", *(tickers or ())]).encode()]

    def follow(self, tickers: Sequence[str], now: float) -> list[bytes]:
        self.times.append(now)
        return [json.dumps(["follow", *tickers]).encode()]

    def leave(self, now: float) -> list[bytes]:
        self.times.append(now)
        return [b'"leave"']


@attrs.define
class Books:
    """Stands for the books: hands out channels of notices, and keeps their other ends by capture."""

    channels: dict[UUID, trio.MemorySendChannel[Notice]] = attrs.Factory(dict)

    def listen(self, capture: UUID) -> trio.MemoryReceiveChannel[Notice]:
        self.channels[capture], receive = trio.open_memory_channel[Notice](10)
        return receive


class Feed:
    """A feed under test, with everything it needs, and what it recorded."""

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Sequence[tuple[str, str]]] = lambda: HEADERS,
        commander: EchoCommander | None = None,
        admission: Admission | None = None,
        silent_s: float = 25.0,
        close_s: float = 3.0,
        wait_s: float = 0.0,
    ) -> None:
        self.url = url
        self.send, self.receive = trio.open_memory_channel[Batch](10_000)
        self.books = Books()
        self.stop = trio.Event()
        self.client = OrderbookClient(
            url=url,
            headers=headers,
            make_commander=lambda: commander or EchoCommander(),
            capture_log=CaptureLog(MemoryJournal(), self.send),
            books=self.books,
            opened=lambda: Opened(url, "sim", tickers=("A",)),
            ssl_context=loopback_authority().client if url.startswith("wss:") else None,
            admission=admission,
            backoff=Backoff(first_s=wait_s, uniform=lambda _low, high: high),
            silent_s=silent_s,
            close_s=close_s,
        )

    async def run(self) -> None:
        await self.client.run(self.stop)

    async def next_batch(self, kind: Kind) -> Batch:
        """Return the next batch, which must be of this kind; frames of several reads become one batch."""
        batch = await self.receive.receive()
        assert batch.kind is kind, batch
        return batch

    async def next_closed(self) -> Closed:
        """Skip to the end of the capture."""
        while (batch := await self.receive.receive()).kind is not Kind.CLOSED:
            pass
        record = batch.local()
        assert isinstance(record, Closed)
        return record

    async def next_frames(self, count: int) -> list[bytes]:
        frames: list[bytes] = []
        while len(frames) < count:
            batch = await self.receive.receive()
            if batch.kind is Kind.FRAMES:
                frames += batch.frames
        return frames

    async def first_cause(self) -> str:
        """Wait for the first attempt to fail."""
        while (cause := self.client.statistics().last_cause) is None:  # noqa: ASYNC110  (seen from outside)
            await trio.sleep(0.001)
        return cause

    @property
    def notices(self) -> trio.MemorySendChannel[Notice]:
        """Where the connection that stands hears its notices."""
        capture = self.client.statistics().capture
        assert capture is not None
        return self.books.channels[capture]


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[Feed]:
    """Run a feed within 20 s; stop it at the end."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run)
            yield feed
            feed.stop.set()


Serve = Callable[[WebSocketConnection], Awaitable[None]]


@asynccontextmanager
async def library_venue(serve: Serve, *, tls: bool = False) -> AsyncIterator[str]:
    """A venue on the library's own server."""

    async def take(request: WebSocketRequest) -> None:
        websocket = await request.accept()
        with suppress(ConnectionClosed):
            await serve(websocket)

    context: ssl.SSLContext | None = loopback_authority().server if tls else None
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, take, "127.0.0.1", 0, context)
        yield f"{'wss' if tls else 'ws'}://localhost:{server.port}/trade-api/ws/v2"
        nursery.cancel_scope.cancel()


def once(*serves: Callable[[Peer], Awaitable[None]]) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """Serve the first connections in turn, each after its handshake; later ones are held open in silence."""
    turns = itertools.chain(serves, itertools.repeat(hold))

    async def serve(stream: trio.abc.Stream) -> None:
        await next(turns)(await accept(stream))

    return serve


async def hold(peer: Peer) -> None:
    while (event := await peer.receive()) is not None:
        if isinstance(event, CloseConnection):
            await peer.send(close_frame(event.code))
            return


# -- what is received -------------------------------------------------------------------------------------------------


@tls_or_not
async def test_frames_are_recorded_in_order_with_pings_and_big_frames_between_them(tls: bool) -> None:
    sent = [b'{"n":%d,"pad":"%s"}' % (i, b"x" * (300_000 if i % 50 == 7 else i)) for i in range(200)]
    ponged: list[bytes] = []

    async def serve(websocket: WebSocketConnection) -> None:
        assert await websocket.get_message() == '"subscribe"'
        for i, text in enumerate(sent):
            if i % 20 == 0:
                await websocket.ping(b"heartbeat %d" % i)
                ponged.append(b"heartbeat %d" % i)
            await websocket.send_message(text.decode())
        await websocket.get_message()

    async with library_venue(serve, tls=tls) as url, running(Feed(url)) as feed:
        opened = await feed.next_batch(Kind.OPENED)
        assert opened.local() == Opened(url, "sim", tickers=("A",))
        assert await feed.next_frames(200) == sent
        assert len(ponged) == 10
        feed.stop.set()
        assert await feed.next_closed() == Closed("stopped", 1000)


@tls_or_not
async def test_numbers_count_on_from_frames_to_the_closing_record(tls: bool) -> None:
    async def serve(websocket: WebSocketConnection) -> None:
        for i in range(30):
            await websocket.send_message(str(i))
        await websocket.aclose(1001, "maintenance")

    async with library_venue(serve, tls=tls) as url, running(Feed(url, wait_s=60)) as feed:
        batches = [await feed.receive.receive()]
        while batches[-1].kind is not Kind.CLOSED:
            batches.append(await feed.receive.receive())
    numbers = [n for batch in batches for n in range(batch.first_frame_no, batch.last_frame_no + 1)]
    assert numbers == list(range(32))
    assert batches[-1].local() == Closed("peer closed: maintenance", 1001)


@tls_or_not
async def test_a_fragmented_message_is_recorded_whole_and_so_is_all_behind_it(tls: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame(b"a"), frame("<ä>".encode()[:2], FIRST_FRAGMENT), frame(b"beat", PING))
        assert await peer.receive() == Pong(payload=b"beat")
        await peer.send(frame("<ä>".encode()[2:], LAST_FRAGMENT), *(frame(b"%d" % i) for i in range(500)))
        await hold(peer)

    context = loopback_authority().server if tls else None
    async with raw_venue(once(serve), tls=context) as url, running(Feed(url)) as feed:
        assert await feed.next_frames(502) == [b"a", "<ä>".encode(), *(b"%d" % i for i in range(500))]
        assert feed.client.statistics().is_plain_pipe


async def test_frames_that_come_with_the_handshake_belong_to_the_capture() -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await hold(await accept(stream, frame(b"early")))

    async with raw_venue(serve) as url, running(Feed(url)) as feed:
        await feed.next_batch(Kind.OPENED)
        assert (await feed.next_batch(Kind.FRAMES)).frames == (b"early",)


# -- how connections end ----------------------------------------------------------------------------------------------


async def test_what_the_venue_sends_between_our_close_and_its_own_is_recorded() -> None:
    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame(b"before"))
        assert isinstance(await peer.receive(), CloseConnection)
        await peer.send(frame(b"between"), frame(b"beat", PING), frame(b"last"), frame(b"beat", PING))
        await peer.send(close_frame(1000))

    async with raw_venue(once(serve)) as url, running(Feed(url)) as feed:
        assert await feed.next_frames(1) == [b"before"]
        feed.stop.set()
        assert await feed.next_frames(2) == [b"between", b"last"]
        assert await feed.next_closed() == Closed("stopped", 1000)
    assert feed.client.statistics().state == "stopped"


async def test_a_venue_that_does_not_answer_our_close_is_left_in_bounded_time() -> None:
    async def serve(peer: Peer) -> None:
        while await peer.receive() is not None:
            pass

    async with raw_venue(once(serve)) as url, running(Feed(url, close_s=0.05)) as feed:
        await feed.next_batch(Kind.OPENED)
        feed.stop.set()
        assert await feed.next_closed() == Closed("stopped")


async def test_a_ping_behind_a_fragment_while_we_close_does_not_hide_why() -> None:
    # Once the tap is a plain pipe it cannot keep pings from the library, which fails on them while it closes.
    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame(b"a", FIRST_FRAGMENT), frame(b"b", LAST_FRAGMENT))
        await peer.receive()
        await peer.send(frame(b"c"), frame(b"beat", PING), close_frame(1000))

    async with raw_venue(once(serve)) as url, running(Feed(url)) as feed:
        assert await feed.next_frames(1) == [b"ab"]
        feed.stop.set()
        assert (await feed.next_closed()).cause == "stopped"


async def cut(peer: Peer) -> None:
    await peer.receive()
    await peer.send(frame(b"last"), frame(b"half")[:3])


async def reset(peer: Peer) -> None:
    await peer.receive()
    assert isinstance(peer.stream, trio.SocketStream)
    await peer.send(frame(b"last"))
    await trio.sleep(0.05)
    peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def illegal(peer: Peer) -> None:
    await peer.receive()
    await peer.send(frame(b"last"), frame(b"reserved bit", 0xC1))
    await hold(peer)


async def close_with_code(peer: Peer) -> None:
    await peer.receive()
    await peer.send(frame(b"last"), close_frame(4000, "bad\nmanners\x00"))
    await peer.receive()


async def close_without_code(peer: Peer) -> None:
    await peer.receive()
    await peer.send(frame(b"last"), frame(b"", 0x88))
    await peer.receive()


async def close_behind_a_fragment(peer: Peer) -> None:
    await peer.receive()
    await peer.send(frame(b"la", FIRST_FRAGMENT), frame(b"st", LAST_FRAGMENT), close_frame(1012, "restart"))
    await peer.receive()


@pytest.mark.parametrize(
    ("serve", "end"),
    [
        (cut, Closed("connection lost", 1006)),
        (reset, Closed("connection lost", 1006)),
        (illegal, Closed("protocol error: Reserved bit set unexpectedly", 1002)),
        (close_with_code, Closed("peer closed: bad manners", 4000)),
        (close_without_code, Closed("peer closed")),
        (close_behind_a_fragment, Closed("peer closed: restart", 1012)),
    ],
)
async def test_an_end_by_the_venue_is_recorded_and_a_new_capture_follows(
    serve: Callable[[Peer], Awaitable[None]], end: Closed
) -> None:
    async with raw_venue(once(serve)) as url, running(Feed(url)) as feed:
        first = await feed.next_batch(Kind.OPENED)
        assert await feed.next_frames(1) == [b"last"]
        assert await feed.next_closed() == end
        second = await feed.next_batch(Kind.OPENED)
        assert second.capture != first.capture
        status = feed.client.statistics()
        assert (status.last_cause, status.last_code, status.connections) == (end.cause, end.code, 2)


async def test_a_message_over_the_limit_ends_the_connection() -> None:
    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame(b"last"), frame(b"x" * (8 * 2**20 + 1)))
        await hold(peer)

    async with raw_venue(once(serve)) as url, running(Feed(url)) as feed:
        assert await feed.next_frames(1) == [b"last"]
        end = await feed.next_closed()
        assert (end.code, end.cause[:14]) == (1009, "protocol error")


async def test_a_half_open_peer_is_left_when_it_has_been_silent_too_long() -> None:
    async def serve(peer: Peer) -> None:
        await trio.sleep_forever()

    async with raw_venue(once(serve)) as url, running(Feed(url, silent_s=0.05, close_s=0.05)) as feed:
        await feed.next_batch(Kind.OPENED)
        assert (await feed.next_closed()).cause == "silent for 0.05 s"


async def test_pings_alone_keep_a_connection() -> None:
    async def serve(peer: Peer) -> None:
        await peer.receive()
        for _ in range(30):
            await trio.sleep(0.1)
            await peer.send(frame(b"heartbeat", PING))
        await peer.send(frame(b"still here"))
        await trio.sleep_forever()

    async with raw_venue(once(serve)) as url, running(Feed(url, silent_s=2.0, close_s=0.05)) as feed:
        assert await feed.next_frames(1) == [b"still here"]
        assert (await feed.next_closed()).cause == "silent for 2 s"


async def test_cancelling_cuts_the_line_and_still_records_the_end() -> None:
    async with raw_venue(once()) as url:
        feed = Feed(url)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed.run)
                await feed.next_batch(Kind.OPENED)
                nursery.cancel_scope.cancel()
            assert await feed.next_closed() == Closed("stopped at once")


async def test_cancelling_while_it_closes_records_why_it_was_closing() -> None:
    async def serve(peer: Peer) -> None:
        await trio.sleep_forever()

    async with raw_venue(once(serve)) as url:
        feed = Feed(url)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed.run)
                await feed.next_batch(Kind.OPENED)
                feed.stop.set()
                while feed.client.statistics().state != "closing":
                    await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert await feed.next_closed() == Closed("stopped")


@pytest.mark.parametrize("delay_s", [0, 0.001, 0.002, 0.003, 0.005, 0.01])
async def test_a_stop_at_any_moment_leaves_every_capture_closed(delay_s: float) -> None:
    async with raw_venue(once()) as url, running(Feed(url)) as feed:
        await trio.sleep(delay_s)
    kinds = []
    while feed.receive.statistics().current_buffer_used:
        kinds.append(feed.receive.receive_nowait().kind)
    assert kinds in ([], [Kind.OPENED, Kind.CLOSED])


async def test_a_stop_ends_a_connection_attempt_and_a_wait() -> None:
    async def never_answer(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with raw_venue(never_answer) as url, running(Feed(url)) as feed:
        await trio.testing.wait_all_tasks_blocked()
    assert feed.client.statistics().last_cause == "stopped"
    async with running(Feed("ws://localhost:1/", wait_s=60)) as feed:
        while feed.client.statistics().state != "waiting" or feed.client.statistics().last_cause is None:
            await trio.testing.wait_all_tasks_blocked()
    assert feed.client.statistics().state == "stopped"


async def test_an_error_of_the_journal_is_no_lost_connection() -> None:
    class BrokenJournal(MemoryJournal):
        def append(self, batch: Batch) -> Batch:
            if batch.kind is Kind.FRAMES:
                raise OSError("the disk is gone")
            return super().append(batch)

    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame(b"a"))
        await hold(peer)

    async with raw_venue(once(serve)) as url:
        feed = Feed(url)
        feed.client._capture_log = CaptureLog(BrokenJournal(), feed.send)
        with trio.fail_after(10), pytest.RaisesGroup(OSError, flatten_subgroups=True):
            await feed.run()


# -- opening ----------------------------------------------------------------------------------------------------------


def refusing(status: int, body: bytes) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        await trio.sleep_forever()

    return serve


def in_turn(*serves: Callable[[trio.abc.Stream], Awaitable[None]]) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """Serve each stream by the next of these, and all that come after by the last."""
    turns = itertools.chain(serves, itertools.repeat(serves[-1]))

    async def serve(stream: trio.abc.Stream) -> None:
        await next(turns)(stream)

    return serve


REFUSAL = b'{"code":"authentication_error","details":"NOT_FOUND"}'


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_was_never_accepted_ends_the_feed(status: int) -> None:
    def is_told(error: KeyRefusedError) -> bool:
        return error.status == status and error.detail == REFUSAL.decode()

    async with raw_venue(refusing(status, REFUSAL)) as url:
        feed = Feed(url)
        refused = pytest.RaisesExc(KeyRefusedError, check=is_told)
        with trio.fail_after(10), pytest.RaisesGroup(refused, flatten_subgroups=True):
            await feed.run()
    assert feed.receive.statistics().current_buffer_used == 0


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, b'{"code":"header_timestamp_expired","message":"too old"}', "refused the key (HTTP 401)"),
        (401, b'{"error":{"code":"header_timestamp_expired"}}', "set the clock"),
        (403, b"<html>request blocked</html>", "answered HTTP 403: <html>request blocked</html>"),
        (403, b"", "answered HTTP 403: no explanation"),
    ],
)
async def test_a_wrong_clock_or_a_proxy_at_the_start_does_not_end_the_feed(
    status: int, body: bytes, cause: str
) -> None:
    async with raw_venue(in_turn(refusing(status, body), once())) as url, running(Feed(url)) as feed:
        await feed.next_batch(Kind.OPENED)
        last = feed.client.statistics().last_cause
    assert last is not None
    assert cause in last


async def test_a_key_that_was_once_accepted_is_tried_again_with_new_headers() -> None:
    made = itertools.count(1)
    seen: list[bytes] = []

    async def serve(stream: trio.abc.Stream) -> None:
        if not seen:
            seen.append(b"")
            await refusing(401, REFUSAL)(stream)
        peer = await accept(stream)
        seen.extend(value for name, value in peer.request.extra_headers if name.lower() == b"kalshi-access-timestamp")
        await hold(peer)

    async with (
        raw_venue(serve) as url,
        running(Feed(url, headers=partial(signed, made), admission=Admission(is_admitted=True))) as feed,
    ):
        await feed.next_batch(Kind.OPENED)
        status = feed.client.statistics()
        assert status.last_cause is not None
        assert status.last_cause.startswith("the venue refused the key (HTTP 401)")
        assert (status.is_connected, status.failures) == (True, 1)
        assert seen[1:] == [b"2"]


def signed(made: "itertools.count[int]") -> list[tuple[str, str]]:
    return [("KALSHI-ACCESS-TIMESTAMP", str(next(made)))]


async def test_a_key_file_that_cannot_be_read_is_waited_for_once_the_key_was_accepted() -> None:
    answers: list[object] = [SettingsError([Problem("KALSHI_PRIVATE_KEY_PATH", "no such file")]), HEADERS]

    def headers() -> Sequence[tuple[str, str]]:
        if len(answers) > 1:
            raise answers.pop(0)  # type: ignore[misc]
        return HEADERS

    async with raw_venue(once()) as url:
        async with running(Feed(url, headers=headers, admission=Admission(is_admitted=True))) as feed:
            await feed.next_batch(Kind.OPENED)
        answers.insert(0, SettingsError([Problem("KALSHI_PRIVATE_KEY_PATH", "no such file")]))
        with trio.fail_after(10), pytest.RaisesGroup(SettingsError, flatten_subgroups=True):
            await Feed(url, headers=headers).run()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"HTTP/1.1 503 Maintenance\r\ncontent-length: 4\r\n\r\nback", "the venue answered HTTP 503: back"),
        (b"HTTP/1.1 503 Maintenance\r\n\r\n", "the venue answered HTTP 503: no explanation"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is not a websocket handshake"),
        (b"", "the connection ended before the websocket was open"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n", "the answer is not a websocket handshake"),
    ],
)
async def test_any_other_answer_is_a_lost_connection_with_its_cause(answer: bytes, cause: str) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    async with raw_venue(serve) as url, running(Feed(url, wait_s=60)) as feed:
        assert await feed.first_cause() == cause
    assert feed.receive.statistics().current_buffer_used == 0


async def test_a_venue_that_cannot_be_reached_is_a_lost_connection() -> None:
    async with running(Feed("ws://localhost:1/", wait_s=60)) as feed:
        assert (await feed.first_cause()).startswith("cannot connect")


async def test_a_venue_with_an_unknown_certificate_is_a_lost_connection() -> None:
    async with raw_venue(once(), tls=loopback_authority().server) as url:
        feed = Feed(url, wait_s=60)
        feed.client._ssl_context = ssl.create_default_context()
        async with running(feed):
            assert (await feed.first_cause()).startswith("cannot connect: TLS: ")


async def test_the_handshake_carries_the_headers_and_the_path() -> None:
    requests: list[tuple[str, dict[bytes, bytes]]] = []

    async def serve(stream: trio.abc.Stream) -> None:
        peer = await accept(stream)
        requests.append((peer.request.target, dict(peer.request.extra_headers)))
        await hold(peer)

    async with raw_venue(serve) as url, running(Feed(url)) as feed:
        await feed.next_batch(Kind.OPENED)
    (target, headers), *_ = requests
    assert target == "/trade-api/ws/v2"
    assert {name.lower().encode(): value.encode() for name, value in HEADERS}.items() <= headers.items()


@pytest.mark.parametrize("url", ["http://venue/", "ws:///path", "venue"])
def test_a_url_that_is_no_websocket_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a websocket"):
        VenueAddress.from_url(url)


def test_a_url_gives_host_port_path_and_tls() -> None:
    assert VenueAddress.from_url("wss://venue/ws?a=b") == VenueAddress("venue", 443, "/ws?a=b", is_tls=True)
    address = VenueAddress.from_url("ws://[::1]:8001")
    assert (address, address.host_header) == (VenueAddress("::1", 8001, "/", is_tls=False), "[::1]:8001")
    assert VenueAddress.from_url("ws://venue/").host_header == "venue"


# -- the conversation -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def spoken_to(commander: EchoCommander) -> AsyncIterator[tuple[Feed, "trio.MemoryReceiveChannel[str]"]]:
    """A feed that is connected, and what the venue hears of it; its first word has been heard."""
    send, heard = trio.open_memory_channel[str](100)

    async def serve(peer: Peer) -> None:
        event: Event | None
        while (event := await peer.receive()) is not None:
            if isinstance(event, TextMessage):
                await send.send(event.data)
            elif isinstance(event, CloseConnection):
                await peer.send(close_frame(event.code))
                return

    async with raw_venue(once(serve)) as url, running(Feed(url, commander=commander, wait_s=60)) as feed:
        await feed.next_batch(Kind.OPENED)
        assert await heard.receive() == '"subscribe"'
        yield feed, heard


async def test_notices_of_the_capture_reach_the_commander_and_its_commands_the_venue() -> None:
    commander = EchoCommander()
    async with spoken_to(commander) as (feed, heard):
        for ticker in ("A", "B", "C"):
            await feed.notices.send(BookValid(1, ticker))
        assert [await heard.receive() for _ in range(3)] == ['"A"', '"B"', '"C"']
        assert commander.times == sorted(commander.times)


async def test_the_commander_is_woken_at_its_deadline_also_while_notices_come() -> None:
    async with spoken_to(EchoCommander(deadline=trio.current_time() + 0.05)) as (feed, heard):
        words = set[str]()
        while '"tick"' not in words:
            await feed.notices.send(BookValid(1, "A"))
            words.add(await heard.receive())


async def test_new_snapshots_can_be_asked_for_while_connected() -> None:
    async with spoken_to(EchoCommander()) as (feed, heard):
        feed.client.resnapshot(["A"])
        feed.client.resnapshot()
        assert [await heard.receive() for _ in range(2)] == ['["snapshot", "A"]', '["snapshot"]']
        with pytest.raises(ValueError, match="not followed"):
            feed.client.resnapshot(["unknown"])
    with pytest.raises(FeedLostError):
        feed.client.resnapshot()


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_a_feed_that_retires_leaves_its_markets_and_ends(
    is_confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_confirmed:
        monkeypatch.setattr(conversation, "LEAVE_S", 0.1)
    commander = EchoCommander()
    async with spoken_to(commander) as (feed, heard):
        feed.client.retire()
        assert await heard.receive() == '"leave"'
        commander.has_left = is_confirmed
        if is_confirmed:
            await feed.notices.send(BookValid(1, "A"))
        assert await feed.next_closed() == Closed("no market left", 1000)
        while feed.client.statistics().state != "stopped":
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(FeedLostError):
            feed.client.retire()


async def test_a_commander_that_gives_up_ends_the_connection_properly_with_its_cause() -> None:
    async with spoken_to(EchoCommander()) as (feed, _heard):
        await feed.notices.send(BooksInvalid(1, ("A",), "no snapshot came"))
        assert await feed.next_closed() == Closed("no snapshot came", 1000)


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_waits_double_up_to_the_cap_and_begin_anew_behind_a_connection_that_lasted() -> None:
    backoff = Backoff(first_s=0.5, cap_s=30, uniform=lambda _low, high: high)
    assert [backoff.after(0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.after(29.9), backoff.failures, backoff.after(30), backoff.failures] == [30, 9, 0.5, 1]


def test_waits_are_jittered_between_half_and_all() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    assert [Backoff(first_s=4, uniform=uniform).after(0) for _ in range(2)] == [2, 2]
    assert asked == [(2, 4), (2, 4)]


def test_endless_failures_do_not_overflow() -> None:
    backoff = Backoff()
    assert all(0.25 <= backoff.after(0) <= 30 for _ in range(2000))
