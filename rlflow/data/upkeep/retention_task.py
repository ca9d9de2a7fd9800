"""The task that takes old days away, as `RL_RETENTION_DAYS` says."""

import time
from collections.abc import Callable
from functools import partial

import attrs
import structlog
import trio

from rlflow.data.database import Database
from rlflow.data.database_thread import DatabaseThread
from rlflow.data.upkeep.retention import Retired, first_day_kept, retire
from rlflow.errors import CommandError, DatabaseAwayError
from rlflow.units import Nanos

# A day ends once a day; looking every hour serves a wall clock that is set, and a process that slept.
INTERVAL_S = 3_600.0
# Whatever held a lock longer than `retention.LOCK_TIMEOUT`, such as a notebook that loads a year, is given this time.
RETRY_S = 300.0
# A clock that is corrected moves by seconds. One that went further by itself must not make days old that are not.
LARGEST_JUMP_NS: Nanos = 3_600 * 10**9

_log = structlog.get_logger(__name__)


def elapsed_ns() -> Nanos:
    """Return what a clock shows that nobody sets and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@attrs.frozen
class RetentionStatistics:
    """What was taken away since the start."""

    keep_days: int
    """0: nothing ever is."""
    partitions: int
    captures: int
    last_ns: Nanos | None
    """Wall clock after the last time that went well."""
    problem: str | None
    """Why the last attempt came to nothing, None if it went well."""


@attrs.define(eq=False)
class Retention:
    """Takes old days away at the start and every hour, on a connection and a thread of its own.

    How to wire it: `Retention(partial(stores.connect, settings.environment), settings.retention_days)`; start `run` in
    the nursery of what works beside the pipeline, as the self-check is, named "retention"; cancelling it ends it. It
    raises `StoreError` if the store is not ours, and nothing else. `statistics()` is for `/rl/status`: a `problem` that
    lasts for a day is worth a warning, since the disk fills then.
    """

    connect: Callable[[], Database]
    keep_days: int
    wall_ns: Callable[[], Nanos] = time.time_ns
    clock_ns: Callable[[], Nanos] = elapsed_ns
    _began_ns: Nanos = attrs.field(
        default=attrs.Factory(lambda self: self.wall_ns() - self.clock_ns(), takes_self=True), init=False
    )
    _database: DatabaseThread = attrs.field(
        default=attrs.Factory(lambda self: DatabaseThread(self.connect), takes_self=True), init=False
    )
    _statistics: RetentionStatistics = attrs.field(
        default=attrs.Factory(lambda self: RetentionStatistics(self.keep_days, 0, 0, None, None), takes_self=True),
        init=False,
    )

    def statistics(self) -> RetentionStatistics:
        """Return what was done so far."""
        return self._statistics

    async def run(self) -> None:
        """Look again and again until cancelled; nothing to do if everything is kept for ever."""
        if not self.keep_days:
            await trio.sleep_forever()
        while True:
            is_done = await self._attempt()
            await trio.sleep(INTERVAL_S if is_done else RETRY_S)

    async def _attempt(self) -> bool:
        """Return whether it went well."""
        jump_ns = self.wall_ns() - self.clock_ns() - self._began_ns
        if jump_ns > LARGEST_JUMP_NS:
            return self._put_off(
                f"the clock is {jump_ns / 3.6e12:,.1f} h ahead of what has passed since the start: set it right, "
                "or start rlflow anew if it is right"
            )
        before = first_day_kept(self.wall_ns(), self.keep_days)
        try:
            retired = await self._database.run(partial(retire, before=before))
        except (DatabaseAwayError, CommandError) as error:
            # A long reader, a database that is away, a command that does the same: all pass.
            return self._put_off(str(error))
        self._note(retired)
        return True

    def _put_off(self, reason: str) -> bool:
        """Note why nothing was done, and return False."""
        self._statistics = attrs.evolve(self._statistics, problem=reason)
        _log.warning("retention put off", reason=reason)
        return False

    def _note(self, retired: Retired) -> None:
        before = self._statistics
        self._statistics = attrs.evolve(
            before,
            partitions=before.partitions + len(retired.partitions),
            captures=before.captures + retired.captures,
            last_ns=self.wall_ns(),
            problem=None,
        )
        if retired.partitions:
            _log.info("old days dropped", **attrs.asdict(retired))
