"""The live book against the tables: what is a difference, and what is only not known."""

from uuid import UUID

import attrs
import pytest
import trio

from rlflow.data.books.storage_loss import Loss
from rlflow.data.database import Database
from rlflow.data.upkeep.self_check import SelfCheck
from rlflow.orderbook import BookView
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.rows import GapRow
from rlflow.session.session import Session
from tests.pipeline import TICKER, delta, snapshot

CAPTURE = UUID("0198c3f0-0000-7000-8000-000000000001")
NOON_NS = 1_795_305_600_000_000_000
SPOIL = "UPDATE rl_orderbook_deltas SET (delta, action, old_size, new_size) = (%s, NULL, NULL, NULL) WHERE frame_no = 3"
REMOVE = """
    UPDATE rl_captures SET resume_state = jsonb_set(resume_state, '{removed}', jsonb_build_array(jsonb_build_object(
        'channel', 'orderbook_delta', 'ticker', 'KXTEST-A', 'frame_no', 2, 'received_ns', 0)))"""
OPENED = local_batch(Opened(url="ws://test", environment="sim"), CAPTURE, 0, NOON_NS)


def frames(first: int, *content: bytes) -> Batch:
    return Batch(Kind.FRAMES, CAPTURE, first, NOON_NS + first, content)


@attrs.define
class LiveBooks:
    """The live side: one session, nothing in between."""

    session: Session = attrs.Factory(lambda: Session(CAPTURE))

    def tickers(self) -> tuple[str, ...]:
        return tuple(self.session.books)

    def settled_view(self, ticker: str) -> BookView | None:
        return self.session.view(ticker)

    def last_frame(self, capture: UUID) -> int | None:
        return self.session.upto_frame if capture == CAPTURE else None


class IdleWriter:
    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define
class World:
    url: str
    books: LiveBooks = attrs.Factory(LiveBooks)

    def connect(self) -> Database:
        return Database.connect(self.url, environment="sim")

    def commit(self, *batches: Batch) -> None:
        with self.connect() as database:
            for batch in batches:
                database.commit([self.books.session.feed(batch)])

    async def differences(self, checks: int) -> int:
        """Check once and return the differences; the check must count, or not."""
        check = SelfCheck(self.books, IdleWriter(), self.connect)
        await check.check()
        assert check.statistics().checks == checks
        return check.statistics().differences


@pytest.fixture
def world(database_url: str) -> World:
    return World(database_url)


async def test_a_book_that_equals_the_tables_is_no_difference(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1), delta(2), delta(3)))
    assert await world.differences(checks=1) == 0


async def test_a_book_that_the_tables_do_not_lead_to_is_a_difference(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1), delta(2), delta(3)))
    with world.connect() as database:
        database.connection.execute(SPOIL, [7])
    assert await world.differences(checks=1) == 1


async def test_a_book_whose_stored_deltas_contradict_each_other_is_a_difference(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1), delta(2), delta(3)))
    with world.connect() as database:
        database.connection.execute(SPOIL, [-700])
    assert await world.differences(checks=1) == 1


async def test_a_book_without_a_stored_snapshot_is_a_difference(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1), delta(2)))
    with world.connect() as database:
        database.connection.execute("DELETE FROM rl_orderbook_snapshots")
    assert await world.differences(checks=1) == 1


async def test_a_book_that_the_tables_say_is_not_subscribed_any_more_is_a_difference(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1), delta(2)))
    with world.connect() as database:
        database.connection.execute(REMOVE)
    assert await world.differences(checks=1) == 1


async def test_a_capture_that_is_not_stored_yet_is_not_judged(world: World) -> None:
    """A full journal: flushing does not wait for what is not in it."""
    world.books.session.feed(OPENED)
    world.books.session.feed(frames(1, snapshot(1)))
    assert await world.differences(checks=0) == 0


async def test_frames_that_are_not_stored_yet_are_not_judged(world: World) -> None:
    world.commit(OPENED, frames(1, snapshot(1)))
    world.books.session.feed(frames(2, delta(2)))
    assert await world.differences(checks=0) == 0


async def test_frames_lost_to_storage_are_judged_by_the_checkpoint_behind_them(world: World) -> None:
    """The last frame about the book is among those lost."""
    session = world.books.session
    world.commit(OPENED, frames(1, snapshot(1)))
    lost = session.feed(frames(2, delta(2), delta(3)))
    made = session.feed(frames(4, b'{"type":"ok","id":1,"sid":9,"seq":1}'))
    Loss.of(session, lost).bridge(made)
    with world.connect() as database:
        database.commit([made])
    assert await world.differences(checks=1) == 0


async def test_a_book_that_the_tables_say_they_lost_is_not_judged(world: World) -> None:
    """PostgreSQL refused a row of it: the gap says so until the next snapshot."""
    session = world.books.session
    world.commit(OPENED, frames(1, snapshot(1)))
    made = session.feed(frames(2, delta(2)))
    made.deltas.clear()
    made.gaps.append(GapRow("orderbook_delta", TICKER, 1, 2, NOON_NS, 1, NOON_NS, None, "PostgreSQL refused a row"))
    with world.connect() as database:
        database.commit([made])
    assert await world.differences(checks=0) == 0
