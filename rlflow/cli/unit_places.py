"""What a protected unit must see of the file system: the installation that it runs, and the data directory."""

import sys
from collections.abc import Iterable
from pathlib import Path

import rlflow
from rlflow.cli.carrying import unit_word

HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
"""What ProtectHome hides."""
SCRATCH = tuple(map(Path, ("/tmp", "/var/tmp")))  # noqa: S108  compared with, not written to
"""What PrivateTmp puts others in place of."""


def installation() -> list[Path]:
    """Return the directories that this interpreter and the package are read from, none within another."""
    places = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve(), Path(sys.executable).parent]
    # An editable installation reads the package from a checkout.
    places.append(Path(rlflow.__file__).resolve().parent.parent)
    return _outermost(places)


def protection(data_dir: Path | None, installed: Iterable[Path]) -> str:
    """Return the lines that hide homes and scratch directories, all but what the service needs there.

    Args:
        data_dir: where the data are, None where systemd keeps them.
        installed: what is read.
    """
    hidden = [place for place in installed if _is_in(place, HOMES + SCRATCH)]
    is_home_needed = any(_is_in(place, HOMES) for place in (*hidden, *([data_dir] if data_dir else ())))
    # A home replaced by an empty one also lets in who may not enter the real one, to what is bound there.
    lines = [f"ProtectHome={'tmpfs' if is_home_needed else 'true'}", "PrivateTmp=true"]
    lines += [f"BindReadOnlyPaths={unit_word(str(place))}" for place in hidden]
    if data_dir is None:
        lines += ["StateDirectory=rlflow", "StateDirectoryMode=0700"]
    else:
        how = "BindPaths" if _is_in(data_dir, HOMES + SCRATCH) else "ReadWritePaths"
        lines.append(f"{how}={unit_word(str(data_dir))}")
    return "\n".join(lines)


def _is_in(place: Path, directories: Iterable[Path]) -> bool:
    return any(place.is_relative_to(directory) for directory in directories)


def _outermost(places: Iterable[Path]) -> list[Path]:
    distinct = sorted(set(places))
    return [
        place for place in distinct if not any(place != other and place.is_relative_to(other) for other in distinct)
    ]
