"""HTTP clients do what they should not: the recording goes on, health answers, and a stop does not wait for them."""

import contextlib
import itertools
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import attrs
import psutil
import pytest

from rlflow.supervisor.http import MOST_CLIENTS
from tests.faults.scene import Scene, scene, stopped, written
from tests.running import Running

DEADLINE_S = 15.0
# What the service has open besides HTTP clients is some fifteen.
DESCRIPTORS = 50
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
STATUS = b"GET /rl/status HTTP/1.1\r\n" + HEAD + b"\r\n"
FLUSH = b"POST /rl/admin/flush HTTP/1.1\r\n" + HEAD
RESNAPSHOT = b"POST /rl/admin/resnapshot HTTP/1.1\r\n" + HEAD
_RESET = struct.pack("ii", 1, 0)


@attrs.frozen
class Door:
    """Where clients connect; everything that they opened is closed in the end."""

    address: tuple[str, int]
    clients: contextlib.ExitStack

    def enter(self) -> socket.socket:
        """Return one more connection, which never waits for anything."""
        client = self.clients.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(self.address)
        client.setblocking(False)
        return client


Crowd: TypeAlias = Callable[[Door], None]


@contextlib.contextmanager
def door_of(running: Running) -> Iterator[Door]:
    """The service's door; whoever is behind it leaves at the end of the context."""
    parts = urlsplit(running.url)
    assert parts.hostname is not None
    assert parts.port is not None
    with contextlib.ExitStack() as clients:
        yield Door((parts.hostname, parts.port), clients)


def say(client: socket.socket, text: bytes) -> None:
    """Send what fits."""
    with contextlib.suppress(OSError):
        client.send(text)


def that_never_read(door: Door) -> None:
    for _ in range(20):
        client = door.enter()
        with contextlib.suppress(OSError):
            while client.send(STATUS * 200):
                pass


def that_are_slow(door: Door) -> None:
    """500 that say a byte and read a byte in each turn, for as long as they are there."""
    clients, is_over = [door.enter() for _ in range(500)], threading.Event()

    def dawdle() -> None:
        for byte in itertools.cycle(STATUS):
            for client in clients:
                say(client, bytes([byte]))
                with contextlib.suppress(OSError):
                    client.recv(1)
            if is_over.wait(0.02):
                return

    thread = threading.Thread(target=dawdle)
    thread.start()
    door.clients.callback(thread.join)
    door.clients.callback(is_over.set)


def that_send_half(door: Door) -> None:
    for half in (
        b"",
        b"G",
        STATUS[:-2],
        FLUSH + b"Content-Length: 100\r\n\r\n{",
        FLUSH + b"Transfer-Encoding: chunked\r\n\r\n5",
    ):
        for _ in range(10):
            say(door.enter(), half)


def that_vanish(door: Door) -> None:
    for number in range(200):
        client = door.enter()
        say(client, STATUS[: number % len(STATUS)] if number % 2 else STATUS * 3)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()


def that_say_too_much(door: Door) -> None:
    for text in (
        b"GET /" + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200_000,
        FLUSH + b"Content-Length: 10000000000\r\n\r\n" + b"x" * 1_000_000,
        FLUSH + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b"x" * 1_000_000,
        RESNAPSHOT + b"Content-Length: 60000\r\n\r\n" + b"[" * 60_000,
        RESNAPSHOT + b"Content-Length: 60000\r\n\r\n" + b'{"markets":' * 5_000 + b"x" * 5_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x40\x00\x00" * 250_000,
        b"\x00" * 1_000_000,
    ):
        client = door.enter()
        client.settimeout(5)
        with contextlib.suppress(OSError):
            client.sendall(text)


def that_stay(door: Door) -> None:
    """More than there is room for, with nothing to say."""
    for _ in range(400):
        door.enter()


CROWDS: tuple[Crowd, ...] = (
    that_never_read,
    that_are_slow,
    that_send_half,
    that_vanish,
    that_say_too_much,
    that_stay,
)


def assert_goes_on(running: Running) -> None:
    """Assert that health answers, and that frames come in and are written meanwhile."""
    assert running.ask("/rl/health")["status"] in ("healthy", "degraded")
    assert psutil.Process(running.popen.pid).num_fds() < MOST_CLIENTS + DESCRIPTORS
    before = running.ask("/rl/status")
    running.wait_status(
        "more of everything",
        lambda status: (
            status["captures"]["frames"] > before["captures"]["frames"] + 100
            and status["write_queue"]["rows_written"] > before["write_queue"]["rows_written"] + 100
        ),
    )
    assert running.ask("/rl/health")["components"]["database"]["status"] == "healthy"


def assert_stops(running: Running) -> None:
    """Assert that a stop takes less than its deadline, after which the exit code would be 70."""
    began = time.monotonic()
    assert running.stop(signal.SIGTERM) == 0, running.said()
    assert time.monotonic() - began < DEADLINE_S


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[Scene]:
    with scene(tmp_path, database_url, rate=300) as made:
        yield made


def test_the_recording_goes_on_and_health_answers_whatever_http_clients_do(world: Scene) -> None:
    with world.recording() as running:
        written(running, 100)
        for crowd in CROWDS:
            with door_of(running) as door:
                crowd(door)
                assert_goes_on(running)
        running.wait_status("as before", lambda status: status["captures"]["captures"] == 1)
        stopped(running)
    world.assert_good()


def test_a_stop_waits_for_no_http_client_whatever_it_does(world: Scene) -> None:
    with world.recording(RL_STOP_DEADLINE=str(DEADLINE_S)) as running:
        written(running, 100)
        with door_of(running) as door:
            for crowd in CROWDS:
                crowd(door)
            assert_stops(running)
    world.assert_good(at_least=50)


@pytest.mark.slow_fault
@pytest.mark.parametrize("crowd", CROWDS, ids=lambda crowd: crowd.__name__)
def test_a_stop_waits_for_no_http_clients(world: Scene, crowd: Crowd) -> None:
    with world.recording(RL_STOP_DEADLINE=str(DEADLINE_S)) as running:
        written(running, 100)
        with door_of(running) as door:
            crowd(door)
            assert_goes_on(running)
            assert_stops(running)
    world.assert_good(at_least=50)
