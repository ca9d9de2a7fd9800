"""A stream with two writers: the websocket library, and us with many ready-made frames at a time."""

import math
from collections.abc import Sequence

import trio

from rlflow.exchange.wire.frames import text_frames

_CLOSE_FRAME = 0x88
"""First byte of a close frame; the library's other writes begin with the letter H of HTTP, or a ping or pong."""


class SharedStream(trio.abc.Stream):
    """Passes everything on to its transport; the library is given it in the transport's place.

    `trio-websocket` makes one frame per call, at some 15 microseconds. `send_frames` writes many that are made already,
    under the lock that the library's writes take too, so that frames never mix.
    """

    def __init__(self, transport: trio.abc.Stream, heard: bytes = b"") -> None:
        """Wrap a transport, of which `heard` was read already and is received first."""
        self.over = trio.Event()
        """Set when nothing more will be received: this side has closed it, or the peer has left."""
        self._transport = transport
        self._heard = heard
        self._lock = trio.StrictFIFOLock()
        self._has_close_frame = False
        self._deaf_until = -math.inf

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send what the library made."""
        async with self._lock:
            self._has_close_frame = self._has_close_frame or data[:1] == bytes((_CLOSE_FRAME,))
            await self._transport.send_all(data)

    async def send_frames(self, payloads: Sequence[bytes]) -> None:
        """Send text frames; `trio.ClosedResourceError` behind a close frame, after which there must be none."""
        async with self._lock:
            if self._has_close_frame:
                raise trio.ClosedResourceError("a close frame was sent")
            await self._transport.send_all(text_frames(payloads))

    async def stall(self, seconds: float) -> None:
        """Let nothing leave for so long, behind what is being sent."""
        async with self._lock:
            await trio.sleep(seconds)

    def deafen(self, seconds: float) -> None:
        """Let nothing be received for so long; what arrives meanwhile is received then."""
        self._deaf_until = max(self._deaf_until, trio.current_time() + seconds)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport takes more."""
        await self._transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what the peer sent."""
        if self._heard:
            heard, self._heard = self._heard[:max_bytes], self._heard[len(self._heard[:max_bytes]) :]
            return heard
        try:
            data = await self._transport.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.over.set()
            raise
        if not data:
            self.over.set()
        if trio.current_time() < self._deaf_until:
            await trio.sleep_until(self._deaf_until)
        return data

    async def aclose(self) -> None:
        """Close the transport."""
        self.over.set()
        await self._transport.aclose()
