"""One websocket connection to the venue: opened, tapped, watched, closed; its many errors made two.

Whatever ends a connection is a `FeedLostError`, except a refused key. Errors that are ours (of the journal, say, which
the tap calls) go through as they are, in an exception group.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

import attrs
import h11
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import ProtocolError

from rlflow.data.feed.frame_splitter import MAX_FRAME_BYTES
from rlflow.data.feed.tap import READ_BYTES, OnFrames, TapStream
from rlflow.data.tls import TLSStream
from rlflow.errors import FeedLostError, KeyRefusedError
from rlflow.kalshi.answers import ErrorAnswer
from rlflow.session.records import Closed

CONNECT_S: Final = 10.0
"""For name, TCP, TLS and upgrade together."""
SEND_S: Final = 2.0
"""For one command to fit into the socket's buffer; it waits only if the venue has left some hundred KiB unread."""
_REASON_CHARACTERS: Final = 200
_OUT_OF_TIME: Final = "header_timestamp_expired"
"""The code of a signature from another time than the venue's (protocol 2)."""

# What the library raises when a peer misbehaves, and what we raise ourselves. No OSError: the journal has those too.
_LOST: Final = (HandshakeError, ConnectionClosed, ProtocolError, h11.ProtocolError, FeedLostError, KeyRefusedError)


@attrs.frozen
class VenueAddress:
    """Where the venue's websocket is."""

    host: str
    port: int
    path: str
    """With the query string, if any."""
    is_tls: bool

    @classmethod
    def from_url(cls, url: str) -> "VenueAddress":
        """Parse a ws: or wss: URL; ValueError if it is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"not a websocket URL: {url!r}")
        is_tls = parts.scheme == "wss"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), path, is_tls)

    @property
    def host_header(self) -> str:
        """The value of the HTTP header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (80, 443) else f"{host}:{self.port}"


class Connection:
    """An open connection, owned by `run_connection`. Nothing is received before `start`."""

    def __init__(self, websocket: WebSocketConnection, tap: TapStream) -> None:
        self._websocket = websocket
        self._tap = tap
        self._on_frames: OnFrames | None = None
        self._opened_at = trio.current_time()

    @property
    def opened_at(self) -> float:
        """Trio's clock when the handshake was done."""
        return self._opened_at

    @property
    def last_byte_at(self) -> float:
        """Trio's clock when the last bytes came from the peer."""
        return self._tap.last_byte_at

    @property
    def is_plain_pipe(self) -> bool:
        """Whether messages come by the slow way, because the peer sent an unusual frame."""
        return self._tap.splitter.is_pipe and not self._tap.splitter.has_closed

    def start(self, on_frames: OnFrames) -> None:
        """Begin to receive. `on_frames` gets the text frames of each socket read and must not block."""
        self._on_frames = on_frames
        self._tap.start(on_frames)

    async def send(self, text: bytes) -> None:
        """Send one text frame, whole even if cancelled, since nothing could follow half a frame, a close frame neither.

        Raises:
            FeedLostError: the connection has ended, or the peer has stopped reading.
        """
        try:
            with trio.fail_after(SEND_S, shield=True):
                await self._websocket.send_message(text.decode())
        except trio.TooSlowError:
            raise FeedLostError(f"nothing could be sent for {SEND_S:g} s") from None
        except ConnectionClosed as closed:
            raise FeedLostError(*self._explain(closed)) from None

    async def wait_lost(self) -> Closed:
        """Wait for the end of the connection and return what it was; passes on what comes by the slow way."""
        assert self._on_frames is not None
        while True:
            try:
                message = await self._websocket.get_message()
            except ConnectionClosed as closed:
                return Closed(*self._explain(closed))
            self._on_frames([message.encode() if isinstance(message, str) else message])

    async def wait_silent(self, limit_s: float) -> Closed:
        """Wait until the peer has sent no byte for `limit_s`."""
        # Bytes come far more often than this wakes; an event for each would cost more than looking again.
        while (quiet_at := self.last_byte_at + limit_s) > trio.current_time():  # noqa: ASYNC110
            await trio.sleep_until(quiet_at)
        return Closed(f"silent for {limit_s:g} s")

    async def close(self, within_s: float) -> int | None:
        """Close properly if the connection still stands: close frame, the peer's last frames, its close frame.

        Returns the code that the peer closed with, None if it did not within `within_s`.
        """
        self._tap.expect_close()
        with trio.move_on_after(within_s):
            await self._websocket.aclose()
        return self._tap.splitter.close_code

    def _explain(self, closed: ConnectionClosed) -> tuple[str, int | None]:
        """Return the cause for people and the code."""
        reason = closed.reason
        if reason is None:
            return "closed by us", None
        detail = f": {_printable(reason.reason)}" if reason.reason else ""
        if self._tap.splitter.has_closed:
            return f"peer closed{detail}", self._tap.splitter.close_code
        if reason.code == 1006:
            return "connection lost", 1006
        # Without the peer's close frame, the library has found fault with its frames. Behind an unusual frame nobody
        # has looked for that one, and the code has to tell.
        is_fault = not self._tap.splitter.is_pipe or reason.code in (1002, 1007, 1009)
        return f"{'protocol error' if is_fault else 'peer closed'}{detail}", reason.code


async def run_connection(
    address: VenueAddress,
    headers: Iterable[tuple[str, str]],
    ssl_context: ssl.SSLContext | None,
    talk: Callable[[Connection], Awaitable[None]],
) -> None:
    """Connect, call `talk` with the open connection, and cut it when that returns (close it before, if possible).

    Raises:
        FeedLostError: it could not be opened, or broke.
        KeyRefusedError: the venue answered with 401, or with its own 403.
        BaseExceptionGroup: anything that is not about the connection.
    """
    deadline = trio.current_time() + CONNECT_S
    tap = TapStream(await _open_stream(address, ssl_context, deadline))
    try:
        async with trio.open_nursery() as library:
            await talk(await _upgrade(library, tap, address, headers, deadline))
            library.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        lost, other = group.split(_LOST)
        if other is not None:
            raise other from None
        assert lost is not None
        raise _translated(_first_leaf(lost), is_open=tap.is_started) from group
    finally:
        await trio.aclose_forcefully(tap)


async def _open_stream(address: VenueAddress, ssl_context: ssl.SSLContext | None, deadline: float) -> trio.abc.Stream:
    try:
        with trio.fail_at(deadline):
            stream = await trio.open_tcp_stream(address.host, address.port)
            return stream if ssl_context is None else await _open_tls(stream, ssl_context, address.host)
    except trio.TooSlowError:
        raise FeedLostError(f"no connection within {CONNECT_S:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise FeedLostError(f"cannot connect: {error}") from error


async def _open_tls(stream: trio.abc.Stream, ssl_context: ssl.SSLContext, host: str) -> TLSStream:
    try:
        tls = TLSStream(stream, ssl_context, host)
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


async def _upgrade(
    library: trio.Nursery,
    tap: TapStream,
    address: VenueAddress,
    headers: Iterable[tuple[str, str]],
    deadline: float,
) -> Connection:
    """Make the HTTP handshake and leave the library's reader running in the nursery."""
    try:
        with trio.fail_at(deadline):
            websocket = await wrap_client_stream(
                library,
                tap,  # type: ignore[arg-type]  # any stream will do, its documentation says
                address.host_header,
                address.path,
                extra_headers=[(name.encode(), value.encode()) for name, value in headers],
                max_message_size=MAX_FRAME_BYTES,
                receive_buffer_size=READ_BYTES,
            )
    except trio.TooSlowError:
        raise FeedLostError(f"no websocket within {CONNECT_S:g} s") from None
    return Connection(websocket, tap)


def _translated(error: BaseException, *, is_open: bool) -> FeedLostError | KeyRefusedError:
    """Return our word for one of `_LOST`."""
    if isinstance(error, FeedLostError | KeyRefusedError):
        return error
    if isinstance(error, ConnectionRejected):
        return _rejected(error.status_code, error.body or b"")
    if isinstance(error, HandshakeError):
        return FeedLostError(_printable(str(error)))
    # What the libraries say here is about their own next step, not about what the peer has sent.
    return FeedLostError("protocol error" if is_open else "the answer is not a websocket handshake")


def _rejected(status: int, body: bytes) -> FeedLostError | KeyRefusedError:
    """Return our word for an answer that opens no websocket."""
    detail = _printable(body.decode(errors="replace")) or "no explanation"
    # The venue explains itself in JSON; a page that forbids is that of a proxy, which knows no keys.
    if status == 401 or (status == 403 and body.lstrip().startswith(b"{")):
        return KeyRefusedError(status, detail, is_for_time=ErrorAnswer.from_body(body).code == _OUT_OF_TIME)
    return FeedLostError(f"the venue answered HTTP {status}: {detail}")


def _first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _printable(text: str) -> str:
    """Return the peer's text in one bounded line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_REASON_CHARACTERS]).split())
