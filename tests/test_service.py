"""The whole service as a process: what a user starts, asks, stops and kills."""

import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from rlflow.data.embedded.files import locate
from rlflow.data.feed.capture_log import new_capture_id
from rlflow.data.journal.journal import Journal
from rlflow.session.records import Batch, Kind, Opened, local_batch
from tests.embedded_home import cleared_home
from tests.running import Running, clean_environ, exchange, process, service, wait_for


def facts(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def assert_every_frame_is_stored_once(url: str, schema: str) -> int:
    """Assert that each capture's frames are all accounted for, and return how many there are."""
    total = 0
    captures = facts(
        url,
        f"SELECT capture, committed_frame, stored + control + duplicate + unknown + rejected + sampled_out,"
        f" closed_ns IS NOT NULL, stored FROM {schema}.rl_captures",
    )
    assert captures
    for key, committed, accounted, is_closed, stored in captures:
        assert is_closed
        assert accounted == committed - 1, "all numbers but the closing record's are frames"
        rows = facts(
            url,
            f"SELECT count(*), count(DISTINCT frame_no) FROM ("
            f" SELECT frame_no FROM {schema}.rl_orderbook_deltas WHERE capture = {key} UNION ALL"
            f" SELECT frame_no FROM {schema}.rl_orderbook_snapshots"
            f" WHERE capture = {key} AND origin = 'venue' UNION ALL"
            f" SELECT frame_no FROM {schema}.rl_trades WHERE capture = {key}) AS frames",
        )[0]
        assert rows == (stored, stored)
        total += stored
    return total


def run(directory: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rlflow", *arguments],
        cwd=directory,
        env=clean_environ(**environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def is_moving(running: Running) -> bool:
    first = running.ask("/rl/orderbook/snapshot")
    wait_for("a moved book", lambda: running.ask("/rl/orderbook/snapshot")["frame_no"] > first["frame_no"] or None)
    return bool(first["valid"])


def test_without_any_setting_it_records_the_simulation_and_stops_cleanly(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url) as running:
        wait_for("healthy", lambda: running.ask("/rl/health")["status"] == "healthy" or None)
        wait_for("ready", lambda: running.ask("/rl/ready", None)["ready"] or None)
        assert is_moving(running)
        health = running.ask("/rl/health")
        assert health["components"]["orderbook_client"]["simulated"] is True
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 20)
        assert running.ask("/rl/status")["accounting"]["balances"]
        assert running.stop() == 0
    assert assert_every_frame_is_stored_once(database_url, "rlflow_sim") > 20


def test_ctrl_c_stops_it_as_well(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url) as running:
        assert running.stop(signal.SIGINT) == 0


def test_an_impatient_user_leaves_no_server_behind(tmp_path: Path) -> None:
    """Signals come until the end, also when only the embedded server is still to be let go."""
    with cleared_home(tmp_path / "data"), service(tmp_path) as running:
        wait_for("healthy", lambda: running.ask("/rl/health")["status"] == "healthy" or None)
        pid_file = locate(tmp_path / "data").data / "postmaster.pid"
        assert pid_file.exists()
        while running.popen.poll() is None:
            running.popen.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        assert running.popen.returncode in {0, 1}
        assert not pid_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_exchange_takes_its_keys_away_when_it_is_stopped(tmp_path: Path, number: int) -> None:
    with process(tmp_path, "exchange") as started:
        started.wait_said("(# the exchange is running)")
        assert list((tmp_path / "tmp").glob("rlflow-exchange-*/*.pem"))
        assert started.stop(number) == 0
    assert not list((tmp_path / "tmp").iterdir())


def test_an_exchange_with_a_directory_for_its_keys_makes_no_other(tmp_path: Path) -> None:
    with exchange(tmp_path):
        assert list((tmp_path / "keys").glob("*.pem"))
        assert not list((tmp_path / "tmp").iterdir())


def test_kill_9_under_load_loses_nothing_and_stores_nothing_twice(tmp_path: Path, database_url: str) -> None:
    chance = random.Random(7)
    with exchange(tmp_path / "venue", "--rate", "2000") as settings:
        for _ in range(10):
            with service(tmp_path, DATABASE_URL=database_url, **settings) as running:
                running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 500)
                time.sleep(chance.uniform(0, 0.5))
                running.popen.kill()
                running.popen.wait()
        with service(tmp_path, DATABASE_URL=database_url, **settings) as running:
            running.wait_status("caught up", lambda status: status["write_queue"]["rows_written"] > 500)
            assert running.stop() == 0
    assert assert_every_frame_is_stored_once(database_url, "rlflow_sim") > 5000
    assert len(facts(database_url, "SELECT 1 FROM rlflow_sim.rl_captures")) == 11
    audit = run(tmp_path, "audit", "--env", "sim", DATABASE_URL=database_url, RL_DATA_DIR=str(tmp_path / "data"))
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_database_that_goes_away_costs_nothing(tmp_path: Path, database_url: str) -> None:
    """The server refuses and drops this database's connections, then lets them in again."""
    name = urlsplit(database_url).path[1:]
    postgres = urlsplit(database_url)._replace(path="/postgres").geturl()

    def allow(value: bool) -> None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {value}')
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    with (
        exchange(tmp_path / "venue", "--rate", "1000") as settings,
        service(tmp_path, DATABASE_URL=database_url, **settings) as running,
    ):
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 200)
        allow(False)
        wait_for(
            "a database that is away",
            lambda: running.ask("/rl/health")["components"]["database"]["status"] == "degraded" or None,
        )
        before = running.ask("/rl/status")["captures"]["frames"]
        running.wait_status("more frames", lambda status: status["captures"]["frames"] > before + 2000)
        assert is_moving(running)
        allow(True)
        wait_for("healthy again", lambda: running.ask("/rl/health")["status"] == "healthy" or None)
        running.flush()
        assert running.stop() == 0
    assert assert_every_frame_is_stored_once(database_url, "rlflow_sim") > 2000


def test_a_stop_while_the_database_is_away_leaves_the_rest_to_the_journal(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL="postgresql:///nobody?host=/nowhere") as running:
        running.wait_status("frames", lambda status: status["captures"]["frames"] > 50)
        assert running.ask("/rl/health")["components"]["database"]["status"] == "degraded"
        assert running.stop() == 0
    with service(tmp_path, DATABASE_URL=database_url) as running:
        running.wait_status("caught up", lambda status: status["write_queue"]["caught_up_frames"] > 50)
        assert running.stop() == 0
    assert_every_frame_is_stored_once(database_url, "rlflow_sim")
    assert len(facts(database_url, "SELECT 1 FROM rlflow_sim.rl_captures")) == 2


def write_backlog(directory: Path, batches: int) -> None:
    """Leave a journal as of a long outage: frames that are no JSON make one row each, and are the slowest to store."""
    journal = Journal.open(directory / "journal", max_bytes=2**30)
    capture = new_capture_id(time.time_ns(), bytes(10))
    journal.append(local_batch(Opened(url="ws://venue/", environment="sim"), capture, 0, time.time_ns()))
    for number in range(batches):
        frames = tuple(b"frame %d" % frame for frame in range(1000))
        journal.append(Batch(Kind.FRAMES, capture, 1 + number * 1000, time.time_ns(), frames))
    journal.close()


def test_a_stop_leaves_a_long_backlog_to_the_next_start(tmp_path: Path, database_url: str) -> None:
    write_backlog(tmp_path / "data", batches=400)
    with service(tmp_path, DATABASE_URL=database_url, RL_STOP_DEADLINE="4") as running:
        running.wait_status("catching up", lambda status: status["write_queue"]["is_catching_up"])
        assert running.stop() == 0
    stored = facts(database_url, "SELECT count(*) FROM rlflow_sim.rl_rejected_frames")[0][0]
    assert stored < 400_000, "the backlog was too short for this test"
    with service(tmp_path, DATABASE_URL=database_url) as running:
        running.flush()
        assert running.stop() == 0
    assert facts(database_url, "SELECT count(*) FROM rlflow_sim.rl_rejected_frames") == [(400_000,)]


def test_a_refused_key_ends_it_with_one_clear_line(tmp_path: Path, database_url: str) -> None:
    with exchange(tmp_path / "venue") as settings, exchange(tmp_path / "other") as other:
        wrong = settings | {"KALSHI_PRIVATE_KEY_PATH": other["KALSHI_PRIVATE_KEY_PATH"]}
        ended = run(tmp_path, DATABASE_URL=database_url, RL_DATA_DIR=str(tmp_path / "d"), RL_PORT="0", **wrong)
    assert ended.returncode == 2
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "401" in errors[0]
    assert "Traceback" not in ended.stderr


def test_wrong_settings_are_all_named_and_nothing_is_started(tmp_path: Path) -> None:
    ended = run(tmp_path, RL_PORT="x", KALSHI_API_KEY_ID="k", RL_DATA_DIR=str(tmp_path / "d"))
    assert ended.returncode == 2
    named = {line.split()[1].rstrip(":") for line in ended.stderr.splitlines()}
    assert named == {"RL_PORT", "KALSHI_PRIVATE_KEY_PATH", "RL_MARKET_TICKER"}
    assert not (tmp_path / "d").exists()


def test_a_port_in_use_is_named(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url) as running:
        port = running.url.rsplit(":", 1)[1]
        ended = run(tmp_path, RL_PORT=port, RL_DATA_DIR=str(tmp_path / "d2"), DATABASE_URL=database_url)
    assert ended.returncode == 2
    assert "RL_PORT" in ended.stderr


def test_two_processes_never_share_a_data_directory(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url) as running:
        ended = run(tmp_path, RL_PORT="0", RL_DATA_DIR=str(tmp_path / "data"), DATABASE_URL=database_url)
        assert ended.returncode == 2
        assert f"process {running.popen.pid}" in ended.stderr


def test_a_stop_that_hangs_ends_at_the_deadline_and_loses_nothing(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url, RL_STOP_DEADLINE="1") as running:
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 20)
        with psycopg.connect(database_url) as blocker:
            blocker.execute("LOCK TABLE rlflow_sim.rl_captures IN ACCESS EXCLUSIVE MODE")
            assert running.stop() == 70
    with service(tmp_path, DATABASE_URL=database_url) as running:
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 20)
        assert running.stop() == 0
    assert_every_frame_is_stored_once(database_url, "rlflow_sim")


def test_a_second_signal_ends_it_though_the_database_hangs(tmp_path: Path, database_url: str) -> None:
    with service(tmp_path, DATABASE_URL=database_url, RL_STOP_DEADLINE="3600") as running:
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 20)
        with psycopg.connect(database_url) as blocker:
            blocker.execute("LOCK TABLE rlflow_sim.rl_captures IN ACCESS EXCLUSIVE MODE")
            running.wait_status("a hanging commit", lambda status: status["write_queue"]["held_frames"] > 0)
            running.popen.send_signal(signal.SIGTERM)
            running.wait_said(r"(stop asked for)")
            assert running.stop(signal.SIGTERM, limit_s=20) == 70
    with service(tmp_path, DATABASE_URL=database_url) as running:
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 20)
        assert running.stop() == 0
    assert_every_frame_is_stored_once(database_url, "rlflow_sim")


@pytest.mark.parametrize("command", ["serve", "import", "book", "audit", "exchange"])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    ended = run(tmp_path, command, "--help")
    assert ended.returncode == 0
    assert "Usage:" in ended.stdout


def test_a_log_that_cannot_be_written_ends_no_recording(tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environ = {"RL_PORT": str(port), "RL_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": database_url}
    with Path("/dev/full").open("w") as full:
        popen = subprocess.Popen(
            [sys.executable, "-m", "rlflow"], cwd=tmp_path, env=clean_environ(**environ), stdout=full, stderr=full
        )
    try:
        wait_for("ready", lambda: _is_ready(popen, port))
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(60) == 0
    finally:
        popen.kill()
        popen.wait()
    assert_every_frame_is_stored_once(database_url, "rlflow_sim")


def _is_ready(popen: "subprocess.Popen[bytes]", port: int) -> bool | None:
    assert popen.poll() is None
    try:
        return httpx.get(f"http://127.0.0.1:{port}/rl/ready", timeout=5).status_code == 200 or None
    except httpx.TransportError:
        return None
