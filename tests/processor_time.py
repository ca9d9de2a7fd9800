"""Who used the processor while something was measured, and so what was measured."""

import os
from collections.abc import Mapping

import attrs
import psutil

from rlflow.data.embedded.shared_server import EmbeddedPostgres
from tests.running import Running

# The share of a core from which on a process counts as saturated, and of all cores from which on the machine does.
_BUSY = 0.85


@attrs.frozen
class Meter:
    """The processor time of the processes of a run, and of everybody else on the machine."""

    processes: Mapping[str, psutil.Process]

    @classmethod
    def of(cls, running: Running, server: EmbeddedPostgres) -> "Meter":
        """Return the meter of the exchange that was started before the service, of that, and of the database server."""
        venue = next(child for child in psutil.Process().children() if "exchange" in child.cmdline())
        postgres = psutil.Process(server.status().process_id)
        return cls({"exchange": venue, "service": psutil.Process(running.popen.pid), "postgres": postgres})

    def seconds(self) -> dict[str, float]:
        """Return what each of them has used so far, its children included, and what the others have."""
        used = {name: _used(process) for name, process in self.processes.items()}
        return {**used, "others": _used_by_all() - sum(used.values())}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    living = sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    return float(sum(times[:4])) + living


def _used_by_all() -> float:
    times = psutil.cpu_times()
    # What a guest uses is in `user` already; what the machine's host withheld is as good as used.
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def saturated(cores: Mapping[str, float]) -> str:
    """Return what had no more to give, from the number of cores that each process used, and the others."""
    busy = [name for name, used in cores.items() if used > _BUSY and name != "others"]
    if sum(cores.values()) > _BUSY * (os.cpu_count() or 1):
        busy.append("all cores")
    return f"{', '.join(busy)} saturated" if busy else "nothing saturated"
