"""PostgreSQL's own programs, run on one home: make the data, start, stop, and tell whether the server lives."""

import contextlib
import os
import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

import attrs
import psutil
import psycopg
import structlog

from rlflow.data.embedded.files import Home, keep_data, make_owned, make_temporary_data, write_owned
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
synchronous_commit = on
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
    programs: Path

    def url(self, database: str) -> str:
        """The address of a database, for psycopg and for people."""
        query = urlencode({"host": str(self.home.sockets), "port": 5432}, quote_via=quote, safe="/")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?{query}"

    def connect(self) -> psycopg.Connection:
        """Connect to the database that is always there, in autocommit; raises psycopg.OperationalError."""
        return psycopg.connect(self.url("postgres"), connect_timeout=10, autocommit=True)

    def is_answering(self) -> bool:
        """Whether a connection to this server can be made now. The only sign of life that counts."""
        # Without it the one who answers serves data that have been deleted under it.
        if self.recorded_pid() is None:
            return False
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def recorded_pid(self) -> int | None:
        """The process id that the data directory names, which after a crash may be anybody's."""
        data = self.home.find_data()
        return _first_line_pid(data / "postmaster.pid") if data else None

    def is_alive(self) -> bool:
        """Whether the recorded process is this server, which may be starting, recovering or stopping."""
        pid = self.recorded_pid()
        return pid is not None and _works_in(pid, self.home.data)

    def forget_foreign_processes(self) -> None:
        """Remove records of processes that are not the server, but have got its number; call if not `is_alive`.

        PostgreSQL would refuse to start as long as such a process lives. Should we be wrong, it still notices a second
        server by the shared memory of the first.
        """
        for record in (self.home.data / "postmaster.pid", self.home.sockets / ".s.PGSQL.5432.lock"):
            pid = _first_line_pid(record)
            if pid is not None and psutil.pid_exists(pid) and not _works_in(pid, self.home.data):
                _LOG.warning("embedded database forgets foreign process", process_id=pid, record=str(record))
                record.unlink(missing_ok=True)

    def initialise(self, *, durable: bool, limit_s: float, lock: int) -> None:
        """Make the data directory (seconds); it appears complete or not at all. StoreError with initdb's words.

        initdb inherits `lock`, so that whoever comes after us, if we are killed, waits for its end and clears up.
        """
        _LOG.info("embedded database is being made", directory=str(self.home.directory), account=self.home.account.name)
        path = make_temporary_data(self.home)
        options = ("--username", SUPERUSER, "--auth", "peer", "--encoding", "UTF8", "--locale", "C.UTF-8")
        sync = () if durable else ("--no-sync",)
        more = ("--locale-provider", "builtin", "--no-instructions", *sync, path)
        self._run("initdb", *options, *more, limit_s=limit_s, inherited=(lock,))
        keep_data(path)

    def start(self, *, durable: bool, limit_s: float) -> None:
        """Start the server and wait until it answers; StoreError with the last lines of its log if it does not."""
        make_owned(self.home.sockets, self.home.account)
        self._write_settings(durable=durable)
        if self.home.log.exists() and self.home.log.stat().st_size > _LOG_MAX_BYTES:
            self.home.log.replace(self.home.log.with_suffix(".log.1"))
        self._control("start", "--log", f"{self.home.data.name}/{self.home.log.name}", limit_s=limit_s)

    def stop(self) -> None:
        """Stop the server, breaking off whoever is connected, and wait for it; StoreError if it does not end.

        Call only if `is_alive`, for it signals the recorded process.
        """
        self._control("stop", "--mode", "fast", limit_s=_STOP_LIMIT_S)
        with contextlib.suppress(OSError):
            self.home.sockets.rmdir()

    def _control(self, action: str, *options: str, limit_s: float) -> None:
        # Relative paths: pg_ctl hands them to a shell, which would read a dollar sign in ours.
        wait = ("--wait", "--timeout", str(max(1, int(limit_s))))
        self._run("pg_ctl", action, "--pgdata", self.home.data.name, *wait, *options, limit_s=limit_s + 10)

    def _write_settings(self, *, durable: bool) -> None:
        settings = _SETTINGS.format(sockets=self.home.sockets, durable="on" if durable else "off")
        people = "".join(f'rlflow "{name}" {SUPERUSER}\n' for name in self.home.users)
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", _ACCESS), ("pg_ident.conf", people)):
            write_owned(self.home.data / name, text, self.home.account)

    def _run(self, program: str, *arguments: str | Path, limit_s: float, inherited: tuple[int, ...] = ()) -> None:
        account = self.home.account
        changes_account = os.geteuid() != account.uid
        try:
            done = subprocess.run(  # noqa: S603  our own programs, no shell
                [self.programs / program, *arguments],
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=limit_s,
                cwd=self.home.directory,
                umask=0o077,
                pass_fds=inherited,
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


def _first_line_pid(record: Path) -> int | None:
    try:
        first, *_ = record.read_text().splitlines()
        return int(first)
    except (FileNotFoundError, ValueError):
        return None


def _works_in(pid: int, data: Path) -> bool:
    # The server's working directory is its data directory, from before it writes its process id until it ends.
    try:
        return Path(psutil.Process(pid).cwd()).samefile(data)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except (psutil.AccessDenied, PermissionError):
        return False  # Somebody else's: the server runs as us, and root may look everywhere.


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-10:]
    except FileNotFoundError:
        return []
