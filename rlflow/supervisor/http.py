"""The HTTP server: our own listening socket under Hypercorn."""

import errno
import ipaddress
import socket
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from hypercorn.utils import wrap_app

from rlflow.config import Settings
from rlflow.errors import Problem, SettingsError
from rlflow.supervisor.http_connections import Client, Clients

# The kernel drops a connection whose data nobody has taken for this long; 2 s cut off clients that paused for 6.
USER_TIMEOUT_MS = 10_000
BACKLOG = 128
# Probes, a Prometheus and some pages need ten.
MOST_CLIENTS = 100
# A connection on which no whole request comes for so long is closed, or forgotten clients would use up the descriptors.
KEEP_ALIVE_S = 10.0
# For an answer that is being given at a stop.
GRACE_S = 2.0
# Of a request line with its headers.
MAX_HEAD_BYTES = 16_384
# Nothing here is a page yet: nothing may be loaded, framed or guessed. Whatever else a browser is told by a header of
# its own stands with the answer that needs it.
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
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
        _refuse_public(settings, listener)
    except (OSError, UnicodeError) as error:
        listener.close()
        raise SettingsError([_problem(settings, error)]) from error
    except SettingsError:
        listener.close()
        raise
    return listener


def _refuse_public(settings: Settings, listener: socket.socket) -> None:
    """Look at the address that was really bound: a name, even localhost, may lead to any."""
    bound = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    if settings.admin_token is None and not bound.is_loopback:
        reason = f"must be set when RL_HOST ({settings.host[:80]}, which is {bound}) is not loopback"
        raise SettingsError([Problem("RL_ADMIN_TOKEN", reason)])


def _problem(settings: Settings, error: OSError | UnicodeError) -> Problem:
    # A gaierror's number is of another kind than errno's.
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno in _PORT_ERRORS:
        reason = f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}"
        return Problem("RL_PORT", f"{reason}; stop whoever has it, or choose another")
    why = error.strerror if isinstance(error, OSError) else "it is no host's name"
    return Problem("RL_HOST", f"{settings.host[:80]} cannot be listened on: {why}; name an address of this machine")


def address(listener: socket.socket) -> str:
    """Return the socket's URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Config(Config):
    """Hypercorn's configuration, with our headers on every answer: also on those that it gives by itself."""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that are added to an answer."""
        headers: list[tuple[bytes, bytes]] = super().response_headers(protocol)
        return [*headers, *SECURITY_HEADERS]


def _config() -> Config:
    config = _Config()
    config.graceful_timeout = GRACE_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.h2_max_header_list_size = MAX_HEAD_BYTES
    config.include_server_header = False
    config.errorlog = None
    return config


async def serve_http(app: ASGIFramework, listener: socket.socket, stop: trio.Event) -> None:
    """Serve until `stop` is set, then let running answers finish within 2 s. Takes the socket over.

    Hypercorn's parts without its `serve`, which knows no limit of connections, and at a stop waits for ever for a
    client that does not read: it shields what it sends (0.18).
    """
    listener.setblocking(False)
    config, context = _config(), WorkerContext(None)
    wrapped = wrap_app(_FinishedAnswers(app), config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, {})

    async def serve(client: Client) -> None:
        stream: Any = client  # all that it needs of a stream
        await TCPServer(wrapped, config, context, ConnectionState({}), stream).run()

    clients = Clients(serve, MOST_CLIENTS)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as application:
        await application.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, clients.handle, listeners, handler_nursery=connections)
                )
                await stop.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            await clients.wait_gone(GRACE_S)
            connections.cancel_scope.cancel()
        await lifespan.wait_for_shutdown()
        application.cancel_scope.cancel()


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
