"""What a feed tells others, and how its markets change while it is connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
import trio.testing
from wsproto.events import CloseConnection, TextMessage

from rlflow.data.backoff import Backoff
from rlflow.data.feed.capture_log import CaptureLog
from rlflow.data.orderbook_client import OrderbookClient
from rlflow.kalshi.notices import BookValid, Notice
from rlflow.session.records import Batch, Kind, Opened, Stale
from tests.raw_venue import Peer, accept, close_frame, raw_venue
from tests.test_orderbook_client import HEADERS, Books, EchoCommander, MemoryJournal


@attrs.define
class Talk:
    """A connected feed from all its sides."""

    commander: EchoCommander
    client: OrderbookClient
    batches: trio.MemoryReceiveChannel[Batch]
    notices: trio.MemorySendChannel[Notice]
    venue_heard: trio.MemoryReceiveChannel[str]
    heard: list[Notice]
    overfilled: list[int]

    async def hear(self, notice: Notice) -> None:
        """Let the feed hear a notice, and wait until its commander has answered."""
        await self.notices.send(notice)
        await self.venue_heard.receive()
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    send_words, words = trio.open_memory_channel[str](100)
    send, batches = trio.open_memory_channel[Batch](100)

    async def serve(stream: trio.abc.Stream) -> None:
        peer: Peer = await accept(stream)
        while (event := await peer.receive()) is not None:
            if isinstance(event, TextMessage):
                await send_words.send(event.data)
            elif isinstance(event, CloseConnection):
                await peer.send(close_frame(event.code))
                return

    books, commander, stop = Books(), EchoCommander(), trio.Event()
    heard: list[Notice] = []
    overfilled: list[int] = []
    with trio.fail_after(20):
        async with raw_venue(serve) as url, trio.open_nursery() as nursery:
            client = OrderbookClient(
                url=url,
                headers=lambda: HEADERS,
                make_commander=lambda: commander,
                capture_log=CaptureLog(MemoryJournal(), send),
                books=books,
                opened=lambda: Opened(url, "sim", tickers=("A",)),
                backoff=Backoff(first_s=60),
                heard=heard.append,
                overfilled=overfilled.append,
            )
            nursery.start_soon(partial(client.run, stop))
            assert (await batches.receive()).kind is Kind.OPENED
            assert await words.receive() == '"subscribe"'
            capture = client.statistics().capture
            assert capture is not None
            yield Talk(commander, client, batches, books.channels[capture], words, heard, overfilled)
            stop.set()


async def test_markets_change_on_the_open_connection() -> None:
    async with talking() as talk:
        talk.client.follow(["A", "B"])
        assert await talk.venue_heard.receive() == '["follow", "A", "B"]'


async def test_only_the_last_of_several_wishes_counts() -> None:
    async with talking() as talk:
        talk.client.follow(["A"])
        talk.client.follow(["B"])
        assert await talk.venue_heard.receive() == '["follow", "B"]'


async def test_every_notice_is_passed_on() -> None:
    async with talking() as talk:
        await talk.hear(BookValid(1, "A"))
        assert talk.heard == [BookValid(1, "A")]


async def test_a_market_whose_book_never_comes_is_written_down_once() -> None:
    async with talking() as talk:
        for missing in ({"X"}, {"X", "Y"}, set[str](), {"X"}):
            talk.commander.missing = frozenset(missing)
            await talk.hear(BookValid(1, "A"))
        records = [(await talk.batches.receive()).local() for _ in range(2)]
        assert records == [Stale(("X",), "the venue sends no snapshot"), Stale(("Y",), "the venue sends no snapshot")]
        talk.commander.missing = frozenset()
        await talk.hear(BookValid(1, "X"))
        talk.commander.missing = frozenset({"X"})
        await talk.hear(BookValid(1, "A"))
        assert (await talk.batches.receive()).local() == Stale(("X",), "the venue sends no snapshot")


async def test_a_subscription_that_is_full_is_told_of_once() -> None:
    async with talking() as talk:
        for too_many in (300, 300, None, 200):
            talk.commander.too_many = too_many
            await talk.hear(BookValid(1, "A"))
        assert talk.overfilled == [300, 200]
