"""A line to PostgreSQL that breaks when the client says a word: the server has heard it, the answer never comes."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

import attrs
import psycopg
from psycopg.conninfo import make_conninfo

BOUND_S = 30.0


@attrs.define
class BreakableLine:
    """Carries one connection."""

    url: str
    """Another address of the same database."""
    breaks_at: bytes | None = None
    """The word; None: not yet."""


@contextlib.contextmanager
def breakable_line(url: str) -> Iterator[BreakableLine]:
    """Provide a line to a database; it must break, or its client leave, before the context ends."""
    with psycopg.connect(url) as direct:
        host, port = direct.info.host, direct.info.port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = BreakableLine(make_conninfo(url, host="127.0.0.1", port=listener.getsockname()[1]))
        thread = threading.Thread(target=_carry, args=(line, listener, host, port))
        thread.start()
        yield line
        thread.join(BOUND_S)
        assert not thread.is_alive()


def _carry(line: BreakableLine, listener: socket.socket, host: str, port: int) -> None:
    listener.settimeout(BOUND_S)
    client, _ = listener.accept()
    with client, _server(host, port) as server:
        while ready := select.select([client, server], [], [], BOUND_S)[0]:
            if server in ready:
                answer = server.recv(65_536)
                if not answer:
                    return
                client.sendall(answer)
            if client in ready:
                said = client.recv(65_536)
                server.sendall(said)
                if not said:
                    return
                if line.breaks_at is not None and line.breaks_at in said:
                    # The answer shows that the server has done it.
                    server.recv(65_536)
                    return


def _server(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), BOUND_S)
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server
