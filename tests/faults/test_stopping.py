"""A stop is asked for in every phase of the service's life, and what it stored is judged behind it."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import empty_database
from tests.faults.scene import Scene, more_received, scene, stopped, written
from tests.running import Running, wait_for

SCHEMA = "rlflow_sim"


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One venue and one database for all cases."""
    with empty_database(postgres_url) as url, scene(tmp_path_factory.mktemp("scene"), url) as world:
        yield world


@contextlib.contextmanager
def connecting(world: Scene) -> Iterator[None]:
    """The venue's machine is there, and says nothing."""
    world.to_venue.is_frozen = True
    try:
        yield
    finally:
        world.to_venue.is_frozen = False


@contextlib.contextmanager
def subscribing(world: Scene) -> Iterator[None]:
    """The venue never answers the subscription; who listens on the first connection has made his long ago."""
    world.tell_venue("faults", {"kind": "ignore", "command": "subscribe"})
    yield


@contextlib.contextmanager
def snapshots(world: Scene) -> Iterator[None]:
    """Snapshots are on their way, so slowly that a stop falls in the middle of them."""
    world.to_venue.bytes_per_s = 2_000
    try:
        yield
    finally:
        world.to_venue.bytes_per_s = None


PHASES: dict[str, tuple[Any, Callable[[Running], bool]]] = {
    "connecting": (connecting, lambda running: running.ask("/rl/status")["captures"]["captures"] == 0),
    "subscribing": (subscribing, lambda running: running.ask("/rl/status")["captures"]["captures"] == 1),
    "snapshots": (snapshots, lambda running: running.ask("/rl/status")["captures"]["captures"] == 1),
}


def test_a_stop_before_the_first_book_is_clean(world: Scene) -> None:
    for phase, (trouble, is_there) in PHASES.items():
        with trouble(world), world.recording() as running:
            wait_for(phase, lambda is_there=is_there, running=running: is_there(running) or None)  # type: ignore[misc]
            assert running.stop(signal.SIGTERM) == 0, (phase, running.said())
    with world.recording() as running:
        written(running, 200)
        stopped(running)
    world.assert_good()
    assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures WHERE closed_ns IS NULL") == [(0,)]


def test_a_stop_in_the_middle_of_a_transaction_ends_it_first(world: Scene) -> None:
    with world.recording() as running:
        written(running, 200)
        world.to_database.delay_s = 0.2
        running.wait_status("a transaction", lambda status: status["write_queue"]["held_frames"] > 0)
        assert running.stop(signal.SIGTERM) == 0, running.said()
    world.to_database.delay_s = 0.0
    world.assert_good()
    assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures WHERE closed_ns IS NULL") == [(0,)]


@pytest.mark.slow_fault
def test_a_stop_while_the_database_says_nothing_ends_at_the_deadline_or_at_a_second_signal(world: Scene) -> None:
    for deadline_s, signals in (("2", 1), ("3600", 2)):
        with world.recording(RL_STOP_DEADLINE=deadline_s) as running:
            written(running, 200)
            world.to_database.is_frozen = True
            more_received(running, 300)
            for _ in range(signals):
                running.popen.send_signal(signal.SIGTERM)
                running.wait_said("(stop asked for)")
            assert running.popen.wait(60) == 70
            world.to_database.is_frozen = False
    with world.recording() as running:
        written(running, 200)
        stopped(running)
    world.assert_good()
    assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures WHERE closed_ns IS NULL") == [(0,)]
