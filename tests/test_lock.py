"""The lock on the data directory, with real processes."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlflow.data.lock import DirectoryLock, holder
from rlflow.errors import SettingsError

HOLD = """
import sys
from pathlib import Path
from rlflow.data.lock import DirectoryLock
lock = DirectoryLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_held_directory_is_refused_naming_the_process(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(SettingsError, match=f"in use by process {other.pid};") as caught:
        DirectoryLock.acquire(tmp_path)
    assert [problem.name for problem in caught.value.problems] == ["RL_DATA_DIR"]
    assert holder(tmp_path) == other.pid


def test_a_killed_process_leaves_the_directory_free(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(tmp_path) is None
    with DirectoryLock.acquire(tmp_path):
        assert holder(tmp_path) == os.getpid()


def test_a_released_directory_can_be_taken_again(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    assert holder(directory) is None
    for _ in range(2):
        lock = DirectoryLock.acquire(directory)
        with pytest.raises(SettingsError):
            DirectoryLock.acquire(directory)
        lock.release()
        lock.release()
        assert holder(directory) is None


def test_a_release_counts_although_a_child_has_the_descriptor(tmp_path: Path) -> None:
    lock = DirectoryLock.acquire(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock._fd,), stderr=subprocess.DEVNULL
    ) as child:
        lock.release()
        assert holder(tmp_path) is None
        child.kill()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"RL_DATA_DIR: .*data cannot be written to \(Not a directory\)"):
        DirectoryLock.acquire(tmp_path / "file" / "data")


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with DirectoryLock.acquire(tmp_path / "data"):
            assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        os.umask(before)
