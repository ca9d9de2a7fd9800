"""The measured figures of the README: `just bench`, or `python -m tests.bench --help`.

A real exchange process sends over a real websocket on loopback; a real service process records into a real PostgreSQL.
Throughput is what is committed; latency is from the return of the socket read to the visible book while the writer
works. The processor time of all three tells which of them was measured: at `max` the simulated crowd takes as much of
it as the service, at `tape` the exchange repeats what the crowd did once, at a fraction of the cost.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from rlflow.data.database import Database
from rlflow.data.embedded.shared_server import EmbeddedPostgres
from rlflow.data.history.audit import audit
from tests.embedded_home import cleared_home
from tests.processor_time import Meter, saturated
from tests.running import RLFLOW, Running, exchange, service
from tests.taped_exchange import MESSAGES, TAPED

RATES = ("1000", "5000", "max", "tape")


def committed(running: Running) -> int:
    """Return how many frames are in the database."""
    accounting = running.ask("/rl/status")["accounting"]
    return int(accounting["received"] - accounting["pending"])


def measure(running: Running, seconds: float, used: Callable[[], dict[str, float]] = dict) -> dict[str, Any]:
    """Let it run in, then measure for some seconds; `used` returns processor times by name."""
    running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 500)
    time.sleep(2)
    first, used_before, began = committed(running), used(), time.monotonic()
    received = running.ask("/rl/status")["accounting"]["received"]
    time.sleep(seconds)
    last, used_after, ended = committed(running), used(), time.monotonic()
    status = running.ask("/rl/status")
    return {
        "durable_per_s": (last - first) / (ended - began),
        "received_per_s": (status["accounting"]["received"] - received) / (ended - began),
        "backlog": status["accounting"]["pending"],
        "cores": {name: (after - used_before[name]) / (ended - began) for name, after in used_after.items()},
        **status["latency_us"],
    }


def run_once(directory: Path, server: EmbeddedPostgres, rate: str, seconds: float) -> dict[str, Any]:
    """Start both processes, measure, and stop them."""
    url = server.url(f"bench_{directory.name}")
    program, rate = (TAPED, "max") if rate == "tape" else (RLFLOW, rate)
    with (
        exchange(directory / "venue", "--rate", rate, program=program) as settings,
        service(directory, DATABASE_URL=url, **settings) as running,
    ):
        figures = measure(running, seconds, Meter.of(running, server).seconds)
        if running.stop() != 0:
            raise SystemExit(f"the service did not stop cleanly:\n{running.said()}")
        return figures


def outage(directory: Path, server: EmbeddedPostgres, seconds: float) -> None:
    """Kill PostgreSQL under 5,000 messages a second, start it again, and watch the service catch up."""
    url = server.url("outage")
    with (
        exchange(directory / "venue", "--rate", "5000") as settings,
        service(directory, DATABASE_URL=url, **settings) as running,
    ):
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 5000)
        process_id = server.status().process_id
        assert process_id is not None
        os.kill(process_id, signal.SIGQUIT)
        memory = resident_mib(running, seconds)
        status = running.ask("/rl/status")
        say(f"away {seconds:g} s: {status['accounting']['pending']:,} frames wait, latency µs {status['latency_us']}")
        say(f"memory MiB, ten times meanwhile: {', '.join(f'{one:.0f}' for one in memory)}")
        server.ensure_running()
        began = time.monotonic()
        running.wait_status(
            "caught up", lambda status: status["accounting"]["pending"] < 10_000, limit_s=max(300, seconds)
        )
        accounting = running.ask("/rl/status")["accounting"]
        say(
            f"caught up in {time.monotonic() - began:.1f} s, dropped {accounting['dropped']}, lost {accounting['lost']}"
        )
        if running.stop() != 0:
            raise SystemExit(f"the service did not stop cleanly:\n{running.said()}")
    with Database.connect(url, db_schema="rlflow_sim", environment="sim") as database:
        report = audit(database)
    say(f"audit: {report.deltas:,} deltas, {'clean' if report.is_clean else report.findings}")


def resident_mib(running: Running, seconds: float) -> list[float]:
    """Wait for so long, and return what memory the service had in use at ten moments of it."""
    process = psutil.Process(running.popen.pid)
    found = []
    for _ in range(10):
        time.sleep(seconds / 10)
        found.append(process.memory_info().rss / 2**20)
    return found


def show_machine() -> None:
    """Print what the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("rlflow", "trio", "msgspec", "psycopg"))
    say(f"machine   {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    say(f"versions  Python {platform.python_version()}, {packages}")
    say(f"command   python -m tests.{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}")
    say(f"load      {os.getloadavg()[0]:.2f} in the last minute, before")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Measure socket to durable row, and socket to visible book.")
    parser.add_argument("--rates", nargs="+", default=RATES, help="messages a second, max, or tape")
    parser.add_argument("--runs", type=int, default=3, help="of each rate")
    parser.add_argument("--seconds", type=float, default=8.0, help="of measuring in each run")
    parser.add_argument("--outage", type=float, metavar="SECONDS", help="instead, take PostgreSQL away for so long")
    options = parser.parse_args()
    show_machine()
    scratch = Path(tempfile.mkdtemp(prefix="rlflow-bench-"))
    with cleared_home(scratch), EmbeddedPostgres.start(scratch) as server:
        if options.outage:
            outage(scratch, server, options.outage)
        else:
            throughput(scratch, server, options)
    shutil.rmtree(scratch)


def throughput(scratch: Path, server: EmbeddedPostgres, options: argparse.Namespace) -> None:
    """Measure every rate several times."""
    say("medians; exchange, service, postgres and everybody else in % of a core; durable/s also as a range")
    say(f"source: the simulated crowd as it acts; at tape, {MESSAGES:,} of its messages over and over")
    say("  sent/s  received/s   durable/s    p50 µs    p99 µs  p99.9 µs  exchange  service  postgres  others")
    for rate in options.rates:
        show(rate, [run_once(scratch / f"{rate}_{run}", server, rate, options.seconds) for run in range(options.runs)])


def show(rate: str, runs: list[dict[str, Any]]) -> None:
    """Print one rate's medians."""

    def middle(name: str) -> float:
        return statistics.median(float(run[name]) for run in runs)

    durable = [run["durable_per_s"] for run in runs]
    cores = {name: statistics.median(run["cores"][name] for run in runs) for name in runs[0]["cores"]}
    say(
        f"{rate:>8} {middle('received_per_s'):>11,.0f} {middle('durable_per_s'):>11,.0f} {middle('p50'):>9,.0f}"
        f" {middle('p99'):>9,.0f} {middle('p999'):>9,.0f} {cores['exchange']:>9.0%} {cores['service']:>8.0%}"
        f" {cores['postgres']:>9.0%} {cores['others']:>7.0%}"
        f"  {min(durable):,.0f} to {max(durable):,.0f}, {saturated(cores)}"
    )


if __name__ == "__main__":
    main()
