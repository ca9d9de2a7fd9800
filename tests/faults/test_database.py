"""Everything that can happen to the database, while a service records into it."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import psycopg
import pytest

from rlflow.data.embedded.files import locate
from rlflow.data.embedded.programs import find_programs
from rlflow.data.embedded.shared_server import EmbeddedPostgres
from tests.conftest import empty_database
from tests.embedded_home import cleared_home
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
from tests.running import Running, wait_for

SCHEMA = "rlflow_sim"
DELTAS = f"{SCHEMA}.rl_orderbook_deltas"

# The same service; only that it looks for other recorders more often than every 10 s.
WATCHFUL = """
from rlflow.__main__ import main
from rlflow.data import write_queue
write_queue.LOOK_AROUND_S = 0.2
main()
"""


@attrs.frozen
class Recorder:
    """A service that several cases share, one after the other."""

    world: Scene
    running: Running

    def assert_well(self) -> None:
        """Assert that everything is in the database, right, and balanced, and that health says so."""
        wait_component(self.running, "database", "healthy")
        settled(self.running)
        wait_component(self.running, "write_queue", "healthy")
        self.world.assert_good()


@pytest.fixture(scope="module")
def recorder(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """A service whose database was away when it started, and has everything by now."""
    directory = tmp_path_factory.mktemp("recorder")
    with empty_database(postgres_url) as url, scene(directory, url, rate=300) as world:
        world.to_database.is_refusing = True
        with world.recording(program=("-c", WATCHFUL)) as running:
            wait_component(running, "database", "degraded")
            more_received(running, 300)
            world.to_database.is_refusing = False
            written(running, 300)
            yield Recorder(world, running)
            stopped(running)


def reason_of(running: Running, component: str) -> str:
    """Return why health thinks ill of a component, an empty text if it does not."""
    return str(running.ask("/rl/health", None)["components"][component].get("reason", ""))


def cut_off(world: Scene) -> None:
    """Let the server break every connection of this database, as a restart or a fail-over does."""
    world.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_a_database_that_is_away_at_the_start_gets_everything_later(recorder: Recorder) -> None:
    assert recorder.running.ask("/rl/status")["write_queue"]["rows_written"] >= 300
    recorder.assert_well()


def test_a_database_that_goes_away_and_comes_back_gets_everything(recorder: Recorder) -> None:
    line = recorder.world.to_database
    line.is_refusing = True
    line.cut()
    assert wait_component(recorder.running, "database", "degraded")["reason"]
    more_received(recorder.running, 500)
    line.is_refusing = False
    recorder.assert_well()


def test_a_slow_database_is_waited_for(recorder: Recorder) -> None:
    recorder.world.to_database.delay_s = 0.1
    more_received(recorder.running, 600)
    recorder.world.to_database.delay_s = 0.0
    recorder.assert_well()


def test_a_line_that_freezes_and_thaws_loses_nothing(recorder: Recorder) -> None:
    recorder.world.to_database.is_frozen = True
    more_received(recorder.running, 900)
    assert recorder.running.ask("/rl/status")["write_queue"]["backlog_bytes"] > 0
    recorder.world.to_database.is_frozen = False
    recorder.assert_well()


def test_a_database_that_becomes_read_only_is_said_to_and_gets_everything_later(recorder: Recorder) -> None:
    """As of a fail-over to a standby, or a hoster that has found the disk full."""
    world = recorder.world
    name = world.execute("SELECT current_database()")[0][0]
    world.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        cut_off(world)
        wait_for("the reason", lambda: "read-only" in reason_of(recorder.running, "database") or None)
        more_received(recorder.running, 500)
        assert recorder.running.ask("/rl/health")["components"]["database"]["status"] == "degraded"
    finally:
        with psycopg.connect(world.database_url, autocommit=True) as direct:
            direct.execute("SET default_transaction_read_only = off")
            direct.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
    recorder.assert_well()


@contextlib.contextmanager
def refusing_rows(world: Scene, code: str) -> Iterator[None]:
    """Let the table of deltas answer every row with an error."""
    world.execute(
        f"CREATE FUNCTION {SCHEMA}.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$"
    )
    try:
        world.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {DELTAS} FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.refuse()"
        )
        yield
    finally:
        world.execute(f"DROP FUNCTION {SCHEMA}.refuse() CASCADE")


def test_a_full_database_is_said_to_be_and_gets_everything_later(recorder: Recorder) -> None:
    with refusing_rows(recorder.world, "53100"):
        wait_component(recorder.running, "database", "degraded")
        more_received(recorder.running, 500)
        reason = wait_component(recorder.running, "database", "degraded")["reason"]
        assert "could not extend file" in reason
    recorder.assert_well()


def test_rows_that_the_database_refuses_become_gaps_and_all_others_are_stored(recorder: Recorder) -> None:
    world, running = recorder.world, recorder.running
    world.execute(f"ALTER TABLE {DELTAS} ADD CONSTRAINT poison CHECK (frame_no % 200 <> 0) NOT VALID")
    running.wait_status("a refused row", lambda status: status["accounting"]["rejected"] >= 2)
    world.execute(f"ALTER TABLE {DELTAS} DROP CONSTRAINT poison")
    running.post("/rl/admin/resnapshot")
    more_written(running, 500)
    recorder.assert_well()
    refused = running.ask("/rl/status")["accounting"]["rejected"]
    found = world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_rejected_frames WHERE reason LIKE 'PostgreSQL refused%%'")
    assert found == [(refused,)]
    assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_feed_gaps WHERE cause LIKE 'PostgreSQL refused%%'") == found
    open_gaps = f"SELECT count(*) FROM {SCHEMA}.rl_feed_gaps WHERE cause LIKE 'PostgreSQL refused%%' AND to_ns IS NULL"
    assert world.execute(open_gaps) == [(0,)], "the snapshots behind them have ended them"


def test_partitions_that_somebody_took_away_are_there_again(recorder: Recorder) -> None:
    world, running = recorder.world, recorder.running
    refused = running.ask("/rl/status")["accounting"]["rejected"]
    today = world.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0]
    partitions = [f"{SCHEMA}.rl_{table}" for table in ("orderbook_deltas", "orderbook_snapshots", "trades")]
    for table in partitions:
        world.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_{today}")
    more_written(running, 300)
    recorder.assert_well()
    assert running.ask("/rl/status")["accounting"]["rejected"] == refused, "nothing was wrong with the rows"
    for table in partitions:
        is_attached = f"SELECT count(*) FROM pg_inherits WHERE inhrelid = '{table}_{today}'::regclass"
        assert world.execute(is_attached) == [(1,)]


def test_two_recorders_of_one_database_both_record_and_both_say_so(recorder: Recorder) -> None:
    world = recorder.world
    with world.recording("second", program=("-c", WATCHFUL)) as second:
        for running in (recorder.running, second):
            wait_for("a word of it", lambda at=running: "another process records" in reason_of(at, "database") or None)  # type: ignore[misc]
        written(second, 300)
        more_written(recorder.running, 300)
        stopped(second)
    recorder.assert_well()


# -- a service of their own ----------------------------------------------------------------------------------------


def test_a_journal_of_another_database_is_refused_and_kept_for_its_own(
    tmp_path: Path, database_url: str, other_database_url: str
) -> None:
    with scene(tmp_path, database_url) as world:
        with world.recording() as running:
            written(running, 100)
            world.to_database.is_refusing = True
            world.to_database.cut()
            more_received(running, 500)
            kill(running)
        ended = world.run(DATABASE_URL=other_database_url)
        assert ended.returncode == 2
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
        assert len(errors) == 1
        assert "use the database it was made with, or move the journal away" in errors[0]
        with psycopg.connect(other_database_url) as other:
            assert other.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures".encode()).fetchone() == (0,)
        world.to_database.is_refusing = False
        with world.recording() as running:
            running.wait_status("caught up", lambda status: status["write_queue"]["caught_up_frames"] >= 500)
            settled(running)
            stopped(running)
        world.assert_good()
        assert world.execute(f"SELECT count(*) FROM {SCHEMA}.rl_captures WHERE closed_ns IS NULL") == [(0,)]


def dump(url: str) -> str:
    said = subprocess.run([find_programs() / "pg_dump", url], capture_output=True, text=True, check=True)
    return said.stdout


def restore(world: Scene, backup: str) -> None:
    """Put the backup in the place of what is there, at once."""
    script = f"BEGIN; DROP SCHEMA {SCHEMA} CASCADE;\n{backup}\nCOMMIT;"
    program = (find_programs() / "psql", "--quiet", "--set=ON_ERROR_STOP=1", world.database_url)
    subprocess.run(program, input=script, capture_output=True, text=True, check=True)


def test_a_database_restored_from_a_backup_gets_what_the_journal_still_has(tmp_path: Path, database_url: str) -> None:
    """While the service runs, which cannot go on there: it ends, saying so, and the next start goes on."""
    with scene(tmp_path, database_url) as world:
        with world.recording() as running:
            written(running, 300)
            backup = dump(database_url)
            more_written(running, 500)
            restore(world, backup)
            cut_off(world)
            assert running.popen.wait(60) == 1
            assert "restored from a backup" in running.said()
        with world.recording() as running:
            written(running, 500)
            stopped(running)
        world.assert_good()
        lost = f"SELECT DISTINCT cause FROM {SCHEMA}.rl_feed_gaps WHERE cause LIKE '%neither%'"
        assert world.execute(lost) == [], "the journal had all of it"


@attrs.define
class OwnServer:
    """A PostgreSQL that a case may break."""

    directory: Path
    server: EmbeddedPostgres

    @property
    def url(self) -> str:
        return self.server.url("rlflow_test")

    def kill(self) -> None:
        """Kill its first process, whose children then end by themselves."""
        pid = self.server.status().process_id
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    directory = tmp_path_factory.mktemp("server")
    with cleared_home(directory), EmbeddedPostgres.start(directory, durable=False) as server:
        yield OwnServer(directory, server)


def test_a_server_that_crashes_and_recovers_gets_everything(tmp_path: Path, own_server: OwnServer) -> None:
    with scene(tmp_path, own_server.url) as world, world.recording() as running:
        written(running, 200)
        own_server.kill()
        wait_component(running, "database", "degraded")
        more_received(running, 500)
        own_server.server.ensure_running()
        wait_component(running, "database", "healthy")
        settled(running)
        stopped(running)
        world.assert_good()


@pytest.fixture
def small_disk(own_server: OwnServer) -> Iterator[Path]:
    """A file system of 64 MiB that belongs to the server; only root may make one."""
    directory = tempfile.mkdtemp(prefix="rlflow-disk-")
    account = locate(own_server.directory).account
    options = f"size=64m,mode=0700,uid={account.uid},gid={account.gid}"
    mount = ("mount", "-t", "tmpfs", "-o", options, "rlflow-test", directory)
    try:
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root can mount a file system, and not everywhere")
        try:
            yield Path(directory)
        finally:
            subprocess.run(("umount", "--lazy", directory), check=True)
    finally:
        os.rmdir(directory)


def test_a_disk_that_is_full_under_the_database_costs_nothing(
    tmp_path: Path, own_server: OwnServer, small_disk: Path
) -> None:
    with psycopg.connect(own_server.server.url("postgres"), autocommit=True) as direct:
        direct.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'".encode())
        direct.execute("CREATE DATABASE rlflow_small TABLESPACE small")
    try:
        with scene(tmp_path, own_server.server.url("rlflow_small")) as world, world.recording() as running:
            written(running, 200)
            with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while ballast.write(bytes(65_536)):
                    pass
            reason = wait_component(running, "database", "degraded")["reason"]
            assert "No space left on device" in reason
            more_received(running, 500)
            (small_disk / "ballast").unlink()
            wait_component(running, "database", "healthy")
            settled(running)
            stopped(running)
            world.assert_good()
    finally:
        with psycopg.connect(own_server.server.url("postgres"), autocommit=True) as direct:
            direct.execute("DROP DATABASE rlflow_small WITH (FORCE)")
            direct.execute("DROP TABLESPACE small")


@pytest.mark.slow_fault
@pytest.mark.timeout(400)
def test_a_line_that_stays_frozen_is_given_up_and_nothing_is_lost(tmp_path: Path, database_url: str) -> None:
    """Nothing tells the service that its database will never answer: the peer's kernel acknowledges every byte."""
    with scene(tmp_path, database_url) as world, world.recording() as running:
        written(running, 200)
        world.to_database.is_frozen = True
        wait_for("an overdue answer", lambda: "no answer" in reason_of(running, "database") or None, limit_s=200)
        more_received(running, 500)
        world.to_database.is_frozen = False
        wait_component(running, "database", "healthy")
        settled(running)
        stopped(running)
        world.assert_good()
