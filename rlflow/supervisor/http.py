"""The HTTP server: our own listening socket under Hypercorn."""

import errno
import socket

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

from rlflow.config import Settings
from rlflow.errors import Problem, SettingsError

# Hypercorn 0.18 shields its sends, so a client that stops reading would hold up a stop for ever. The kernel drops a
# connection whose data nobody has taken for this long; 2 s cut off clients that paused for 6.
USER_TIMEOUT_MS = 10_000
BACKLOG = 128
# A connection on which no whole request comes for so long is closed, or forgotten clients would use up the descriptors.
KEEP_ALIVE_S = 10.0
# What bind and listen say of a good address whose port cannot be had.
_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)


def bind(settings: Settings) -> socket.socket:
    """Return the listening socket; SettingsError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        listener.close()
        raise SettingsError([_problem(settings, error)]) from error
    return listener


def _problem(settings: Settings, error: OSError | UnicodeError) -> Problem:
    # A gaierror's number is of another kind than errno's.
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno in _PORT_ERRORS:
        reason = f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}; choose another RL_PORT"
        return Problem("RL_PORT", reason)
    why = error.strerror if isinstance(error, OSError) else "it is no host's name"
    return Problem("RL_HOST", f"{settings.host[:80]} cannot be listened on: {why}; name an address of this machine")


def address(listener: socket.socket) -> str:
    """Return the socket's URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_http(app: ASGIFramework, listener: socket.socket, stop: trio.Event) -> None:
    """Serve until `stop` is set, then let running answers finish within 2 s. Takes the socket over."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 2.0
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.h11_max_incomplete_size = 65_536
    config.include_server_header = False
    config.errorlog = None
    await serve(_FinishedAnswers(app), config, shutdown_trigger=stop.wait)


class _FinishedAnswers:
    """Keeps from an application that the client has gone once it has answered.

    Hypercorn 0.18 says so within the call that sends the end of the answer. Quart-Trio 0.12 then cancels the request,
    and that very call with it: the connection would not read another request, nor be closed, nor time out.
    """

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request; ends with the application."""
        is_answered = False

        async def send_on(message: ASGISendEvent) -> None:
            nonlocal is_answered
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async def receive_on() -> ASGIReceiveEvent:
            message = await receive()
            if is_answered and message["type"] == "http.disconnect":
                # The application cancels this when the end of the answer is sent.
                await trio.sleep_forever()
            return message

        await self._app(scope, receive_on, send_on)
