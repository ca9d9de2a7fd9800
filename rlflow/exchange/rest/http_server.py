"""HTTP/1.1 on one connection: requests in, answers out, one after the other, all within bounds."""

import time
from collections.abc import Callable
from email.utils import formatdate

import attrs
import h11
import trio

from rlflow.exchange.rest.messages import Answer

# No request of a client has a longer head; a signature takes 350 bytes.
MAX_HEAD_BYTES = 16 * 1024
# A batch of some hundred orders has 30 KiB.
MAX_BODY_BYTES = 1024 * 1024

_READ_BYTES = 64 * 1024
# How long the rest of what is not wanted is read, so that the answer is not lost with a reset.
_LINGER_S = 1.0


@attrs.frozen
class Waits:
    """How long a connection may take, in seconds."""

    idle_s: float = 60.0
    """From an answer, or from the beginning, to the next request's first byte."""
    request_s: float = 10.0
    """From there to its last byte."""
    answer_s: float = 10.0
    """For the peer to take the answer."""


@attrs.frozen
class Heard:
    """A request that has arrived whole."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class _TooLargeError(Exception):
    """The body is longer than we take."""


async def serve_http(stream: trio.abc.Stream, answer: Callable[[Heard], Answer], waits: Waits) -> None:
    """Answer requests until the peer leaves, is silent for too long, or asks to close; the caller closes the stream."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        is_open = True
        while is_open:
            heard = await _next_request(connection, stream, waits)
            if heard is None:
                return
            with trio.fail_after(waits.answer_s):
                await _send(connection, stream, answer(heard), has_body=heard.method != "HEAD")
            is_open = connection.our_state is h11.DONE
            if is_open:
                connection.start_next_cycle()
    except (h11.RemoteProtocolError, _TooLargeError) as error:
        await _refuse(connection, stream, error)
    except (trio.BrokenResourceError, trio.TooSlowError):
        pass  # the peer has left, or might as well have


async def _next_request(connection: h11.Connection, stream: trio.abc.Stream, waits: Waits) -> Heard | None:
    """Return the next request, None if none comes any more; a request that does not end is no request."""
    with trio.move_on_after(waits.idle_s) as idle:
        request = await _next_event(connection, stream, lambda: _allow(idle, waits.request_s))
        if not isinstance(request, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await _next_event(connection, stream), h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise _TooLargeError
        if not isinstance(event, h11.EndOfMessage):
            return None
        return Heard(request.method.decode(), request.target.decode("latin-1"), tuple(request.headers), bytes(body))
    return None


def _allow(scope: trio.CancelScope, seconds: float) -> None:
    scope.deadline = trio.current_time() + seconds


async def _next_event(
    connection: h11.Connection, stream: trio.abc.Stream, on_bytes: Callable[[], None] | None = None
) -> h11.Event | type[h11.PAUSED]:
    """Return the peer's next event; `on_bytes` is called once, when its first bytes are there."""
    while True:
        event = connection.next_event()
        if not isinstance(event, type) or event is h11.PAUSED:
            if on_bytes is not None:
                on_bytes()
            return event
        if connection.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            await stream.send_all(connection.send(go_on) or b"")
        connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
        if on_bytes is not None:
            on_bytes()
            on_bytes = None


async def _send(connection: h11.Connection, stream: trio.abc.Stream, answer: Answer, *, has_body: bool = True) -> None:
    body = answer.encoded()
    # By the machine's clock: whoever sets his by the venue's looks here.
    headers = [("Date", formatdate(time.time(), usegmt=True))]
    if body:
        headers.append(("Content-Type", "application/json"))
    if answer.status != 204:
        headers.append(("Content-Length", str(len(body))))
    sent = connection.send(h11.Response(status_code=answer.status, headers=headers, reason=b"")) or b""
    if body and has_body:
        sent += connection.send(h11.Data(data=body)) or b""
    sent += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(sent)


async def _refuse(connection: h11.Connection, stream: trio.abc.Stream, error: Exception) -> None:
    """Answer what is no proper request, and close."""
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 413
    message = str(error) or f"the body is longer than {MAX_BODY_BYTES} bytes"
    with trio.move_on_after(_LINGER_S):
        try:
            await _send(connection, stream, Answer(status, {"code": "bad_request", "message": message}))
            while await stream.receive_some(_READ_BYTES):
                pass
        except trio.BrokenResourceError:
            pass  # the peer did not wait for the answer
