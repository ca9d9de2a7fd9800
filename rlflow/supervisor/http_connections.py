"""The HTTP clients that are connected: so many and no more, and none that outlasts a stop.

When there is no room for another client, the one goes that has said nothing for longest. So neither clients that hold
on to their connections nor clients that send a byte now and then keep out a probe that asks and leaves.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import structlog
import trio

# A read costs the loop that records some 80 us, whether it brings a byte or a request: 500 clients that sent a byte 50
# times a second took all of it. So each has 40 reads at once, and then 20 a second.
READ_EVERY_S: Final = 0.05
BURST_S: Final = 2.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.define(eq=False)
class Client:
    """A connection as Hypercorn wants it: a stream with its socket. Remembers when the client last said something."""

    stream: trio.SocketStream
    heard_at: float = attrs.Factory(trio.current_time)
    _paid_until: float = -math.inf

    @property
    def socket(self) -> trio.socket.SocketType:
        """The connection's socket."""
        return self.stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what the client says next; who says it in ever so many pieces is heard in larger ones."""
        data = await self.stream.receive_some(max_bytes)
        self.heard_at = trio.current_time()
        self._paid_until = max(self._paid_until, self.heard_at - BURST_S) + READ_EVERY_S
        await trio.sleep_until(self._paid_until)
        return data

    async def send_all(self, data: bytes) -> None:
        """Say something to the client."""
        await self.stream.send_all(data)

    async def send_eof(self) -> None:
        """Say nothing more to the client."""
        await self.stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self.stream.aclose()

    def cut(self) -> None:
        """Close the connection at once; whoever waits for it is told, shielded or not."""
        self.stream.socket.close()


@attrs.define(eq=False)
class Clients:
    """Everybody who is connected. `serve` handles one connection and returns when it is over."""

    serve: Callable[[Client], Awaitable[None]]
    most: int
    _connected: dict[Client, None] = attrs.field(factory=dict, init=False)
    _has_left: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one more client until its connection is over, at the cost of another if there are too many."""
        while len(self._connected) >= self.most:
            quietest = min(self._connected, key=lambda client: client.heard_at)
            # It leaves the table now, and its task a little later.
            del self._connected[quietest]
            quietest.cut()
        client = Client(stream)
        self._connected[client] = None
        try:
            await self.serve(client)
        except Exception as error:  # noqa: BLE001  # whatever a client has found in the server must not end the recording
            _log.error("http connection failed", error=type(error).__name__)
        finally:
            self._connected.pop(client, None)
            client.cut()
            self._has_left.set()
            self._has_left = trio.Event()

    async def wait_gone(self, within_s: float) -> None:
        """Wait until everybody has left, and cut off who has not by then."""
        with trio.move_on_after(within_s):
            while self._connected:
                await self._has_left.wait()
        for client in tuple(self._connected):
            client.cut()
