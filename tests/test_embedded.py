"""The embedded PostgreSQL, with real processes that start, share, kill and stop it."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
import pytest

from rlflow.data.embedded import programs as embedded_programs
from rlflow.data.embedded import shared_server as embedded_module
from rlflow.data.embedded.files import is_open_to_all, locate
from rlflow.data.embedded.locks import starting_or_stopping
from rlflow.data.embedded.shared_server import EmbeddedPostgres
from rlflow.errors import StoreError
from tests.embedded_home import cleared_home

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[1]
only_root = pytest.mark.skipif(not ROOT, reason="only root can act as several accounts")
nobody_can_run_us = pytest.mark.skipif(
    not (ROOT and is_open_to_all(embedded_programs._package_directory())),
    reason="needs root, and an environment that other accounts can read",
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory with a short path, for several data directories; the servers in it are stopped at the end."""
    # Not pytest's: as root that one is closed to the server's account, and its paths are long.
    path = Path(tempfile.mkdtemp(prefix="rlflow-"))
    path.chmod(0o711)
    yield path
    for pid_file in path.glob("**/postmaster.pid"):
        pid = int(pid_file.read_text().split()[0])
        if is_server(pid):
            os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(path)


@pytest.fixture
def data_dir(directory: Path) -> Path:
    path = directory / "rlflow"
    path.mkdir(mode=0o711)
    return path


def is_server(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return bool(process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE)
    return False


def start(data_dir: Path, *, system_directory: Path = Path("/var/lib")) -> EmbeddedPostgres:
    return EmbeddedPostgres.start(data_dir, durable=False, system_directory=system_directory)


def query(url: str, text: LiteralString) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def server_pid(embedded: EmbeddedPostgres) -> int:
    pid = embedded.status().process_id
    assert pid is not None
    return pid


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill_server(pid: int) -> None:
    """Kill -9, and wait until its children have noticed."""
    process = psutil.Process(pid)
    family = [process, *process.children()]
    process.kill()
    wait_until(lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in family))


class User:
    """Another rlflow process that uses the server."""

    def __init__(self, data_dir: Path, account: str | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded_user", data_dir, *([account] if account else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )

    def wait_ready(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        # The log goes to the same place.
        ready = next((line for line in self.process.stdout if line.startswith("ready")), None)
        assert ready is not None, "it ended without having been ready"
        _, pid, url = ready.split()
        return int(pid), url

    def leave(self) -> None:
        said, _ = self.process.communicate(timeout=60)
        assert said.endswith("released\n")
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def fail(self) -> str:
        """Wait until it has ended by itself without success, and return what it said."""
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 1
        return said


@pytest.fixture
def new_user(data_dir: Path) -> Iterator[Callable[..., User]]:
    """Starts other processes that use the server of `data_dir`; those still there at the end are killed."""
    with contextlib.ExitStack() as users:

        def start_user(account: str | None = None) -> User:
            user = User(data_dir, account)
            users.callback(user.kill)
            return user

        yield start_user


def test_each_test_has_an_empty_database_of_its_own(database_url: str) -> None:
    assert query(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_server_is_durable_utf8_and_not_on_the_network(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as embedded:
        url = embedded.url("rlflow_sim")
        wanted = {
            "server_encoding": "UTF8",
            "listen_addresses": "",
            "synchronous_commit": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "TimeZone": "UTC",
        }
        with psycopg.connect(url) as connection:
            names = list(wanted)
            found = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [names])
            assert dict(found.fetchall()) == wanted
        assert query(url, "SELECT datlocale FROM pg_database WHERE datname = 'rlflow_sim'") == "C.UTF-8"


def test_database_is_made_once_whatever_its_name(data_dir: Path) -> None:
    name = "ünï \"c'ode/%?"
    with start(data_dir) as embedded:
        query(embedded.url(name), "CREATE TABLE kept ()")
        assert query(embedded.url(name), "SELECT current_database()") == name
        assert query(embedded.url(name), "SELECT count(*) FROM kept") == 0


def test_last_user_stops_the_server(data_dir: Path, new_user: Callable[..., User]) -> None:
    first = start(data_dir)
    pid = server_pid(first)
    second = new_user()
    joined, url = second.wait_ready()
    assert joined == pid
    first.release()
    first.release()
    assert query(url, "SELECT 1") == 1
    second.leave()
    assert not is_server(pid)


def test_first_starts_at_the_same_time_make_one_server(data_dir: Path, new_user: Callable[..., User]) -> None:
    users = [new_user() for _ in range(4)]
    assert len({user.wait_ready() for user in users}) == 1
    for user in users:
        user.leave()


def test_server_left_by_a_killed_user_is_joined_and_stopped(data_dir: Path, new_user: Callable[..., User]) -> None:
    killed = new_user()
    pid, url = killed.wait_ready()
    killed.kill()
    assert query(url, "SELECT 1") == 1
    with start(data_dir) as embedded:
        assert server_pid(embedded) == pid
    assert not is_server(pid)


def test_nothing_is_left_of_a_cleared_home_though_its_user_was_killed(tmp_path: Path) -> None:
    """As root it is outside of the data directory."""
    with cleared_home(tmp_path):
        killed = User(tmp_path)
        try:
            pid, _ = killed.wait_ready()
            home = locate(tmp_path).directory
        finally:
            killed.kill()
        assert is_server(pid)
    assert not is_server(pid)
    assert not home.exists()


def test_killed_server_is_replaced_and_what_it_had_committed_is_there(
    data_dir: Path, new_user: Callable[..., User]
) -> None:
    user = new_user()
    pid, url = user.wait_ready()
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    user.kill()
    kill_server(pid)
    with start(data_dir) as embedded:
        assert server_pid(embedded) != pid
        assert query(embedded.url("rlflow_sim"), "SELECT answer FROM kept") == 42


def test_server_that_died_under_its_user_is_started_again(data_dir: Path) -> None:
    with start(data_dir) as embedded:
        pid = server_pid(embedded)
        kill_server(pid)
        assert embedded.status().process_id is None
        embedded.ensure_running()
        assert server_pid(embedded) != pid
        embedded.ensure_running()


def test_stale_process_id_of_a_stranger_stops_neither_the_server_nor_the_stranger(data_dir: Path) -> None:
    start(data_dir).release()
    home = locate(data_dir)
    # PostgreSQL refuses to start only if the process belongs to its own account.
    with subprocess.Popen(["sleep", "1000"], user=home.account.uid if ROOT else None) as stranger:
        (home.data / "postmaster.pid").write_text(
            f"{stranger.pid}\n{home.data}\n1\n5432\n{home.sockets}\n\n0 0\nready\n"
        )
        shutil.chown(home.data / "postmaster.pid", home.account.uid, home.account.gid)
        with start(data_dir) as embedded:
            assert server_pid(embedded) != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


def test_server_that_crashed_is_not_looked_for_under_a_reused_process_id(data_dir: Path) -> None:
    embedded = start(data_dir)
    kill_server(server_pid(embedded))
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        pid_file = locate(data_dir).data / "postmaster.pid"
        _, _, rest = pid_file.read_text().partition("\n")
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        embedded.release()
        assert stranger.poll() is None
        stranger.kill()


def test_killed_initdb_leaves_nothing_behind(data_dir: Path, new_user: Callable[..., User]) -> None:
    home = locate(data_dir).directory
    killed = new_user()
    wait_until(lambda: any(home.glob("initdb-*/base")))
    killed.kill()
    assert not list(home.glob("data-*"))
    with start(data_dir) as embedded:
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1
    assert {path.name for path in home.iterdir()} == {locate(data_dir).data.name, "start.lock", "users.lock"}


def test_user_killed_while_it_starts_the_server_leaves_one_that_is_joined(
    data_dir: Path, new_user: Callable[..., User]
) -> None:
    start(data_dir).release()
    killed = new_user()
    wait_until((locate(data_dir).data / "postmaster.pid").exists)
    killed.kill()
    with start(data_dir) as embedded:
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1


def test_data_deleted_under_a_server_are_made_anew_and_its_end_takes_nothing_along(
    data_dir: Path, new_user: Callable[..., User]
) -> None:
    left = new_user()
    pid, _ = left.wait_ready()
    left.kill()
    shutil.rmtree(data_dir / "postgres")
    with start(data_dir) as embedded:
        assert server_pid(embedded) != pid
        # It would end by itself, after a minute.
        os.kill(pid, signal.SIGINT)
        wait_until(lambda: not is_server(pid))
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1


def test_data_of_another_version_is_refused_with_the_way_to_upgrade(data_dir: Path) -> None:
    start(data_dir).release()
    (locate(data_dir).data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StoreError, match=r"PostgreSQL 17.*rlflow db dump.*mv .*/data-.*rlflow db psql"):
        start(data_dir)


def test_server_that_cannot_start_says_why(data_dir: Path) -> None:
    start(data_dir).release()
    (locate(data_dir).data / "postgresql.auto.conf").write_text("nonsense = 1\n")
    with pytest.raises(StoreError, match='unrecognized configuration parameter "nonsense"'):
        start(data_dir)


def test_only_one_process_starts_or_stops(data_dir: Path) -> None:
    start(data_dir).release()
    home = locate(data_dir)
    with starting_or_stopping(home, limit_s=60), pytest.raises(TimeoutError), starting_or_stopping(home, limit_s=0):
        pytest.fail("both are at it")
    with starting_or_stopping(home, limit_s=0):
        pass


def test_leaving_does_not_wait_for_one_who_starts(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_module, "_LEAVE_LIMIT_S", 0.0)
    first = start(data_dir)
    pid = server_pid(first)
    with starting_or_stopping(locate(data_dir), limit_s=60):
        first.release()
    assert is_server(pid)
    start(data_dir).release()
    assert not is_server(pid)


def test_release_deletes_the_data_only_if_nobody_uses_it(data_dir: Path) -> None:
    first, second = start(data_dir), start(data_dir)
    first.release(delete=True)
    assert query(second.url("rlflow_sim"), "SELECT 1") == 1
    second.release(delete=True)
    assert locate(data_dir).find_data() is None
    with start(data_dir) as again:
        assert query(again.url("rlflow_sim"), "SELECT 1") == 1


@pytest.mark.parametrize("name", ["x" * 100, 'it\'s $(a), "ü" `b` %41'])
def test_long_or_awkward_path_has_a_short_socket(directory: Path, name: str) -> None:
    data_dir = directory / name
    data_dir.mkdir(mode=0o711)
    with start(data_dir) as embedded:
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1
        sockets = locate(data_dir).sockets
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets.parent == Path("/tmp")
    assert not sockets.exists()


def test_socket_directory_of_a_stranger_is_refused(directory: Path) -> None:
    data_dir = directory / ("x" * 100)
    data_dir.mkdir(mode=0o711)
    start(data_dir).release()
    sockets = locate(data_dir).sockets
    sockets.symlink_to(directory)
    try:
        with pytest.raises(StoreError, match="must be a directory of"):
            start(data_dir)
    finally:
        sockets.unlink()


def test_programs_for_people_run_from_where_they_are(data_dir: Path) -> None:
    with start(data_dir) as embedded:
        url = embedded.url("rlflow_sim")
        answer = subprocess.run(
            [embedded.program("psql"), "-XAtc", "SELECT 6 * 7", url], capture_output=True, check=True, text=True
        )
        assert answer.stdout == "42\n"
        dump = subprocess.run([embedded.program("pg_dump"), url], capture_output=True, check=True, text=True)
        assert "PostgreSQL database dump complete" in dump.stdout


@only_root
def test_roots_server_lets_no_other_account_in(data_dir: Path) -> None:
    with start(data_dir) as embedded:
        home = locate(data_dir)
        assert home.account.uid != 0
        assert psutil.Process(server_pid(embedded)).uids().real == home.account.uid
        refused = psql_as(home.account.name, embedded)
        assert "Peer authentication failed" in refused.stderr
        if home.account.name != "nobody":
            assert "Permission denied" in psql_as("nobody", embedded).stderr


def psql_as(account: str, embedded: EmbeddedPostgres) -> "subprocess.CompletedProcess[str]":
    entry = pwd.getpwnam(account)
    return subprocess.run(
        [embedded.program("psql"), "-XAtc", "SELECT 1", embedded.url("rlflow_sim")],
        capture_output=True,
        check=False,
        text=True,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
    )


@only_root
def test_roots_closed_data_directory_is_left_closed(directory: Path) -> None:
    data_dir, system = directory / "closed" / "rlflow", directory / "system"
    data_dir.mkdir(parents=True)
    data_dir.parent.chmod(0o700)
    with start(data_dir, system_directory=system) as embedded:
        assert embedded.status().directory.parent == system
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o700
    assert list(data_dir.iterdir()) == []


@only_root
def test_data_stays_where_it_is_when_the_way_to_it_changes(directory: Path) -> None:
    data_dir, system = directory / "rlflow", directory / "system"
    data_dir.mkdir(mode=0o700)
    start(data_dir, system_directory=system).release()
    before = locate(data_dir, system)
    data_dir.chmod(0o711)
    assert locate(data_dir, system) == before


@only_root
def test_programs_in_a_closed_environment_are_copied_once(
    directory: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = directory / "closed"
    package = embedded_programs.copy_package(embedded_programs._package_directory(), closed)
    closed.chmod(0o700)
    monkeypatch.setattr(embedded_programs, "_package_directory", lambda: package)
    system = directory / "system"
    with start(data_dir, system_directory=system) as embedded:
        assert embedded.program("psql").is_relative_to(system)
        assert query(embedded.url("rlflow_sim"), "SELECT 1") == 1
    (copy,) = system.iterdir()
    changed = copy.stat().st_ctime_ns
    assert embedded_programs.find_programs(system).is_relative_to(copy)
    assert copy.stat().st_ctime_ns == changed


@nobody_can_run_us
def test_ordinary_user_has_a_server_of_its_own_that_root_can_join(
    data_dir: Path, new_user: Callable[..., User]
) -> None:
    shutil.chown(data_dir, "nobody")
    user = new_user("nobody")
    pid, url = user.wait_ready()
    assert psutil.Process(pid).username() == "nobody"
    with start(data_dir) as embedded:
        assert embedded.status().account == "nobody"
        assert server_pid(embedded) == pid
    assert query(url, "SELECT 1") == 1
    user.leave()
    assert not is_server(pid)
    # What root starts there, the user joins: no file has become root's.
    with start(data_dir) as embedded:
        user = new_user("nobody")
        assert user.wait_ready()[0] == server_pid(embedded)
    user.leave()


@nobody_can_run_us
def test_ordinary_user_is_refused_the_home_of_root(data_dir: Path, new_user: Callable[..., User]) -> None:
    start(data_dir).release()
    assert "belongs to user id 0" in new_user("nobody").fail()
