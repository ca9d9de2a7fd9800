"""What `doctor` finds: each thing that can be wrong, and its cure, in one line."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import click
import pytest

from rlflow.cli import local_checks
from rlflow.cli.doctor import line
from rlflow.cli.findings import Finding, Grade, problem
from rlflow.cli.local_checks import check_data_dir, check_database, check_disk, check_key_file, check_port
from rlflow.cli.venue_checks import judge_clock, judge_key, venue_findings
from rlflow.config import Settings
from rlflow.data.database import Database
from rlflow.data.lock import DirectoryLock
from rlflow.data.store.partitions import StoreSize
from rlflow.kalshi.auth import generate_private_key_pem
from tests import running

GIB = 2**30


def settings_of(tmp_path: Path, **environ: str) -> Settings:
    return Settings.from_environ({"RL_DATA_DIR": str(tmp_path / "data"), **environ})


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(generate_private_key_pem("ed25519"))
    path.chmod(0o600)
    return path


def with_key(tmp_path: Path, key: Path, **environ: str) -> Settings:
    needed = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY_PATH": str(key), "RL_MARKET_TICKER": "KXA"}
    return settings_of(tmp_path, **needed, **environ)


def test_a_good_key_is_named_by_its_kind(tmp_path: Path, key: Path) -> None:
    found = check_key_file(with_key(tmp_path, key))
    assert found.grade is Grade.OK
    assert "Ed25519" in found.text


def test_a_key_that_others_can_read_is_a_warning_with_the_command_that_cures_it(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    found = check_key_file(with_key(tmp_path, key))
    assert (found.grade, found.cure) == (Grade.WARNING, f"chmod 600 {key}")
    assert "0644" in found.text


@pytest.mark.parametrize(
    "content", [None, b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_cannot_be_used_is_a_problem(tmp_path: Path, key: Path, content: bytes | None) -> None:
    key.unlink() if content is None else key.write_bytes(content)
    found = check_key_file(with_key(tmp_path, key))
    assert found.grade is Grade.PROBLEM
    assert found.cure


def test_a_data_directory_that_is_not_there_must_be_one_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = check_data_dir(settings_of(tmp_path, RL_DATA_DIR=str(tmp_path / "file" / "x" / "y")))
    assert found.grade is Grade.PROBLEM
    assert f"{tmp_path / 'file'} is no directory" in found.text
    assert check_data_dir(settings_of(tmp_path, RL_DATA_DIR=str(tmp_path / "file"))).grade is Grade.PROBLEM
    assert check_data_dir(settings_of(tmp_path, RL_DATA_DIR=str(tmp_path / "x" / "y"))).grade is Grade.OK
    assert not (tmp_path / "x").exists()


def test_a_data_directory_that_may_not_be_written_to_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs the tests as root may write everywhere.
    monkeypatch.setattr("os.access", lambda _path, mode: not mode & os.W_OK)
    for directory in (tmp_path, tmp_path / "x"):
        found = check_data_dir(settings_of(tmp_path, RL_DATA_DIR=str(directory)))
        assert (found.grade, f"{tmp_path} cannot be written to" in found.text) == (Grade.PROBLEM, True)


def test_a_file_system_that_holds_no_files_is_a_problem(tmp_path: Path) -> None:
    found = check_data_dir(settings_of(tmp_path, RL_DATA_DIR="/proc/x"))
    assert (found.grade, "/proc is on a file system that holds no files" in found.text) == (Grade.PROBLEM, True)


def test_a_data_directory_in_use_names_the_process(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert "will be made" in check_data_dir(settings).text
    with DirectoryLock.acquire(settings.data_dir):
        assert "in use by process" in check_data_dir(settings).text
    assert check_data_dir(settings).grade is Grade.OK
    settings.data_dir.chmod(0o755)
    assert check_data_dir(settings).cure == f"chmod 700 {settings.data_dir}"


@pytest.mark.parametrize(
    ("gib", "grade", "said"),
    [
        ((0.5, 0), Grade.PROBLEM, "the journal takes nothing"),
        ((3, 0), Grade.WARNING, "less than a full journal needs"),
        ((20, 0), Grade.OK, "after a full day"),
        ((105, 1), Grade.OK, "full in 100 days"),
        ((25, 4), Grade.WARNING, "full in 5 days"),
    ],
)
def test_the_disk_is_judged_by_its_room_and_by_the_days_until_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: tuple[float, float], grade: Grade, said: str
) -> None:
    free, daily = (round(each * GIB) for each in gib)
    monkeypatch.setattr(local_checks, "free_bytes_of", lambda _path: free)
    found = check_disk(settings_of(tmp_path), StoreSize(0, None, None, daily))
    assert found.grade is grade
    assert said in found.text


def test_a_database_of_ours_a_foreign_and_an_empty_one_are_told_apart(tmp_path: Path, database_url: str) -> None:
    settings = settings_of(tmp_path, DATABASE_URL=database_url, RL_DB_SCHEMA="recorder")
    [reached, schema], size = check_database(settings, time.time_ns())
    assert (reached.grade, schema.grade, size) == (Grade.OK, Grade.OK, None)
    assert "will be made" in schema.text
    with contextlib.closing(Database.connect(database_url, db_schema="recorder", environment="demo")):
        [_, schema], _ = check_database(settings, time.time_ns())
        assert schema.grade is Grade.PROBLEM
        assert "holds data of demo, not of sim" in schema.text
    with contextlib.closing(Database.connect(database_url, db_schema="mine", environment="sim")):
        own = settings_of(tmp_path, DATABASE_URL=database_url, RL_DB_SCHEMA="mine")
        [_, schema], size = check_database(own, time.time_ns())
        assert schema.grade is Grade.OK
        assert size is not None


def test_a_database_that_is_away_is_a_problem_and_its_password_is_not_shown(tmp_path: Path) -> None:
    with free_port() as port:
        url = f"postgresql://me:secret@127.0.0.1:{port}/x"
    [found], _ = check_database(settings_of(tmp_path, DATABASE_URL=url), time.time_ns())
    assert found.grade is Grade.PROBLEM
    assert "secret" not in line(found)


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_somebody_else_has_is_a_problem(tmp_path: Path) -> None:
    with free_port() as port:
        found = check_port(settings_of(tmp_path, RL_PORT=str(port)))
        assert found.grade is Grade.PROBLEM
        assert line(found).endswith(
            f"RL_PORT: 127.0.0.1:{port} cannot be listened on: Address already in use; "
            "stop whoever has it, or choose another"
        )
    assert check_port(settings_of(tmp_path, RL_PORT=str(port))).grade is Grade.OK


@pytest.mark.parametrize(
    ("offset_s", "grade"), [(0, Grade.OK), (4, Grade.OK), (-30, Grade.PROBLEM), (60, Grade.PROBLEM)]
)
def test_the_clock_is_compared_with_the_date_of_the_answer(offset_s: float, grade: Grade) -> None:
    now = 1_795_305_600.25
    assert judge_clock(formatdate(now - offset_s, usegmt=True), now - 0.05, now + 0.05).grade is grade


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_nothing_is_said_of_the_clock(date: str | None) -> None:
    assert judge_clock(date, 0, 1).grade is Grade.NOTE


@pytest.mark.parametrize(
    ("status", "text", "grade", "cure"),
    [
        (200, "{}", Grade.OK, None),
        (401, '{"code":"header_timestamp_expired"}', Grade.PROBLEM, "NTP"),
        (401, '{"error":{"details":"NOT_FOUND"}}', Grade.PROBLEM, "KALSHI_API_KEY_ID is unknown"),
        (401, '{"details":"INCORRECT_API_KEY_SIGNATURE"}', Grade.PROBLEM, "does not belong"),
        (403, '{"msg":"scope"}', Grade.PROBLEM, "scope read"),
        (503, "", Grade.WARNING, "again later"),
    ],
)
def test_each_refusal_of_the_key_has_its_cure(status: int, text: str, grade: Grade, cure: str | None) -> None:
    found = judge_key(status, text)
    assert found.grade is grade
    assert (found.cure is None) if cure is None else cure in (found.cure or "")


def test_a_venue_that_cannot_be_reached_is_a_problem(tmp_path: Path, key: Path) -> None:
    with free_port() as port:
        pass
    addresses = {"KALSHI_API_URL": f"http://127.0.0.1:{port}/x", "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/x"}
    grades = {found.name: found.grade for found in venue_findings(with_key(tmp_path, key, **addresses))}
    assert grades == {"venue": Grade.PROBLEM, "websocket": Grade.PROBLEM}


def test_a_venue_that_is_well_is_ok_in_every_line_and_what_it_does_not_list_is_a_problem(tmp_path: Path) -> None:
    with running.exchange(tmp_path, "--market", "KXA-1", "--series", "KXS:60s") as environ:
        right = {found.name: found for found in venue_findings(settings_of(tmp_path, **environ))}
        assert [name for name, found in right.items() if found.grade is not Grade.OK] == []
        environ |= {"RL_MARKET_TICKER": "KXA-1,KXTYPO", "RL_SERIES_TICKER": "KXS,KXT"}
        [found] = [each for each in venue_findings(settings_of(tmp_path, **environ)) if each.name == "markets"]
    assert (found.grade, found.text) == (Grade.PROBLEM, "the venue has no KXTYPO, KXT")


def test_a_finding_is_one_line_that_ends_with_its_cure() -> None:
    shown = click.unstyle(line(problem("port", "it is taken", "choose another")))
    assert shown == "port            problem  it is taken; choose another"
    assert "\n" not in line(Finding("x", Grade.OK, "fine"))
