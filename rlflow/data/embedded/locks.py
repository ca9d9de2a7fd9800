"""Who uses an embedded server: two lock files of its home, dropped by the kernel when their holder dies.

`start.lock` is held exclusively for the moment of starting or stopping. `users.lock` is held shared by every process
for as long as it uses the server; who leaves and can then have it exclusively was the last one.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from rlflow.data.embedded.files import Home, open_shared_file

_POLL_S = 0.05


@contextlib.contextmanager
def starting_or_stopping(home: Home, *, limit_s: float) -> Iterator[int]:
    """Be the only one who starts or stops this server; TimeoutError if another process is at it for `limit_s`.

    Gives the lock's descriptor: a child that inherits it keeps others out until it ends, even if we are killed.
    """
    lock = open_shared_file(home, "start.lock")
    try:
        _wait_for(lock, limit_s=limit_s)
        yield lock
    finally:
        os.close(lock)


class Hold:
    """One use of the server. A forked child shares its parent's hold, so start children with `spawn`."""

    def __init__(self, home: Home) -> None:
        """Begin one; only while `starting_or_stopping`, for then nobody waits for the last one to leave."""
        self._lock = open_shared_file(home, "users.lock")
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Whether nobody else uses the server; ask only while `starting_or_stopping`, and leave after it."""
        return _try_exclusive(self._lock)

    def leave(self) -> None:
        """End this use."""
        os.close(self._lock)


def _wait_for(lock: int, *, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not _try_exclusive(lock):
        if time.monotonic() > deadline:
            raise TimeoutError("another process starts or stops the server")
        time.sleep(_POLL_S)  # flock has no time limit of its own


def _try_exclusive(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
