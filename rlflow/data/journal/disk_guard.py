"""Whether the disk has room, without asking it for every write."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import attrs

MEBIBYTE = 2**20


def free_bytes_of(directory: Path) -> int:
    """Return how many bytes an ordinary user may still write to the file system."""
    return shutil.disk_usage(directory).free


@attrs.define
class DiskGuard:
    """Knows whether the disk has room, without asking it for every append."""

    directory: Path
    min_free_bytes: int
    every_bytes: int = 16 * MEBIBYTE
    every_s: float = 1.0
    free_bytes: Callable[[Path], int] = free_bytes_of
    clock: Callable[[], float] = time.monotonic
    free: int = 0
    is_low: bool = False
    _unasked_bytes: int = 0
    _asked_at: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.ask()

    def ask(self) -> None:
        """Look at the disk."""
        self.free = self.free_bytes(self.directory)
        self.is_low = self.free < self.min_free_bytes
        self._unasked_bytes, self._asked_at = 0, self.clock()

    def has_enough(self) -> bool:
        """Look at the disk and return whether it has room for a while: a quarter more than the least."""
        self.ask()
        return self.free >= self.min_free_bytes + self.min_free_bytes // 4

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be written, looking after some bytes or some time."""
        self._unasked_bytes += size
        if self._unasked_bytes >= self.every_bytes or self.clock() - self._asked_at >= self.every_s:
            self.ask()
        return not self.is_low
