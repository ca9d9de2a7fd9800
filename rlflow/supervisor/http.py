"""The HTTP server: our own listening socket under Hypercorn."""

import socket

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

from rlflow.config import Settings
from rlflow.errors import Problem, SettingsError

# Hypercorn 0.18 shields its sends, so a client that stops reading would hold up a stop for ever. The kernel drops a
# connection whose data nobody has taken for this long; 2 s cut off clients that paused for 6.
USER_TIMEOUT_MS = 10_000
BACKLOG = 128


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
    except OSError as error:
        listener.close()
        reason = f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}; choose another RL_PORT"
        raise SettingsError([Problem("RL_PORT", reason)]) from error
    return listener


def address(listener: socket.socket) -> str:
    """Return the socket's URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_http(app: QuartTrio, listener: socket.socket, stop: trio.Event) -> None:
    """Serve until `stop` is set, then let running answers finish within 2 s. Takes the socket over."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 2.0
    config.keep_alive_timeout = 10.0
    config.h11_max_incomplete_size = 65_536
    config.include_server_header = False
    config.errorlog = None
    await serve(app, config, shutdown_trigger=stop.wait)
