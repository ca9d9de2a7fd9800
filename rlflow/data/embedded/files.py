"""Where the embedded PostgreSQL keeps its files, and which account it runs as.

PostgreSQL refuses to run as root. An ordinary user's server runs as that user, below the data directory. Root's server
runs as an account without rights; its files lie below the data directory where that account can get there, and in a
system directory where it cannot. Nothing that exists is ever opened up with chmod to make a way.
"""

import contextlib
import hashlib
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
        """PostgreSQL's own directory; FileNotFoundError before the first start.

        Data made anew get another name. A server whose data were deleted under it goes on for up to a minute, and then
        writes its control file and removes its socket by their whole paths: those must not be its successor's.
        """
        found = self.find_data()
        if found is None:
            raise FileNotFoundError(f"there is no database in {self.directory}")
        return found

    def find_data(self) -> Path | None:
        """PostgreSQL's own directory, or None before the first start."""
        return _find_data(self.directory)

    @property
    def log(self) -> Path:
        """What the server says about itself."""
        return self.data / "server.log"

    @property
    def sockets(self) -> Path:
        """The 0700 directory of the socket, short enough to be the address of one; goes with `data`."""
        name = f"rlflow-{_digest(self.data)}"
        inside = self.directory / name
        if _PLAIN_PATH.fullmatch(str(inside)) and len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_MAX:
            return inside
        return Path("/tmp", name)  # noqa: S108  short everywhere; checked before use

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the accounts that may connect: whoever owns the directory, and root, who can read it anyway."""
        owner = Account.of(self.directory.stat().st_uid).name
        return ("root",) if owner == "root" else (owner, "root")


def locate(data_dir: Path, system_directory: Path = SYSTEM_DIRECTORY) -> Home:
    """Find or make the server's home of a data directory; a home that holds data always wins.

    Raises:
        StoreError: the home belongs to somebody else.
        OSError: it cannot be made.
    """
    data_dir = data_dir.resolve()
    inside = data_dir / "postgres"
    if os.geteuid() != 0:
        return _home_of_user(inside)
    return _home_of_root(inside, system_directory / f"rlflow-{_digest(data_dir)}")


def holds_data(data_dir: Path, system_directory: Path = SYSTEM_DIRECTORY) -> bool:
    """Whether a data directory has a database already; makes nothing. OSError if that cannot be seen."""
    data_dir = data_dir.resolve()
    places = [data_dir / "postgres"]
    if os.geteuid() == 0:
        places.append(system_directory / f"rlflow-{_digest(data_dir)}")
    return any(_find_data(place) is not None for place in places)


def _find_data(directory: Path) -> Path | None:
    found = list(directory.glob("data-????????"))
    if len(found) > 1:
        raise StoreError(f"{directory} holds {len(found)} databases: move all but one away")
    return found[0] if found else None


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
        data = _find_data(directory)
        if data is not None:
            return Home(directory, Account.of(data.stat().st_uid))
    inside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = inside if is_open_to_all(inside.parent) else system
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Root's own, whatever the umask: the server's account passes through, only root writes the locks.
        directory.chmod(0o711)
    owner = directory.stat().st_uid
    return Home(directory, Account.of(owner) if owner != 0 else _account_without_rights())


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
    """Whether every account can get to this file or directory and use it, judged by the mode bits."""
    path = path.resolve()
    needed = stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    return bool(path.stat().st_mode & needed) and all(above.stat().st_mode & stat.S_IXOTH for above in path.parents)


# Root works in directories where other accounts may write, so what follows goes by descriptor and follows no link.


def make_owned(path: Path, account: Account) -> None:
    """Make `path` a private (0700) directory of `account`, or check that it is one; StoreError if it is not."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise StoreError(f"{path} must be a directory of {account.name}: {error.strerror}") from error
    try:
        owner = os.fstat(directory).st_uid
        if owner not in (account.uid, os.geteuid()):
            raise StoreError(f"{path} must be a directory of {account.name}, and belongs to user id {owner}")
        os.fchmod(directory, 0o700)
        _give(directory, account)
    finally:
        os.close(directory)


def write_owned(path: Path, text: str, account: Account) -> None:
    """Replace a file of `account` by a private one (0600) with this text."""
    file, temporary = tempfile.mkstemp(prefix=f"{path.name}-", dir=path.parent)
    with open(file, "w") as stream:
        stream.write(text)
        _give(file, account)
    Path(temporary).replace(path)


def open_shared_file(home: Home, name: str) -> int:
    """Open a file of the home for every process that may use the server; the caller closes the descriptor."""
    path, flags = home.directory / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    _give(file, Account.of(home.directory.stat().st_uid))
    return file


def _give(file: int, account: Account) -> None:
    if os.geteuid() == 0:
        os.fchown(file, account.uid, account.gid)


def make_temporary_data(home: Home) -> Path:
    """Make an empty directory for initdb, for `keep_data` when it is complete; those of killed starts are removed."""
    for leftover in home.directory.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix="initdb-", dir=home.directory))
    make_owned(path, home.account)
    return path


def keep_data(temporary: Path) -> None:
    """Make a directory of `make_temporary_data`, now complete, the home's data; survives a power cut."""
    temporary.rename(temporary.with_name(temporary.name.replace("initdb-", "data-")))
    directory = os.open(temporary.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _digest(path: Path) -> str:
    # Names a directory elsewhere that belongs to this one; short, because a socket's path has to be.
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
