"""Nobody whose certificate is not verified is ever spoken to: shown by what the code may not say, and by asking."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.rest.client import VenueClient
from rlflow.errors import VenueAwayError
from tests.raw_venue import loopback_authority
from tests.test_architecture import MODULES, module_name

# The one module that may make a client's context.
CONTEXTS = "rlflow.data.tls"
# A server's, of the local venue, which verifies nobody.
SERVERS = {"rlflow.cli.exchange"}
FORBIDDEN = {
    "CERT_NONE",
    "CERT_OPTIONAL",
    "_create_unverified_context",
    "_create_stdlib_context",
    "_create_default_https_context",
    "wrap_socket",
    "disable_warnings",
}
MAKERS = {"SSLContext", "create_default_context", "create_ssl_context"}


def said(path: Path) -> Iterator[str]:
    """Yield the names and attributes of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def loosened(path: Path) -> Iterator[int]:
    """Yield the lines where verification is set: by an assignment, or by an argument that is a constant."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr in {"check_hostname", "verify_mode"}:
                    yield node.lineno
        elif (
            isinstance(node, ast.keyword)
            and node.arg in {"verify", "verify_ssl", "check_hostname"}
            and isinstance(node.value, ast.Constant)
        ):
            yield node.value.lineno


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_module_can_make_a_context_that_does_not_verify(path: Path) -> None:
    names = set(said(path))
    assert not names & FORBIDDEN
    assert not list(loosened(path))
    if module_name(path) not in {CONTEXTS, *SERVERS}:
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        assert not called & MAKERS


def address_of(listener: trio.SSLListener[trio.SocketStream]) -> int:
    plain = listener.transport_listener
    assert isinstance(plain, trio.SocketListener)
    port: int = plain.socket.getsockname()[1]
    return port


def hasty() -> Backoff:
    return Backoff(first_s=0.001, cap_s=0.001)


async def test_rest_says_nothing_to_a_venue_whose_certificate_nobody_vouches_for() -> None:
    heard: list[bytes] = []

    async def listen(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            heard.append(bytes(await stream.receive_some()))
        except trio.BrokenResourceError:
            heard.append(b"")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_ssl_over_tcp_listeners(0, loopback_authority().server, host="127.0.0.1")
            port = address_of(listeners[0])
            nursery.start_soon(trio.serve_listeners, listen, listeners)
            url = f"https://localhost:{port}/trade-api/v2"
            async with VenueClient(url, lambda _method, _path: (), make_backoff=hasty) as client:
                with pytest.raises(VenueAwayError, match=r"(?i)certificate"):
                    await client.exchange_status()
            nursery.cancel_scope.cancel()
    assert heard
    assert set(heard) == {b""}
