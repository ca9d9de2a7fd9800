"""The file of an API key: read if it can be one, and whether other users of the machine may read it, too."""

import stat
from pathlib import Path
from typing import Final

import attrs

MOST_BYTES: Final = 64 * 1024
"""The longest key that anybody uses has some 13 KiB (RSA of 16,384 bits)."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key_file(path: Path) -> bytes:
    """Return what is in the file, at most `MOST_BYTES`. A device may have no end, and a FIFO no beginning.

    Raises:
        ValueError: It cannot be a key's file; the message goes on from its name.
        OSError: It cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is no regular file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES // 1024} KiB, and so no key")
    return content


@attrs.frozen
class Exposure:
    """A file that others may use, and the command that ends it."""

    mode: int
    cure: str


def exposure(path: Path) -> Exposure | None:
    """Return what others may do with the file, None for nothing; OSError if it cannot be looked at."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return Exposure(mode, f"chmod 600 {path}") if mode & _OTHERS else None
