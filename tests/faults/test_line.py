"""The line itself: each of its faults does what it says."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.line import Line, line_to, to_tcp

BOUND_S = 10.0


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """A server that answers everything with itself."""

    def answer(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while said := client.recv(4096):
                client.sendall(said)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line() -> Iterator[Line]:
    with echoing() as port, line_to(to_tcp("127.0.0.1", port)) as made:
        yield made


@contextlib.contextmanager
def client_of(line: Line) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", line.port), BOUND_S) as client:
        yield client


def exchange(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(4096)


def has_ended(client: socket.socket) -> bool:
    """Whether the peer is gone, properly or not."""
    try:
        return client.recv(4096) == b""
    except ConnectionError:
        return True


def test_what_is_said_arrives_and_the_answer_too(line: Line) -> None:
    with client_of(line) as client:
        assert exchange(client, b"hello") == b"hello"
    assert (line.accepted, line.struck) == (1, 0)


def test_a_frozen_line_says_nothing_and_passes_everything_when_it_thaws(line: Line) -> None:
    with client_of(line) as client:
        assert exchange(client, b"before") == b"before"
        line.is_frozen = True
        client.sendall(b"meanwhile")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(10)
        line.is_frozen = False
        client.settimeout(BOUND_S)
        assert client.recv(4096) == b"meanwhile"


def test_a_slow_line_takes_its_time(line: Line) -> None:
    line.bytes_per_s = 1_000
    with client_of(line) as client:
        began = time.monotonic()
        assert exchange(client, b"x" * 200) == b"x" * 200
        assert time.monotonic() - began >= 0.2


def test_a_cut_resets_whoever_is_connected_and_the_next_gets_through(line: Line) -> None:
    with client_of(line) as client:
        assert exchange(client, b"a") == b"a"
        line.cut()
        assert has_ended(client)
    with client_of(line) as client:
        assert exchange(client, b"d") == b"d"


def test_a_line_cut_after_some_bytes_has_passed_just_these(line: Line) -> None:
    line.cut_after_bytes = 7
    with client_of(line) as client:
        assert exchange(client, b"12345") == b"12345"
        assert exchange(client, b"67890") == b"67"
        assert has_ended(client)
    assert line.struck == 1
    with client_of(line) as client:
        assert exchange(client, b"12345678") == b"12345678"


def test_a_swallowed_answer_ends_the_line_though_the_target_has_heard(line: Line) -> None:
    line.swallow_answer_to = b"COMMIT"
    with client_of(line) as client:
        assert exchange(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        assert has_ended(client)
    assert line.struck == 1


def test_a_refusing_line_lets_nobody_in(line: Line) -> None:
    line.is_refusing = True
    # The reset may be faster than the call that connects.
    with contextlib.suppress(ConnectionResetError), client_of(line) as client:
        assert has_ended(client)
    line.is_refusing = False
    with client_of(line) as client:
        assert exchange(client, b"x") == b"x"


def test_a_held_answer_leaves_the_line_silent_until_it_is_cut(line: Line) -> None:
    line.hold_answer_to = b"COMMIT"
    with client_of(line) as client:
        client.sendall(b"COMMIT")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(BOUND_S)
        line.cut()
        assert has_ended(client)
    assert line.struck == 1
