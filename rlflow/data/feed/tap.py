"""A stream between a socket and a websocket library that takes the text frames out of it for us.

The library (trio-websocket over wsproto) makes the handshake, answers pings, closes; the messages, which are nearly all
of the traffic, never reach it. That is worth a factor of ten and more in frames a second.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import trio
from trio_websocket import ConnectionRejected, HandshakeError

from rlflow.data.feed.frame_splitter import MAX_FRAME_BYTES, FrameSplitter

READ_BYTES: Final = 64 * 1024
"""One read gives one batch, and a batch of this size is worked off in less than 2 ms."""

OnFrames: TypeAlias = Callable[[list[bytes]], None]

_PING: Final = 0x89
_SWITCHING_PROTOCOLS: Final = 101
# Where h11 ends the head of an HTTP message.
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/\d\.\d (\d{3})")


class TapStream(trio.abc.Stream):
    """Passes the HTTP handshake through; after `start`, hands whole text frames to `on_frames`, the rest to the reader.

    Give it to `trio_websocket.wrap_client_stream` and call `start` when that has returned: nothing behind the handshake
    is read before. Frames are handed over inside the library's reader task, which also answers pings, so `on_frames`
    must neither block nor take long; what it raises ends the reader (a bug, so let it).
    """

    def __init__(self, stream: trio.abc.Stream, *, limit: int = MAX_FRAME_BYTES) -> None:
        self._stream = stream
        self._splitter = FrameSplitter(limit)
        self._head = bytearray()
        self._status: int | None = None
        self._behind_head = b""
        self._on_frames: OnFrames | None = None
        self._started = trio.Event()
        self._rest: deque[bytes] = deque()
        self._is_closing = False
        self._is_send_broken = False
        self._last_byte_at = trio.current_time()

    @property
    def splitter(self) -> FrameSplitter:
        """How the websocket stands, for asking only."""
        return self._splitter

    @property
    def is_started(self) -> bool:
        """Whether the handshake is done and frames are taken."""
        return self._on_frames is not None

    @property
    def last_byte_at(self) -> float:
        """Trio's clock when the last bytes came (at first: when the tap was made)."""
        return self._last_byte_at

    def start(self, on_frames: OnFrames) -> None:
        """Let the stream go on behind the handshake."""
        self._on_frames = on_frames
        self._started.set()

    def expect_close(self) -> None:
        """Keep pings from the library from now on, because it is about to send its close frame.

        trio-websocket 0.12 ends with a LocalProtocolError when a ping arrives between its close frame and the peer's,
        and the data that the peer sends in between would be lost with it.
        """
        self._is_closing = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes for the library, b"" at the end of the stream. Text frames that came before are handed over.

        A return holds one control frame at most, so that the library never has a second one waiting inside.

        Raises:
            HandshakeError: the stream ended before the handshake did (the library would wait for ever).
            trio.BrokenResourceError, trio.ClosedResourceError: as the stream below says.
        """
        await trio.lowlevel.checkpoint()
        while True:
            while self._rest:
                piece = self._rest.popleft()
                if not (self._is_closing and _is_ping(piece)):
                    return self._at_most(piece, max_bytes)
            data = await self._read()
            if not data:
                return self._end()
            self._take(data)

    async def _read(self) -> bytes:
        if self._status == _SWITCHING_PROTOCOLS:
            await self._started.wait()
            if self._behind_head:
                data, self._behind_head = self._behind_head, b""
                return data
        data = bytes(await self._stream.receive_some(READ_BYTES))
        self._last_byte_at = trio.current_time()
        return data

    def _take(self, data: bytes) -> None:
        if self._on_frames is None:
            self._take_handshake(data)
            return
        frames, others = self._splitter.feed(data)
        if frames:
            self._on_frames(frames)
        self._rest.extend(others)

    def _take_handshake(self, data: bytes) -> None:
        """Pass on the handshake, and keep what lies behind the head of a successful one."""
        seen = len(self._head)
        if seen < READ_BYTES:
            self._head += data
        end = None if self._status else _END_OF_HEAD.search(self._head, max(0, seen - 2))
        if end is not None:
            line = _STATUS_LINE.match(self._head)
            self._status = int(line[1]) if line else 0
            if self._status == _SWITCHING_PROTOCOLS:
                cut = end.end() - seen
                data, self._behind_head = data[:cut], data[cut:]
        self._rest.append(data)

    def _at_most(self, piece: bytes, max_bytes: int | None) -> bytes:
        if max_bytes is not None and len(piece) > max_bytes:
            self._rest.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        return piece

    def _end(self) -> bytes:
        if self._on_frames is None:
            if self._status:
                body = bytes(self._head).partition(b"\n\r\n")[2]
                raise ConnectionRejected(self._status, (), body)
            raise HandshakeError("the connection ended before the websocket was open")
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Pass on to the stream below, unless an earlier call was cut short and left half a frame there.

        Raises:
            trio.BrokenResourceError: nothing more can be sent; receiving may go on.
        """
        if self._is_send_broken:
            raise trio.BrokenResourceError("an earlier send was cut short")
        try:
            await self._stream.send_all(data)
        except BaseException:
            self._is_send_broken = True
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Pass on to the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below, without a websocket close frame."""
        await self._stream.aclose()


def _is_ping(piece: bytes) -> bool:
    return len(piece) >= 2 and piece[0] == _PING and len(piece) == 2 + piece[1]
