"""PostgreSQL's own programs, run on one home: make the data, start, stop, and tell whether the server lives."""

import os
import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

import attrs
import psycopg
import structlog

from rlflow.data.embedded_files import Account, Home, make_owned, make_temporary_data
from rlflow.errors import StoreError

SUPERUSER = "rlflow"
_LOG = structlog.get_logger()
_LOG_MAX_BYTES = 1 << 20
_STOP_LIMIT_S = 60.0

# ALTER SYSTEM goes to postgresql.auto.conf, which is read later and wins: that is where people tune.
_SETTINGS = """\
# Written by rlflow at every start. Use ALTER SYSTEM for settings of your own.
listen_addresses = ''
port = 5432
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
cluster_name = 'rlflow'
max_connections = 100
shared_buffers = 256MB
# Two cores are shared with the recorder, and parallel queries need more /dev/shm than a container has.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
jit = off
# One writer that never stops: few, long, even checkpoints. Nobody replicates from here, so WAL says only what it must.
wal_level = minimal
max_wal_senders = 0
max_wal_size = 2GB
checkpoint_timeout = 15min
# A segment of the journal is retired behind a commit, so a commit is on disk when it says so.
synchronous_commit = {durable}
fsync = {durable}
full_page_writes = {durable}
log_checkpoints = off
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'
"""
# The kernel says who is at the other end of the socket, so nobody else gets in, not even the server's own account.
_ACCESS = "local all all peer map=rlflow\n"


@attrs.frozen
class Server:
    """The programs of one PostgreSQL and the home they work on. Holds no state: whoever calls holds the lock."""

    home: Home
    binaries: Path

    def url(self, database: str) -> str:
        """The address of a database, for psycopg and for people."""
        query = urlencode({"host": str(self.home.sockets), "port": 5432}, quote_via=quote, safe="/")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?{query}"

    def connect(self) -> psycopg.Connection:
        """Connect to the database that is always there, in autocommit; raises psycopg.OperationalError."""
        return psycopg.connect(self.url("postgres"), connect_timeout=10, autocommit=True)

    def is_answering(self) -> bool:
        """Whether a connection to this server can be made now. The only sign of life that counts."""
        # Without this file the one who answers serves data that has been deleted under it.
        if not (self.home.data / "postmaster.pid").exists():
            return False
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def recorded_pid(self) -> int | None:
        """The process id that the data directory names, which after a crash may be anybody's."""
        try:
            first, *_ = (self.home.data / "postmaster.pid").read_text().splitlines()
            return int(first)
        except (FileNotFoundError, ValueError):
            return None

    def is_alive(self) -> bool:
        """Whether the recorded process is this server, which may be starting, recovering or stopping."""
        pid = self.recorded_pid()
        return pid is not None and _works_in(pid, self.home.data)

    def forget_foreign_process(self) -> None:
        """Remove the record of a process that is not the server, but has got its number; call if not `is_alive`.

        PostgreSQL would refuse to start as long as that process lives. Should we be wrong, it still notices a second
        server by the shared memory of the first.
        """
        pid = self.recorded_pid()
        if pid is not None and _exists(pid):
            _LOG.warning("forget foreign process", process_id=pid, directory=str(self.home.directory))
            (self.home.data / "postmaster.pid").unlink(missing_ok=True)

    def initialise(self, *, durable: bool, limit_s: float) -> None:
        """Make the data directory (seconds); it appears complete or not at all. StoreError with initdb's words."""
        _LOG.info("create embedded database", directory=str(self.home.directory), account=self.home.account.name)
        path = make_temporary_data(self.home)
        options = ("--username", SUPERUSER, "--auth", "peer", "--encoding", "UTF8", "--locale", "C.UTF-8")
        sync = () if durable else ("--no-sync",)
        self._run("initdb", *options, "--locale-provider", "builtin", "--no-instructions", *sync, path, limit_s=limit_s)
        path.rename(self.home.data)

    def start(self, *, durable: bool, limit_s: float) -> None:
        """Start the server and wait until it answers; StoreError with the last lines of its log if it does not."""
        make_owned(self.home.sockets, self.home.account)
        self._write_settings(durable=durable)
        if self.home.log.exists() and self.home.log.stat().st_size > _LOG_MAX_BYTES:
            self.home.log.replace(self.home.log.with_suffix(".log.1"))
        options = ("--wait", "--timeout", str(max(1, int(limit_s))), "--log", self.home.log)
        self._run("pg_ctl", "start", "--pgdata", self.home.data, *options, limit_s=limit_s + 10)

    def stop(self) -> None:
        """Stop the server, breaking off whoever is connected, and wait for it; StoreError if it does not end."""
        limit = str(int(_STOP_LIMIT_S))
        options = ("--mode", "fast", "--wait", "--timeout", limit)
        self._run("pg_ctl", "stop", "--pgdata", self.home.data, *options, limit_s=_STOP_LIMIT_S + 10)

    def _write_settings(self, *, durable: bool) -> None:
        settings = _SETTINGS.format(sockets=self.home.sockets, durable="on" if durable else "off")
        people = "".join(f'rlflow "{name}" {SUPERUSER}\n' for name in self.home.users)
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", _ACCESS), ("pg_ident.conf", people)):
            _write_owned(self.home.data / name, text, self.home.account)

    def _run(self, program: str, *arguments: str | Path, limit_s: float) -> None:
        account = self.home.account
        changes_account = os.geteuid() != account.uid
        try:
            done = subprocess.run(  # noqa: S603  our own programs, no shell
                [self.binaries / program, *arguments],
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=limit_s,
                cwd=self.home.directory,
                umask=0o077,
                # Nothing of the caller's: PGPORT, PGDATA or a locale there would change what the programs do.
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=account.uid if changes_account else None,
                group=account.gid if changes_account else None,
                extra_groups=[] if changes_account else None,
            )
        except subprocess.TimeoutExpired as error:
            raise StoreError(f"{program} of the embedded database did not end within {limit_s:.0f} s") from error
        except OSError as error:
            raise StoreError(f"{program} of the embedded database cannot be run: {error}") from error
        if done.returncode != 0:
            said = "\n".join([done.stderr.strip() or done.stdout.strip(), *_last_lines(self.home.log)])
            raise StoreError(f"{program} of the embedded database failed:\n{said}")


def _works_in(pid: int, data: Path) -> bool:
    # The server's working directory is its data directory from before it writes its process id until it ends.
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except PermissionError:
        return False  # somebody else's process; the server's account is ours, or we are root
    except FileNotFoundError:
        return not Path("/proc/self").exists() and "postgres" in _command(pid)


def _command(pid: int) -> str:
    # For systems without /proc. A name is weak proof, so it only ever makes us wait.
    done = subprocess.run(["/bin/ps", "-o", "comm=", "-p", str(pid)], capture_output=True, check=False, text=True)  # noqa: S603
    return done.stdout


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write_owned(path: Path, text: str, account: Account) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(temporary, account.uid, account.gid)
    temporary.replace(path)


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-10:]
    except FileNotFoundError:
        return []
