"""Turns among test runs of several processes: one that measures has the machine to itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(directory: Path, *, is_alone: bool) -> Iterator[None]:
    """Wait for a turn, and have it until the context ends.

    Args:
        directory: Shared by those who take turns.
        is_alone: Nobody else has a turn meanwhile; otherwise all who need not be alone have theirs together.
    """
    with (directory / "gate").open("w") as gate, (directory / "floor").open("w") as floor:
        # Who waits to be alone holds the gate, so that nobody begins before it.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(floor, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
