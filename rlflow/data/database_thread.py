"""The database for tasks that seldom need it: a connection for each use, in a thread that nobody else waits for."""

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from rlflow.data.database import Database

T = TypeVar("T")


@attrs.define(eq=False)
class DatabaseThread:
    """One use at a time. A database that hangs takes none of the other threads' places."""

    connect: Callable[[], Database]
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def run(self, use: Callable[[Database], T]) -> T:
        """Connect, call `use` and return what it returns. If cancelled, the thread ends by itself.

        Raises:
            DatabaseAwayError: it cannot be reached, or broke off.
            StoreError: it is not a store that we may write to.
        """

        def connect_and_use() -> T:
            with self.connect() as database:
                return use(database)

        return await trio.to_thread.run_sync(connect_and_use, abandon_on_cancel=True, limiter=self._limiter)
