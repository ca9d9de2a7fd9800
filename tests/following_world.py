"""The simulated exchange and everything that follows it, in one loop: sockets and REST are real, the store is not."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from rlflow.config import Settings
from rlflow.data.database import Database
from rlflow.data.following.lanes import FeedsStatus
from rlflow.data.journal.journal import Journal
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.credentials import load_or_make_credentials
from rlflow.exchange.server import Exchange, serve
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.orderbook import BookView
from rlflow.session.rows import GapRow
from rlflow.supervisor.following import FollowingParts, venue_client
from rlflow.supervisor.venue import Venue
from tests.pipeline import MemoryStore, Pipeline, wait_until


def _no_database() -> Database:
    raise AssertionError("nothing here needs one")


@attrs.define
class World:
    """A venue, and a collector without database and HTTP."""

    exchange: Exchange
    pipeline: Pipeline
    parts: FollowingParts
    stop: trio.Event
    seen: dict[str, list[BookView]] = attrs.Factory(lambda: defaultdict(list))
    """What a reader saw of each market, views of one capture in a row and equally valid left out."""

    def status(self) -> FeedsStatus:
        return self.parts.feeds.statistics()

    def valid(self) -> int:
        return self.pipeline.books.statistics().valid

    def gaps(self) -> list[GapRow]:
        """The gaps so far, but those that the end of the test makes."""
        return [gap for gap in self.pipeline.store.gaps if gap.cause != "stopped"]

    async def wait_valid(self, count: int) -> None:
        await wait_until(lambda: self.valid() >= count)

    def reconnects(self) -> dict[str, int]:
        """How often each feed had to connect again."""
        return {lane.name: lane.feed.connections - 1 for lane in self.status().feeds}

    async def break_connection(self, number: int) -> str:
        """Cut the venue's n-th connection at its next frame, wait until all is well again; return the feed's name."""
        before, valid = self.reconnects(), self.valid()
        assert self.exchange.inject(Fault(FaultKind.ABORT, connection=number))
        await wait_until(lambda: self.reconnects() != before and self.status().is_connected)
        await wait_until(lambda: self.valid() == valid)
        [name] = [name for name, count in self.reconnects().items() if count != before[name]]
        return name

    async def read(self) -> None:
        """Read the books as a user does, until cancelled."""
        subscription = self.pipeline.books.subscribe()
        while True:
            for ticker, view in (await subscription.receive()).items():
                last = self.seen[ticker][-1] if self.seen[ticker] else None
                if last is None or (last.capture, last.is_valid) != (view.capture, view.is_valid):
                    self.seen[ticker].append(view)


@asynccontextmanager
async def following(
    directory: Path, config: ExchangeConfig, settings: Settings, *, limit_s: float = 60, has_rest: bool = True
) -> AsyncIterator[World]:
    """Run a venue and what follows it; stop in the collector's own order at the end."""
    credentials = load_or_make_credentials(directory)
    config = attrs.evolve(config, keys=credentials.public_keys)
    journal = Journal.open(directory / "journal", max_bytes=2**30, min_free_bytes=0)
    pipeline = Pipeline(journal, MemoryStore(), batches=4096, rows=4096, batch_size=1000)
    stop = trio.Event()
    with trio.fail_after(limit_s):
        async with trio.open_nursery() as nursery:
            exchange: Exchange = await nursery.start(serve, config)
            venue = Venue(exchange.url, exchange.address.api_url if has_rest else "", lambda: credentials.signer)
            async with venue_client(venue) as client, trio.open_nursery() as collector:
                parts = FollowingParts.build(
                    settings,
                    venue,
                    client=client,
                    captures=pipeline.log,
                    books=pipeline.books,
                    connect=_no_database,
                    flush=pipeline.writer.flush,
                )
                world = World(exchange, pipeline, parts, stop)
                await collector.start(pipeline.run)
                collector.start_soon(parts.following.run)
                collector.start_soon(world.read)
                async with trio.open_nursery() as feeds:
                    feeds.start_soon(parts.feeds.run, stop)
                    yield world
                    stop.set()
                await pipeline.writer.flush()
                collector.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    journal.close()
