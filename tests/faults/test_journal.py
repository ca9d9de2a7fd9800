"""Everything that can happen to the journal and to the disk that it is on."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlflow.data.journal.format import SegmentHeader, encode_header
from rlflow.data.journal.segment import segment_paths
from tests.conftest import empty_database
from tests.faults.scene import (
    Scene,
    kill,
    more_received,
    more_written,
    scene,
    settled,
    stopped,
    wait_component,
    written,
)

SCHEMA = "rlflow_sim"


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One venue and one database for all cases, for each a data directory of its own."""
    with empty_database(postgres_url) as url, scene(tmp_path_factory.mktemp("scene"), url, rate=1500) as world:
        yield world


def causes(world: Scene) -> set[str]:
    """Return why books have gaps."""
    query = f"SELECT DISTINCT cause FROM {SCHEMA}.rl_feed_gaps WHERE channel = 'orderbook_delta'"
    return {cause for (cause,) in world.execute(query)}


def cut_database(world: Scene) -> None:
    """Take the database away, until it is no longer refused."""
    world.to_database.is_refusing = True
    world.to_database.cut()


# The writer's channel is short, so that it is full before minutes have passed.
NARROW = """
from rlflow.__main__ import main
from rlflow.supervisor import service
service.ROWS = 64
main()
"""


def test_what_neither_journal_nor_database_could_take_is_a_gap_and_the_rest_is_right(world: Scene) -> None:
    narrow: Any = {"program": ("-c", NARROW), "RL_JOURNAL_MAX_BYTES": str(2**20)}
    with world.recording("narrow", **narrow) as running:
        written(running, 200)
        cut_database(world)
        assert "unprotected" in wait_component(running, "journal", "degraded")["reason"]
        running.wait_status("lost frames", lambda status: status["books"]["dropped"] > 500)
        assert running.ask("/rl/health", None)["status"] == "unhealthy"
        world.to_database.is_refusing = False
        wait_component(running, "database", "healthy")
        wait_component(running, "journal", "healthy")
        settled(running)
        status = running.wait_status(
            "all told",
            lambda at: at["accounting"]["lost"] == at["books"]["dropped"] + at["captures"]["dropped"],
        )
        assert status["books"]["dropped"] > 500
        stopped(running)
    world.assert_good()
    assert any("unavailable" in cause or "neither in the database" in cause for cause in causes(world))


# The journal leaves 8 MiB of its disk to others instead of a gibibyte, so that a small one can be filled.
MODEST = """
from rlflow.__main__ import main
from rlflow.data.journal.journal import Journal
Journal.open.__func__.__kwdefaults__["min_free_bytes"] = 8 * 2**20
main()
"""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 32 MiB; only root may make one."""
    directory = tempfile.mkdtemp(prefix="rlflow-disk-")
    mount = ("mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "rlflow-test", directory)
    try:
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root can mount a file system, and not everywhere")
        try:
            yield Path(directory)
        finally:
            subprocess.run(("umount", "--lazy", directory), check=True)
    finally:
        os.rmdir(directory)


def fill(ballast: Path) -> None:
    """Take what is free of a disk, to the last byte."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65_536)):
            pass


def test_a_full_disk_under_the_journal_costs_no_frame_while_the_database_keeps_up(
    world: Scene, small_disk: Path
) -> None:
    """Nor does a kill meanwhile cost anything that was committed, or keep the next start from recording."""
    settings: Any = {"RL_DATA_DIR": str(small_disk / "data"), "program": ("-c", MODEST)}
    with world.recording("disk", **settings) as running:
        written(running, 200)
        assert running.ask("/rl/status")["captures"]["unprotected"] == 0
        fill(small_disk / "ballast")
        assert "unprotected" in wait_component(running, "journal", "degraded")["reason"]
        more_written(running, 300)
        assert running.ask("/rl/status")["captures"]["dropped"] == 0
        kill(running)
    with world.recording("disk", **settings) as running:
        written(running, 300)
        wait_component(running, "journal", "degraded")
        (small_disk / "ballast").unlink()
        wait_component(running, "journal", "healthy")
        more_written(running, 300)
        settled(running)
        status = running.ask("/rl/status")
        assert (status["accounting"]["dropped"], status["accounting"]["lost"]) == (0, 0)
        stopped(running)
    world.assert_good()


def test_a_journal_torn_in_the_middle_costs_what_is_torn_and_says_so(world: Scene) -> None:
    with world.recording("torn") as running:
        written(running, 100)
        cut_database(world)
        more_received(running, 800)
        kill(running)
    world.to_database.is_refusing = False
    segment = segment_paths(world.directory / "torn" / "data" / "journal")[-1]
    content = bytearray(segment.read_bytes())
    middle = len(content) * 3 // 4
    content[middle : middle + 2_000] = bytes(2_000)
    segment.write_bytes(content)
    with world.recording("torn") as running:
        written(running, 500)
        assert "journal damaged" in running.said()
        stopped(running)
    world.assert_good()
    assert any("neither in the database nor in the journal" in cause for cause in causes(world))


def test_a_journal_of_another_version_is_refused_and_left_alone(world: Scene) -> None:
    journal = world.directory / "old" / "data" / "journal"
    journal.mkdir(parents=True)
    segment = journal / f"{0:020d}.journal"
    segment.write_bytes(encode_header(SegmentHeader(0, 0, {}, version=9)) + b"?")
    before = segment.read_bytes()
    ended = world.run("old")
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if line.startswith("error:")] == [
        "error: the journal has format 9, this rlflow knows format 1 only"
    ]
    assert segment.read_bytes() == before
