"""A TCP line between two processes that can be made to wait, to freeze, to slow down and to break.

Threads and blocking sockets: what stands at both ends is a process of its own, and the test drives this by hand.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import attrs

CHUNK_BYTES = 16_384
POLL_S = 0.02
_RESET = struct.pack("ii", 1, 0)

Connect = Callable[[], socket.socket]


def to_tcp(host: str, port: int) -> Connect:
    """Return what connects to a TCP port."""

    def connect() -> socket.socket:
        target = socket.create_connection((host, port), 10)
        # The limit is for connecting only: a quiet line is no broken one.
        target.settimeout(None)
        return target

    return connect


def to_unix(path: str) -> Connect:
    """Return what connects to a Unix socket."""

    def connect() -> socket.socket:
        target = socket.socket(socket.AF_UNIX)
        try:
            target.connect(path)
        except OSError:
            target.close()
            raise
        return target

    return connect


@attrs.define(eq=False)
class _Carried:
    """One connection and its other half."""

    client: socket.socket
    target: socket.socket
    is_answer_lost: bool = False
    """What the target says next is not passed on; then the line breaks."""
    is_answer_held: bool = False
    """What the target says next is not passed on, and nobody is told; like this until the line is cut."""

    def wait_for_the_end(self) -> None:
        """Swallow what the target says until this connection is broken."""
        while self.target.recv(CHUNK_BYTES):
            pass

    def reset(self) -> None:
        for end in (self.client, self.target):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                # Wakes the thread that reads from it, which closing alone does not; says nothing to the peer yet.
                end.shutdown(socket.SHUT_RD)
            end.close()


@attrs.define(eq=False)
class Line:
    """Carries every connection to `port` on to the target. Its faults can be set at any time and hold for all."""

    port: int
    delay_s: float = 0.0
    """What each chunk waits, in both directions."""
    bytes_per_s: float | None = None
    """At most so much to the client; None: no limit."""
    is_frozen: bool = False
    """Nothing passes and nobody is told, as on a half-open line; what arrived passes when it thaws."""
    is_refusing: bool = False
    """New connections are reset at once."""
    swallow_answer_to: bytes | None = None
    """When the client has said this, the line breaks in place of the answer; the target has done it. Once."""
    hold_answer_to: bytes | None = None
    """When the client has said this, the line passes nothing on any more, though the target has done it. Once."""
    cut_after_bytes: int | None = None
    """The line breaks when so many more bytes have gone to the client, in the middle of whatever it is. Once."""
    accepted: int = 0
    struck: int = 0
    """How often one of the three faults above has struck."""
    _carried: set[_Carried] = attrs.Factory(set)
    _is_over: bool = False

    def cut(self) -> None:
        """Reset every connection."""
        for one in tuple(self._carried):
            one.reset()

    def serve(self, listener: socket.socket, connect: Connect) -> None:
        """Accept until `end`; a thread of its own for this, and two for each connection."""
        while not self._is_over:
            with contextlib.suppress(TimeoutError):
                client, _ = listener.accept()
                self.accepted += 1
                self._begin(client, connect)

    def end(self) -> None:
        """Break everything and accept nothing more."""
        self._is_over = True
        self.cut()

    def _begin(self, client: socket.socket, connect: Connect) -> None:
        client.settimeout(None)
        try:
            if self.is_refusing:
                raise ConnectionRefusedError  # as if nobody listened
            carried = _Carried(client, connect())
        except OSError:
            _Carried(client, client).reset()
            return
        self._carried.add(carried)
        for carry in (self._carry_requests, self._carry_answers):
            threading.Thread(target=self._until_broken, args=(carry, carried), daemon=True).start()

    def _until_broken(self, carry: Callable[[_Carried], None], carried: _Carried) -> None:
        with contextlib.suppress(OSError):
            carry(carried)
        self._carried.discard(carried)
        carried.reset()

    def _carry_requests(self, carried: _Carried) -> None:
        while chunk := carried.client.recv(CHUNK_BYTES):
            self._hold()
            if self.swallow_answer_to is not None and self.swallow_answer_to in chunk:
                self.swallow_answer_to = None
                carried.is_answer_lost = True
            if self.hold_answer_to is not None and self.hold_answer_to in chunk:
                self.hold_answer_to = None
                carried.is_answer_held = True
            carried.target.sendall(chunk)

    def _carry_answers(self, carried: _Carried) -> None:
        while chunk := carried.target.recv(CHUNK_BYTES):
            self._hold()
            if carried.is_answer_lost:
                self.struck += 1
                return
            if carried.is_answer_held:
                self.struck += 1
                carried.wait_for_the_end()
                return
            if self.bytes_per_s is not None:
                time.sleep(len(chunk) / self.bytes_per_s)
            passed = self._passed(chunk)
            carried.client.sendall(chunk[:passed])
            if passed < len(chunk):
                self.struck += 1
                return

    def _passed(self, chunk: bytes) -> int:
        """Return how much of a chunk passes before the line is cut."""
        if self.cut_after_bytes is None:
            return len(chunk)
        left, self.cut_after_bytes = self.cut_after_bytes, self.cut_after_bytes - len(chunk)
        if left >= len(chunk):
            return len(chunk)
        self.cut_after_bytes = None
        return left

    def _hold(self) -> None:
        time.sleep(self.delay_s)
        while self.is_frozen and not self._is_over:
            time.sleep(POLL_S)


@contextlib.contextmanager
def line_to(connect: Connect) -> Iterator[Line]:
    """Provide a line on a free loopback port; everything on it is broken in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(POLL_S)
        line = Line(listener.getsockname()[1])
        thread = threading.Thread(target=line.serve, args=(listener, connect))
        thread.start()
        try:
            yield line
        finally:
            line.end()
            thread.join()
