"""The service is killed, cut off and starved, and what it stored is compared with the venue's own books."""

import random
import time
from pathlib import Path

from tests.faults.scene import kill, scene, stopped, written
from tests.running import wait_for


def test_kill_9_at_random_moments_loses_no_received_frame(tmp_path: Path, database_url: str) -> None:
    chance = random.Random(11)
    with scene(tmp_path, database_url) as world:
        for _ in range(5):
            with world.recording() as running:
                written(running, 100)
                time.sleep(chance.uniform(0, 0.4))
                kill(running)
        with world.recording() as running:
            written(running, 100)
            stopped(running)
        world.assert_good()


def test_a_commit_whose_answer_is_lost_on_the_line_is_made_once(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url) as world, world.recording() as running:
        written(running, 300)
        for lost in range(1, 4):
            world.to_database.swallow_answer_to = b"COMMIT"
            wait_for("a lost answer", lambda lost=lost: world.to_database.struck >= lost or None)  # type: ignore[misc]
            written(running, running.ask("/rl/status")["write_queue"]["rows_written"] + 100)
        stopped(running)
        world.assert_good()
