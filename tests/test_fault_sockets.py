"""Faults of the local venue that concern the line: how they arrive over a real socket, and what the collector does."""

import time
from collections.abc import Sequence
from itertools import pairwise

import attrs
import pytest
import trio

from rlflow.exchange.config import DEFAULT_TICKERS
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.server import Exchange
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import ORDERBOOK
from rlflow.session.records import Closed
from tests.exchange_client import command, connected, gapless, running, subscribe
from tests.test_orderbook_client import EchoCommander, Feed
from tests.test_orderbook_client import running as feeding

ONE_BOOK = subscribe(1, DEFAULT_TICKERS[0], channels=[ORDERBOOK])


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


async def test_a_connection_may_be_closed_with_any_code(credentials: Credentials) -> None:
    fault = Fault(FaultKind.CLOSE, number=3, code=4_001)
    async with running(credentials, faults=(fault,)) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(ONE_BOOK)
        assert len(await client.hear_until_closed()) == 4
        assert client.close_code == 4_001


@pytest.mark.parametrize("kind", [FaultKind.DELAY, FaultKind.STALL_WRITES])
async def test_frames_that_wait_arrive_later_and_whole(credentials: Credentials, kind: FaultKind) -> None:
    fault = Fault(kind, number=5, seconds=0.3)
    async with running(credentials, faults=(fault,)) as exchange, connected(exchange.url, credentials.signer) as client:
        await client.say(ONE_BOOK)
        arrivals: list[float] = []
        frames = []
        for _ in range(100):
            frames += await client.hear()
            arrivals.append(trio.current_time())
        assert gapless(frames)
        # A little before, the client may have been late itself.
        assert max(later - earlier for earlier, later in pairwise(arrivals)) > 0.15


async def test_pings_wait_with_all_the_rest(credentials: Credentials) -> None:
    fault = Fault(FaultKind.STALL_WRITES, seconds=600)
    async with (
        running(credentials, faults=(fault,), ping_interval_s=0.01, pong_limit_s=0.1) as exchange,
        connected(exchange.url, credentials.signer) as client,
    ):
        await client.say(ONE_BOOK)
        # The exchange misses the pongs to the pings that it does not send.
        assert len(await client.hear_until_closed()) == 2
        assert client.close_code == 1006


async def test_a_command_to_a_reader_that_stalls_is_answered_later(credentials: Credentials) -> None:
    fault = Fault(FaultKind.STALL_READS, seconds=0.3)
    async with running(credentials, faults=(fault,)) as exchange, connected(exchange.url, credentials.signer) as client:
        asked = trio.current_time()
        await client.say(ONE_BOOK)
        frames = await client.hear(10)
        await client.say(command(2, "list_subscriptions"))
        while frames[-1].get("id") != 2:
            frames += await client.hear()
        assert trio.current_time() - asked >= 0.3
        assert gapless(frames[:-1])


async def test_a_fault_may_be_meant_for_a_connection_yet_to_come(credentials: Credentials) -> None:
    async with running(credentials) as exchange:
        assert exchange.inject(Fault(FaultKind.ABORT, number=2, connection=2)) == 0
        async with connected(exchange.url, credentials.signer) as first:
            await first.say(ONE_BOOK)
            await first.hear(50)
            async with connected(exchange.url, credentials.signer) as second:
                await second.say(ONE_BOOK)
                assert len(await second.hear_until_closed()) == 3
            assert len(await first.hear(50)) == 50


@attrs.define
class Subscriber(EchoCommander):
    """Subscribes to one book and wants nothing more."""

    def connected(self, now: float) -> list[bytes]:  # noqa: ARG002
        return [ONE_BOOK.encode()]


def feed(exchange: Exchange, credentials: Credentials, silent_s: float = 25.0) -> Feed:
    def headers() -> Sequence[tuple[str, str]]:
        return list(credentials.signer.headers("GET", "/trade-api/ws/v2", time.time_ns() // 1_000_000))

    return Feed(exchange.url, headers=headers, commander=Subscriber(), silent_s=silent_s, close_s=2.0)


@pytest.mark.parametrize(
    ("fault", "closed"),
    [
        (Fault(FaultKind.ABORT, number=5, connection=1), Closed("connection lost", 1006)),
        (Fault(FaultKind.CLOSE, number=5, connection=1, code=4_000), Closed("peer closed: fault on request", 4_000)),
        (Fault(FaultKind.MUTE, number=5, connection=1), Closed("silent for 2 s", 1000)),
        (Fault(FaultKind.STALL_WRITES, number=5, connection=1, seconds=600), Closed("silent for 2 s", None)),
        (
            Fault(FaultKind.OVERSIZE, number=5, connection=1, size_bytes=9 * 2**20),
            Closed("protocol error: Exceeded maximum message size: 8388608 bytes", 1009),
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
async def test_the_collector_leaves_a_line_that_is_no_good_and_records_on_another(
    credentials: Credentials, fault: Fault, closed: Closed
) -> None:
    async with (
        running(credentials, faults=(fault,), goodbye_s=0.2) as exchange,
        feeding(feed(exchange, credentials, silent_s=25.0 if fault.kind is FaultKind.OVERSIZE else 2.0)) as fed,
    ):
        assert await fed.next_closed() == closed
        assert len(await fed.next_frames(20)) >= 20
        assert exchange.statistics().accepted == 2


@pytest.mark.parametrize("fault", [Fault(FaultKind.BAD_UTF8, number=5), Fault(FaultKind.OVERSIZE, number=5)])
async def test_the_collector_records_what_it_cannot_read_and_stays(credentials: Credentials, fault: Fault) -> None:
    async with running(credentials, faults=(fault,)) as exchange, feeding(feed(exchange, credentials)) as fed:
        frames = await fed.next_frames(50)
        assert any(b"\xff" in each or len(each) == 2**20 for each in frames)
        assert exchange.statistics().accepted == 1
