"""How a stop is asked for, and what happens when it takes too long."""

import os
import signal
import sys
import threading

import structlog
import trio

EXIT_DEADLINE = 70

_log = structlog.get_logger(__name__)


async def watch_signals(
    stop: trio.Event, at_once: trio.CancelScope, deadline_s: float, *, task_status: trio.TaskStatus[None]
) -> None:
    """Set `stop` at the first SIGINT or SIGTERM, cancel `at_once` at the second; runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                _log.warning("stop at once", signal=signal.Signals(number).name)
                at_once.cancel()
                continue
            _log.info("stop asked for", signal=signal.Signals(number).name, deadline_s=deadline_s)
            stop.set()


async def end_at_deadline(stop: trio.Event, deadline_s: float) -> None:
    """From `stop` on, end the process with exit code 70 after `deadline_s`, unless cancelled before.

    A thread does it, so that a loop that hangs cannot prevent it.
    """
    await stop.wait()
    timer = threading.Timer(deadline_s, _end_process, (deadline_s,))
    timer.daemon = True
    timer.start()
    try:
        await trio.sleep_forever()
    finally:
        timer.cancel()


def _end_process(deadline_s: float) -> None:
    # Everything received is in the journal, so this loses nothing.
    sys.stderr.write(f"the stop took longer than {deadline_s:g} s (RL_STOP_DEADLINE); ending the process\n")
    sys.stderr.flush()
    os._exit(EXIT_DEADLINE)
