"""The service ends in every way that it was not asked for, and its clock jumps; what it stored is judged behind it."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import empty_database
from tests.faults.scene import Scene, kill, more_written, scene, settled, stopped, wait_component, written
from tests.running import Running, wait_for

SCHEMA = "rlflow_sim"


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One venue and one database for all cases; each goes on in the data directory of the one before."""
    with empty_database(postgres_url) as url, scene(tmp_path_factory.mktemp("scene"), url) as world:
        yield world


def kill_over_and_over(world: Scene, kills: int, chance: random.Random) -> None:
    """Kill the service so many times, at random moments of its work, and let the last one stop properly."""
    had: dict[str, int] = {}
    for _ in range(kills):
        with world.recording() as running:
            written(running, 100)
            time.sleep(chance.uniform(0, 0.4))
            had |= received(running)
            kill(running)
    with world.recording() as running:
        written(running, 100)
        stopped(running)
    world.assert_good()
    assert_kept(world, had)


def received(running: Running) -> dict[str, int]:
    """Return how many frames of its only capture the service says to have in its journal."""
    status = running.ask("/rl/status")
    (feed,) = status["feeds"]
    assert status["captures"]["captures"] == 1
    return {feed["capture"]: status["captures"]["journalled"]}


def assert_kept(world: Scene, had: dict[str, int]) -> None:
    """Assert that all that was received is accounted for, and that no gap hides any of it."""
    committed = dict(world.execute(f"SELECT capture_id::text, committed_frame FROM {SCHEMA}.rl_captures"))
    assert len(had) > 1
    assert not {capture: frames for capture, frames in had.items() if committed.get(capture, -1) < frames}
    lost = f"SELECT sum(dropped), count(*) FILTER (WHERE closed_ns IS NULL) FROM {SCHEMA}.rl_captures"
    assert world.execute(lost) == [(0, 0)]
    causes = {cause for (cause,) in world.execute(f"SELECT DISTINCT cause FROM {SCHEMA}.rl_feed_gaps")}
    assert not [cause for cause in causes if "neither" in cause]


def test_kill_9_at_random_moments_loses_no_received_frame(world: Scene) -> None:
    kill_over_and_over(world, 5, random.Random(11))


@pytest.mark.slow_fault
@pytest.mark.timeout(1800)
def test_fifty_kills_in_a_row_lose_no_received_frame(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=1000) as world:
        kill_over_and_over(world, 50, random.Random(12))


def wait_struck(world: Scene, before: int) -> None:
    """Wait until the line of the database has struck more often than before."""
    wait_for("a lost answer", lambda: world.to_database.struck > before or None)


def test_a_commit_whose_answer_is_lost_on_the_line_is_made_once(world: Scene) -> None:
    with world.recording() as running:
        written(running, 300)
        for _ in range(3):
            before = world.to_database.struck
            world.to_database.swallow_answer_to = b"COMMIT"
            wait_struck(world, before)
            more_written(running, 100)
        stopped(running)
    world.assert_good()


def test_kill_9_between_a_commit_and_its_answer_stores_nothing_twice(world: Scene) -> None:
    for _ in range(2):
        with world.recording() as running:
            written(running, 100)
            before = world.to_database.struck
            world.to_database.hold_answer_to = b"COMMIT"
            wait_struck(world, before)
            kill(running)
    with world.recording() as running:
        written(running, 100)
        stopped(running)
    world.assert_good()


# What raises on purpose, when it has been called so often; the rest of the service is as always.
BROKEN = """
from rlflow.__main__ import main
from {module} import {name}

work, calls = {name}.{method}, 0

def broken(*args, **named):
    global calls
    calls += 1
    if calls > {after}:
        raise {error}("broken on purpose")
    return work(*args, **named)

{name}.{method} = broken
main()
"""

FAILURES = {
    "the writer's thread": ("rlflow.data.database", "Database", "commit", 20, "MemoryError"),
    "the books": ("rlflow.data.orderbook_state", "OrderbookState", "_apply", 400, "RuntimeError"),
    "the feed, in the reader of its socket": (
        "rlflow.data.feed.capture_log",
        "CaptureLog",
        "pass_on",
        400,
        "RuntimeError",
    ),
    "a task in the background": ("rlflow.data.journal.journal", "Journal", "sync", 10, "OSError"),
}


def test_whatever_raises_ends_the_process_and_the_next_start_goes_on(world: Scene) -> None:
    for what, place in FAILURES.items():
        program = BROKEN.format(**dict(zip(("module", "name", "method", "after", "error"), place, strict=True)))
        with world.recording(program=("-c", program)) as running:
            assert running.popen.wait(60) == 1, what
            assert "broken on purpose" in running.said(), what
    with world.recording() as running:
        written(running, 100)
        stopped(running)
    world.assert_good()
    assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures WHERE closed_ns IS NULL") == [(0,)]


# The wall clock goes wrong by as many seconds as a file says; the monotonic clock does not.
WRONG_CLOCK = """
import os, pathlib, time
right_ns = time.time_ns
wrong_by = pathlib.Path(os.environ["WRONG_BY"])

def wrong_ns():
    return right_ns() + int(wrong_by.read_text()) * 10**9

time.time_ns = wrong_ns
time.time = lambda: wrong_ns() / 1e9
from rlflow.__main__ import main
main()
"""

HOUR_S, DAY_S = 3_600, 86_400


def test_a_clock_that_jumps_costs_nothing(world: Scene, tmp_path: Path) -> None:
    """By hours, and by days for which there is no partition yet, beside a reader that holds on to all there are."""
    wrong_by = tmp_path / "wrong-by"

    def jump(seconds: int) -> None:
        fresh = wrong_by.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(wrong_by)

    jump(0)
    clock: Any = {"program": ("-c", WRONG_CLOCK), "WRONG_BY": str(wrong_by)}
    with world.recording(**clock) as running, psycopg.connect(world.database_url) as reader:
        written(running, 100)
        reader.execute(f"SELECT count(*) FROM {SCHEMA}.rl_orderbook_deltas".encode())
        for seconds in (HOUR_S, -HOUR_S, -3 * DAY_S, 10 * DAY_S):
            jump(seconds)
            more_written(running, 200)
            wait_component(running, "database", "healthy")
        settled(running)
        kill(running)
    jump(0)
    with world.recording(**clock) as running:
        written(running, 200)
        stopped(running)
    world.assert_good()
