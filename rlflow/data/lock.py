"""One process per data directory: a lock that ends with the process, however it ends."""

import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from rlflow.errors import Problem, SettingsError

_NAME = "lock"

# `holder` holds the lock for some microseconds to see whether it is free; whoever meets it tries again.
_ATTEMPTS = 3
_PAUSE_S = 0.02


class DirectoryLock:
    """Holds a directory (flock on a file in it) until `release`, or the end of the process and its forked children.

    The file stays; only the lock on it counts, so a killed process leaves nothing that must be cleaned up.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, directory: Path) -> "DirectoryLock":
        """Take the directory, made with mode 0700 if need be.

        Raises SettingsError, naming the process that has it, or why it cannot be written to.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            problem = f"{directory} cannot be written to ({error.strerror}); name another directory"
            raise SettingsError([Problem("RL_DATA_DIR", problem)]) from error
        try:
            _lock(fd, directory)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    def release(self) -> None:
        """Give the directory back; releasing again does nothing."""
        if self._fd >= 0:
            # Closing alone would not do it while a forked child has the descriptor too.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "DirectoryLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def holder(directory: Path) -> int | None:
    """Return the id of the process that holds a directory, None if nobody does; 0 if it cannot be told."""
    try:
        fd = os.open(directory / _NAME, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(fd, fcntl.LOCK_SH) else _written_pid(fd)
    finally:
        os.close(fd)


def _lock(fd: int, directory: Path) -> None:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        if _try_lock(fd, fcntl.LOCK_EX):
            return
    who = f"process {_written_pid(fd) or 'unknown'}"
    raise SettingsError([Problem("RL_DATA_DIR", f"{directory} is in use by {who}; stop it or name another directory")])


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        return False
    return True


# The holder writes its id right after it has locked, so for a moment there may be none, or that of the one before.
def _written_pid(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0
