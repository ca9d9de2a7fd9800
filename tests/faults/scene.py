"""Venue, service and database as processes of their own, with a line between each two that can be made to fail."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import psycopg

from tests.faults.line import Connect, Line, line_to, to_tcp, to_unix
from tests.faults.truth import Truth, listening
from tests.faults.verdict import Verdict, judge
from tests.running import RLFLOW, Running, clean_environ, exchange, service, wait_for

MARKETS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B", "KXSIM-27JAN01-C")


@attrs.define
class Scene:
    """Everything that a case needs. The service reaches venue and database by their lines only."""

    directory: Path
    database_url: str
    """Directly, for the test itself."""
    venue_url: str
    """Of the venue's REST and control endpoints, directly."""
    truth: Truth
    to_venue: Line
    to_database: Line
    settings: Mapping[str, str]

    @contextlib.contextmanager
    def recording(self, name: str = "service", *, program: Sequence[str] = RLFLOW, **environ: str) -> Iterator[Running]:
        """Run the service until the context ends; killed there if it still runs.

        Args:
            name: of its directory; services of different names share no data directory.
            program: what Python runs in place of `-m rlflow`.
            environ: settings in place of the scene's.
        """
        with service(self.directory / name, program=program, **{**self.settings, **environ}) as running:
            yield running

    def run(self, name: str = "service", *, limit_s: float = 120, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run the service until it ends by itself."""
        changes = {"RL_PORT": "0", "RL_DATA_DIR": str(self.directory / name / "data"), **self.settings, **environ}
        return subprocess.run(
            [sys.executable, *RLFLOW],
            cwd=self.directory,
            env=clean_environ(**changes),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def execute(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database, directly."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def tell_venue(self, path: str, content: object = None) -> Any:
        """Ask the venue's control endpoint for something."""
        answer = httpx.post(f"{self.venue_url}/sim/{path}", json={} if content is None else content, timeout=30)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def verdict(self) -> Verdict:
        """Judge what is stored by now."""
        return judge(self.database_url, self.truth)

    def assert_good(self, *, at_least: int = 200) -> Verdict:
        """Assert that all that is stored is true, and that something is."""
        found = self.verdict()
        assert not found.findings, "\n".join(found.findings)
        assert found.states >= at_least
        return found


@contextlib.contextmanager
def scene(directory: Path, database_url: str, *, rate: int = 500, arguments: tuple[str, ...] = ()) -> Iterator[Scene]:
    """Start the venue, listen to it, and lay the lines; the service is started by the case."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(exchange(directory / "venue", "--rate", str(rate), *arguments))
        venue = urlsplit(found["KALSHI_API_URL"])
        assert venue.hostname is not None
        assert venue.port is not None
        truth = stack.enter_context(listening(found["KALSHI_WS_URL"], directory / "venue" / "keys", MARKETS))
        to_venue = stack.enter_context(line_to(to_tcp(venue.hostname, venue.port)))
        to_database = stack.enter_context(line_to(to_server(database_url)))
        yield Scene(
            directory=directory,
            database_url=database_url,
            venue_url=f"http://{venue.netloc}",
            truth=truth,
            to_venue=to_venue,
            to_database=to_database,
            settings={
                **{name: value.replace(f":{venue.port}", f":{to_venue.port}") for name, value in found.items()},
                "DATABASE_URL": through(database_url, to_database.port),
                "RL_ORDERBOOK_FLUSH_INTERVAL": "0.2",
            },
        )


def to_server(url: str) -> Connect:
    """Return what connects to the server of a database."""
    with psycopg.connect(url) as direct:
        host, port = direct.info.host, direct.info.port
    return to_unix(f"{host}/.s.PGSQL.{port}") if host.startswith("/") else to_tcp(host, port)


def through(url: str, port: int) -> str:
    """Return the same database's address by the line."""
    with psycopg.connect(url) as direct:
        user, name = direct.info.user, direct.info.dbname
        secret = f":{direct.info.password}" if direct.info.password else ""
    return f"postgresql://{user}{secret}@127.0.0.1:{port}/{name}?sslmode=disable&gssencmode=disable"


def kill(running: Running) -> None:
    """End the service as the kernel does, and wait until it is gone."""
    running.popen.kill()
    running.popen.wait()


def written(running: Running, rows: int) -> None:
    """Wait until so many rows are in the database."""
    running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] >= rows)


def more_written(running: Running, rows: int) -> None:
    """Wait until so many more rows than now are in the database."""
    written(running, running.ask("/rl/status")["write_queue"]["rows_written"] + rows)


def more_received(running: Running, frames: int) -> None:
    """Wait until so many more frames than now have come; nothing is asked of the database."""
    before = running.ask("/rl/status")["captures"]["frames"]
    running.wait_status("frames", lambda status: status["captures"]["frames"] >= before + frames)


def wait_component(running: Running, name: str, status: str) -> Any:
    """Wait until health says this of a component, and return the component."""

    def look() -> Any:
        component = running.ask("/rl/health", None)["components"][name]
        return component if component["status"] == status else None

    return wait_for(f"{name} {status}", look)


def settled(running: Running) -> None:
    """Wait until all that has been received by now is in the database, and assert that the frames balance."""
    running.flush()
    assert running.ask("/rl/status")["accounting"]["balances"]


def stopped(running: Running) -> None:
    """Stop the service properly, and let it have balanced its frames."""
    running.wait_status("balanced", lambda status: bool(status["accounting"]["balances"]))
    assert running.stop(signal.SIGTERM) == 0, running.said()
