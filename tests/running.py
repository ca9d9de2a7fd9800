"""Real processes for tests: the service and the exchange, started as a user would, and always ended."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import httpx

T = TypeVar("T")
START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 30.0
"""For an HTTP answer: longer than any limit after which the service answers of itself, on a busy machine too."""
RLFLOW = ("-m", "rlflow")


def clean_environ(**changes: str) -> dict[str, str]:
    """Return this process's environment without any setting of ours, plus the given ones."""
    ours = ("RL_", "KALSHI_", "DATABASE_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | changes


def wait_for(what: str, look: Callable[[], T | None], limit_s: float = START_LIMIT_S) -> T:
    """Look until there is something, and return it."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


@attrs.define
class Process:
    """A running `python -m rlflow ...`; its stderr goes to a file."""

    popen: "subprocess.Popen[str]"
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def wait_said(self, pattern: str) -> str:
        def look() -> str | None:
            if (match := re.search(pattern, self.said())) is not None:
                return match.group(1)
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}:\n{self.said()}"
            return None

        return wait_for(pattern, look)

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 40) -> int:
        """Send a signal and return the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(limit_s)


@attrs.define
class Running(Process):
    """A running service."""

    url: str = ""

    def ask(self, path: str, status: int | None = 200) -> Any:
        response = httpx.get(self.url + path, timeout=ANSWER_LIMIT_S)
        assert status is None or response.status_code == status, response.text
        return response.json()

    def post(self, path: str) -> Any:
        return httpx.post(self.url + path, json={}, timeout=ANSWER_LIMIT_S).raise_for_status().json()

    def flush(self) -> None:
        """Wait until all that has been received by now is in the database."""

        def ask() -> bool | None:
            answer = httpx.post(f"{self.url}/rl/admin/flush", json={}, timeout=ANSWER_LIMIT_S)
            assert answer.status_code in {200, 503}, answer.text
            return answer.is_success or None

        wait_for("a flush", ask)

    def wait_status(self, what: str, is_so: Callable[[Any], bool], limit_s: float = START_LIMIT_S) -> Any:
        """Wait until /rl/status fulfils something, and return it."""
        return wait_for(what, lambda: status if is_so(status := self.ask("/rl/status")) else None, limit_s)


@contextmanager
def process(directory: Path, *arguments: str, program: Sequence[str] = RLFLOW, **environ: str) -> Iterator[Process]:
    """Start `python -m rlflow` with arguments in an empty working directory; kill it in the end if it still runs.

    Its temporary files are in `tmp` there, since one that is killed leaves them.
    """
    temporary = directory / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    log = directory / f"log-{time.monotonic_ns()}"
    with log.open("w") as stderr:
        popen = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=directory,
            env=clean_environ(PYTHONUNBUFFERED="1", TMPDIR=str(temporary), **environ),
            stdout=stderr,
            stderr=stderr,
            text=True,
        )
    try:
        yield Process(popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


@contextmanager
def service(directory: Path, *, program: Sequence[str] = RLFLOW, **environ: str) -> Iterator[Running]:
    """Start the service on a free port and wait until it listens."""
    settings = {"RL_PORT": "0", "RL_DATA_DIR": str(directory / "data"), **environ}
    with process(directory, program=program, **settings) as started:
        running = Running(started.popen, started.log)
        running.url = running.wait_said(r"url=(http://\S+)")
        wait_for("health", lambda: _answers(running))
        yield running


def _answers(running: Running) -> bool | None:
    try:
        return httpx.get(f"{running.url}/rl/health", timeout=ANSWER_LIMIT_S) is not None
    except httpx.TransportError:
        # One that has ended already is for the test to judge.
        return None if running.popen.poll() is None else False


@contextmanager
def exchange(
    directory: Path, *arguments: str, program: Sequence[str] = RLFLOW, **environ: str
) -> Iterator[dict[str, str]]:
    """Start a local venue and yield the settings that it prints."""
    given = ("exchange", "--key-dir", str(directory / "keys"), *arguments)
    with process(directory, *given, program=program, **environ) as started:
        started.wait_said(r"(# the exchange is running)")
        yield dict(re.findall(r"^([A-Z_]+)=(\S*)$", started.said(), re.MULTILINE))
