"""A recording service whose feed is struck on purpose, one fault after the other, and looked at after each.

Faults are for the service's own connection alone: the venue counts those that it accepts, and the first is the truth's.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import attrs
import httpx
import psycopg

from tests.faults.hasty import HASTY
from tests.faults.scene import MARKETS, Scene, stopped
from tests.running import RLFLOW, Running, service, wait_for

RATE = 200
"""Of the venue's frames a second: enough for faults to strike at once."""

BOOKS = "orderbook_delta"
MARK_BEHIND = 40
"""Frames of books between a fault and the duplicate that shows that it has struck."""

Gaps: TypeAlias = "Counter[tuple[str, str]]"
"""Gap rows of books by cause and market."""


@attrs.define
class Feed:
    """The service of a scene and what has become of its feed."""

    world: Scene
    running: Running
    client: httpx.Client
    """Kept, since to make one costs as much as many questions."""
    _last_gap: int = 0

    # -- what is done to it -----------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The venue's number of the connection that was accepted last."""
        return int(self.client.get(f"{self.world.venue_url}/sim/statistics").json()["accepted"])

    def arm(self, *faults: dict[str, Any], behind: int = 0) -> None:
        """Let faults strike the connection, or one that is accepted so many connections later."""
        number = self.number + behind
        self.world.tell_venue("faults", [{"connection": number, **fault} for fault in faults])

    def strike(self, *faults: dict[str, Any]) -> None:
        """Let faults strike, and wait until the books have seen everything up to some frames behind them."""
        due = self.count("duplicate") + 1 + sum(each.get("count", 1) for each in faults if each["kind"] == "duplicate")
        self.arm(*faults, {"kind": "duplicate", "number": MARK_BEHIND})
        wait_for(f"the mark behind {faults}", lambda: self.count("duplicate") >= due or None)

    def break_off(self, **how: Any) -> None:
        """Let the venue close the connection behind the next frame, and wait until another one was accepted."""
        before = self.number
        self.arm({"kind": "close", **how})
        self.wait_connection(before)

    def wait_connection(self, before: int, limit_s: float = 60) -> None:
        """Wait until the venue has accepted more connections than these."""
        wait_for("another connection", lambda: self.number > before or None, limit_s)

    # -- what is seen of it -----------------------------------------------------------------------------------------

    def status(self) -> Any:
        """Return the service's status."""
        return self.ask("/rl/status")

    def ask(self, path: str) -> Any:
        """Return what the service answers, whatever its status."""
        return self.client.get(self.running.url + path).json()

    def count(self, outcome: str) -> int:
        """Return how many stored frames had this outcome."""
        return int(self.status()["accounting"][outcome])

    @property
    def first(self) -> Any:
        """How the first feed stands."""
        return self.status()["feeds"][0]

    @property
    def reasons(self) -> list[str]:
        """Why the data is not ready."""
        return list(self.ask("/rl/ready")["reasons"])

    def wait_well(self, limit_s: float = 60) -> None:
        """Wait until every book is valid and nothing else is wrong."""
        wait_for("ready", lambda: None if self.reasons else True, limit_s)

    def new_gaps(self) -> Gaps:
        """Return the gap rows of books that were written since the last call."""
        self.running.flush()
        with psycopg.connect(self.world.database_url) as connection:
            rows = connection.execute(
                """SELECT id, cause, market_ticker FROM rlflow_sim.rl_feed_gaps
                   WHERE channel = 'orderbook_delta' AND id > %s ORDER BY id""",
                (self._last_gap,),
            ).fetchall()
        self._last_gap = rows[-1][0] if rows else self._last_gap
        return Counter((cause, ticker) for _, cause, ticker in rows)

    def open_gaps(self) -> int:
        """Return how many gap rows of books have no end yet."""
        self.running.flush()
        return int(self.query("SELECT count(*) FROM rlflow_sim.rl_feed_gaps WHERE to_ns IS NULL")[0][0])

    def query(self, text: str) -> list[Any]:
        """Return the rows of a query of the store."""
        with psycopg.connect(self.world.database_url) as connection:
            return connection.execute(text.encode()).fetchall()

    def assert_whole(self) -> None:
        """Assert that every book is valid again and nothing new is missing."""
        self.wait_well()
        assert not self.new_gaps()


def everywhere(cause: str) -> Gaps:
    """A gap row of every market."""
    return Counter({(cause, ticker): 1 for ticker in MARKETS})


@contextlib.contextmanager
def feeding(world: Scene, program: Sequence[str] = RLFLOW) -> Iterator[Feed]:
    """Record until the context ends; then stop properly, and judge what is stored by the venue's own books."""
    started = service(world.directory / "service", program=program, **world.settings)
    with started as running, httpx.Client(timeout=30) as client:
        feed = Feed(world, running, client)
        feed.wait_well()
        yield feed
        feed.wait_well()
        stopped(running)
    world.assert_good()


@contextlib.contextmanager
def hasty_feeding(world: Scene) -> Iterator[Feed]:
    """The same with short waits."""
    with feeding(world, HASTY) as feed:
        yield feed
