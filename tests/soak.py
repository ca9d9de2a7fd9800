"""A long run under load with things going wrong: `just soak MINUTES`.

Ten times the rate of the busiest recording (152 messages a second over 15 minutes), connections cut and PostgreSQL
killed over and over. What must stay flat is printed meanwhile: memory, file descriptors, threads, tasks. In the end the
frames must balance, the audit be clean, and the medians of the last third not lie above those of the first.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import attrs
import httpx
import psutil

from rlflow.data.database import Database
from rlflow.data.embedded.shared_server import EmbeddedPostgres
from rlflow.data.history.audit import audit
from tests.bench import say, show_machine
from tests.embedded_home import cleared_home
from tests.running import Running, exchange, service

RATE: Final = 1_520
# A connection that lasted for less than 30 s counts as a failure, and the next one would wait ever longer.
CUT_EVERY_S: Final = 40.0
KILL_EVERY_S: Final = 60.0
AWAY_S: Final = 5.0
SAMPLE_EVERY_S: Final = 10.0
# What a median of the last third may lie above that of the first. Memory is what the allocator keeps, too.
GROWTH: Final = {"rss_mib": 1.15, "descriptors": 1.1, "threads": 1.1, "tasks": 1.1}


@attrs.frozen
class Sample:
    """The figures that must stay flat, and those that show that something happened."""

    at_s: float
    rss_mib: float
    descriptors: int
    threads: int
    tasks: int
    received: int
    pending: int
    reconnects: int


def take(running: Running, began: float) -> Sample:
    """Look at the process from outside and ask it for the rest."""
    process = psutil.Process(running.popen.pid)
    status = running.ask("/rl/status")
    return Sample(
        at_s=time.monotonic() - began,
        rss_mib=process.memory_info().rss / 2**20,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        tasks=status["tasks"],
        received=status["accounting"]["received"],
        pending=status["accounting"]["pending"],
        reconnects=sum(max(feed["connections"] - 1, 0) for feed in status["feeds"]),
    )


def trouble(server: EmbeddedPostgres, sim_url: str, over: threading.Event) -> None:
    """Cut the connections and kill the database in turns until it is over."""
    next_kill = time.monotonic() + KILL_EVERY_S
    while not over.wait(CUT_EVERY_S):
        httpx.post(f"{sim_url}/sim/disconnect", json={}, timeout=30)
        if time.monotonic() >= next_kill:
            next_kill += KILL_EVERY_S
            _kill(server)
            over.wait(AWAY_S)
            server.ensure_running()


def _kill(server: EmbeddedPostgres) -> None:
    process_id = server.status().process_id
    if process_id is not None:
        os.kill(process_id, signal.SIGQUIT)


def watch(running: Running, seconds: float) -> list[Sample]:
    """Take samples for so long, and print each."""
    began = time.monotonic()
    samples: list[Sample] = []
    say("    s  rss MiB  fds  threads  tasks   received  pending  reconnects")
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(SAMPLE_EVERY_S, left))
        one = take(running, began)
        samples.append(one)
        say(
            f"{one.at_s:>5.0f} {one.rss_mib:>8.1f} {one.descriptors:>4} {one.threads:>8} {one.tasks:>6}"
            f" {one.received:>10,} {one.pending:>8,} {one.reconnects:>11}"
        )
    return samples


def growth(samples: list[Sample]) -> dict[str, float]:
    """Return by how much the median of the last third lies above that of the first, the first minute left out."""
    settled = [sample for sample in samples if sample.at_s > 60] or samples
    third = max(len(settled) // 3, 1)
    return {
        name: statistics.median(getattr(one, name) for one in settled[-third:])
        / statistics.median(getattr(one, name) for one in settled[:third])
        for name in GROWTH
    }


def run(directory: Path, server: EmbeddedPostgres, seconds: float, rate: int) -> list[str]:
    """Run for so long and return what was not as it must be."""
    url = server.url("soak")
    with (
        exchange(directory / "venue", "--rate", str(rate)) as settings,
        service(directory, DATABASE_URL=url, **settings) as running,
    ):
        running.wait_status("rows", lambda status: status["write_queue"]["rows_written"] > 5000)
        over = threading.Event()
        sim_url = settings["KALSHI_API_URL"].partition("/trade-api")[0]
        thread = threading.Thread(target=trouble, args=(server, sim_url, over))
        thread.start()
        try:
            samples = watch(running, seconds)
        finally:
            over.set()
            thread.join()
        wrong = judge(running, samples)
        if running.stop() != 0:
            wrong.append("the service did not stop cleanly")
    with Database.connect(url, db_schema="rlflow_sim", environment="sim") as database:
        report = audit(database)
    say(f"audit: {report.captures:,} captures, {report.deltas:,} deltas, {len(report.gaps):,} gaps")
    return wrong + [f"audit: {finding}" for finding in report.findings]


def judge(running: Running, samples: list[Sample]) -> list[str]:
    """Return which figures grew, and whether frames are missing."""
    server_is_back = running.wait_status("caught up", lambda status: status["accounting"]["pending"] < 5_000, 300)
    accounting = server_is_back["accounting"]
    say(f"accounting: {accounting}")
    grown = growth(samples)
    say("last third over first: " + ", ".join(f"{name} {value:.2f}" for name, value in grown.items()))
    wrong = [
        f"{name} grew to {grown[name]:.2f} of what it was" for name, limit in GROWTH.items() if grown[name] > limit
    ]
    if not accounting["balances"] or accounting["dropped"] or accounting["lost"]:
        wrong.append(f"frames are missing: {accounting}")
    return wrong


def main() -> None:
    """Run for the minutes that were asked for; exit code 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description="Record under load and trouble, and watch that nothing grows.")
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--rate", type=int, default=RATE, help="messages a second")
    options = parser.parse_args()
    show_machine()
    scratch = Path(tempfile.mkdtemp(prefix="rlflow-soak-"))
    with cleared_home(scratch), EmbeddedPostgres.start(scratch) as server:
        wrong = run(scratch, server, options.minutes * 60, options.rate)
    shutil.rmtree(scratch)
    for each in wrong:
        say(f"not as it must be: {each}")
    say("flat, balanced, clean" if not wrong else f"{len(wrong)} findings")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
