"""How a stop is asked for, and what happens when it takes too long."""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Final, Self

import structlog
import trio

EXIT_DEADLINE: Final = 70
# After a second signal: enough to let go of an embedded database, too short for a commit that hangs.
AT_ONCE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Deadline:
    """Ends the process with exit code 70 when a stop takes too long, whatever it waits for.

    A thread does it, so that neither a loop that hangs nor a thread that is waited for can prevent it. Leaving the
    context lifts it.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def set(self, within_s: float) -> None:
        """End the process in so many seconds, instead of what was set before."""
        self.lift()
        self._timer = threading.Timer(within_s, _end_process, (within_s,))
        self._timer.daemon = True
        self._timer.start()

    def lift(self) -> None:
        """Let the process live."""
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()


async def watch_signals(
    stop: trio.Event,
    at_once: trio.CancelScope,
    deadline: Deadline,
    deadline_s: float,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Set `stop` at the first SIGINT or SIGTERM, cancel `at_once` at the second; runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if not stop.is_set():
                _log.info("stop asked for", signal=signal.Signals(number).name, deadline_s=deadline_s)
                deadline.set(deadline_s)
                stop.set()
            elif not at_once.cancel_called:
                _log.warning("stop at once", signal=signal.Signals(number).name)
                deadline.set(min(AT_ONCE_S, deadline_s))
                at_once.cancel()


def _end_process(within_s: float) -> None:
    # What was received is in the journal as far as it had room, so this loses nothing of that.
    sys.stderr.write(f"the stop took longer than {within_s:g} s; ending the process\n")
    sys.stderr.flush()
    os._exit(EXIT_DEADLINE)
