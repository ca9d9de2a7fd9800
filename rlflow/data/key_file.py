"""Whether other users of the machine may read the API key's file."""

import stat
from pathlib import Path

import attrs

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Exposure:
    """A file that others may use, and the command that ends it."""

    mode: int
    cure: str


def exposure(path: Path) -> Exposure | None:
    """Return what others may do with the file, None for nothing; OSError if it cannot be looked at."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return Exposure(mode, f"chmod 600 {path}") if mode & _OTHERS else None
