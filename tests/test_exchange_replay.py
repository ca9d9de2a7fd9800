"""Recordings replayed by the local venue: numbers, times, reconnects, and what a client may ask in between."""

import gzip
import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio

from rlflow.errors import CommandError, RecordingError
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.items import Image
from rlflow.exchange.replay import Pace, Replay, ReplayedMarkets, replay_source
from rlflow.exchange.server import Exchange, serve
from rlflow.exchange.simulation import Simulation
from rlflow.exchange.tape import Began, Event, Played, play
from rlflow.recordings import read_recording
from rlflow.session.records import Batch, Closed, Kind, Opened, local_batch
from tests.exchange_client import Client, Frame, command, connected, subscribe
from tests.real_recordings import BTC, DEMO, GOLD

LIMIT_S = 20
START_NS = 1_795_305_600_000_000_000
_ID = UUID(int=7)


def snapshot(seq: int, ticker: str, *yes: tuple[str, str], sid: int = 1) -> Frame:
    return {
        "type": "orderbook_snapshot",
        "sid": sid,
        "seq": seq,
        "msg": {"market_ticker": ticker, "market_id": "", "yes_dollars_fp": list(map(list, yes))},
    }


def delta(seq: int, ticker: str, price: str = "0.4000", change: str = "1.00", *, sid: int = 1) -> Frame:
    msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": "yes", "ts_ms": seq}
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": msg}


def trade(seq: int, ticker: str, *, sid: int = 2) -> Frame:
    msg = {"trade_id": f"t{seq}", "market_ticker": ticker, "yes_price_dollars": "0.4000", "count_fp": "1.00"}
    return {"type": "trade", "sid": sid, "seq": seq, "msg": msg}


def wire(frame: Frame) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()


WHOLE = Opened(url="file:test", environment="recordings")
SPARSE = Opened(url="file:test", environment="recordings", sparse_seq=True)


@attrs.frozen
class Recorded:
    """A recorded connection that a test wrote: one frame every ten milliseconds."""

    frames: Sequence[Frame]
    opened: Opened = WHOLE
    start_ns: int = START_NS

    def batches(self) -> Iterator[Batch]:
        yield local_batch(self.opened, _ID, 0, self.start_ns)
        for number, frame in enumerate(self.frames):
            yield Batch(Kind.FRAMES, _ID, number + 1, self.start_ns + number * 10_000_000, (wire(frame),))
        yield local_batch(Closed("end", is_complete=True), _ID, len(self.frames) + 1, self.start_ns)


def replay(*connections: Recorded, speed: float = math.inf, closes_at_end: bool = True) -> Replay:
    texts = b"".join(frame for each in connections for batch in each.batches() for frame in batch.frames)
    tickers = {ticker.decode() for ticker in re.findall(rb'"market_ticker":"([^"]+)"', texts)}
    return Replay(lambda: connections, frozenset(tickers), speed=speed, closes_at_end=closes_at_end)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


@asynccontextmanager
async def running(credentials: Credentials, source: Replay, **more: Any) -> AsyncIterator[Exchange]:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            config = ExchangeConfig(credentials.public_keys, replay=source, **more)
            yield await nursery.start(serve, config)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(exchange: Exchange, credentials: Credentials, *tickers: str) -> AsyncIterator[Client]:
    async with connected(exchange.url, credentials.signer) as client:
        await client.say(subscribe(1, *(tickers or exchange.config.market_tickers)))
        assert [each["type"] for each in await client.hear(2)] == ["subscribed"] * 2
        yield client


async def heard(credentials: Credentials, source: Replay, *tickers: str) -> list[list[Frame]]:
    """Return what a client that always comes back hears of a replay that closes at its end, by connection."""
    connections: list[list[Frame]] = []
    async with running(credentials, source) as exchange:
        count = sum(isinstance(event, Began) for event in play(source.connections()))
        for _ in range(count):
            async with listening(exchange, credentials, *tickers) as client:
                connections.append(await client.hear_until_closed())
                assert client.close_code == (1000 if len(connections) == count else 1001)
    return connections


def seqs(frames: Iterable[Frame], sid: int = 1) -> list[int]:
    return [frame["seq"] for frame in frames if frame["sid"] == sid]


async def test_a_whole_tape_is_sent_as_it_was_recorded(credentials: Credentials) -> None:
    frames = [snapshot(4_711, "A", ("0.4000", "5.00")), delta(4_712, "A"), trade(90, "A"), delta(4_713, "A")]
    assert await heard(credentials, replay(Recorded(frames))) == [frames]


async def test_a_sparse_tape_is_numbered_anew_from_one(credentials: Credentials) -> None:
    frames = [snapshot(100, "A"), delta(107, "A"), trade(50, "A"), delta(300, "A"), trade(99, "A")]
    ((*sent,),) = await heard(credentials, replay(Recorded(frames, SPARSE)))
    assert (seqs(sent, 1), seqs(sent, 2)) == ([1, 2, 3], [1, 2])
    assert [each["msg"] for each in sent] == [each["msg"] for each in frames]


@pytest.mark.parametrize("opened", [WHOLE, SPARSE])
async def test_a_number_that_falls_is_a_disconnect(credentials: Credentials, opened: Opened) -> None:
    old = [snapshot(100, "A"), trade(50, "A"), delta(101, "A")]
    new = [snapshot(22, "A"), trade(3, "A"), delta(23, "A")]
    first, second = await heard(credentials, replay(Recorded([*old, *new], opened)))
    assert [each["msg"] for each in first] == [each["msg"] for each in old]
    assert [each["msg"] for each in second] == [each["msg"] for each in new]
    assert seqs(second) == ([1, 2] if opened.sparse_seq else [22, 23])


async def test_recorded_connections_are_played_one_after_the_other(credentials: Credentials) -> None:
    tapes = [[snapshot(1, "A"), delta(2, "A")], [snapshot(1, "B"), delta(2, "B")], [delta(7, "A")]]
    assert await heard(credentials, replay(*map(Recorded, tapes))) == tapes


async def test_control_frames_keep_their_number_but_not_their_command(credentials: Credentials) -> None:
    frames: list[Frame] = [
        {"type": "subscribed", "id": 2, "msg": {"channel": "orderbook_delta", "sid": 1}},
        {"type": "ok", "id": 6, "sid": 1, "seq": 1, "msg": {"market_tickers": ["A"]}},
        snapshot(2, "A"),
        {**snapshot(3, "A"), "id": 9},
        {"type": "ticker", "sid": 3, "msg": {"market_ticker": "A"}},
        delta(4, "A"),
    ]
    (sent,) = await heard(credentials, replay(Recorded(frames)))
    assert [each["type"] for each in sent] == ["ok", "orderbook_snapshot", "orderbook_snapshot", "orderbook_delta"]
    assert (seqs(sent), [each for each in sent if "id" in each]) == ([1, 2, 3, 4], [])


async def test_a_recorded_resubscription_continues_on_the_clients_own_sid(credentials: Credentials) -> None:
    frames: list[Frame] = [
        snapshot(1, "A"),
        {"type": "error", "sid": 1, "seq": 2, "msg": {"code": 10, "msg": "?"}},
        {"type": "unsubscribed", "id": 4, "sid": 1, "seq": 3},
        {"type": "subscribed", "id": 5, "msg": {"channel": "orderbook_delta", "sid": 3}},
        snapshot(1, "A", sid=3),
        delta(2, "A", sid=3),
    ]
    (sent,) = await heard(credentials, replay(Recorded(frames)))
    assert [(each["sid"], each["seq"]) for each in sent] == [(1, 1), (1, 2), (1, 3)]


async def test_markets_outside_the_recording_are_empty_and_others_are_filtered_without_holes(
    credentials: Credentials,
) -> None:
    frames = [snapshot(1, "A"), snapshot(2, "B"), delta(3, "A"), delta(5, "B"), delta(6, "B"), delta(7, "A")]
    frames.insert(3, {"type": "ok", "id": 6, "sid": 1, "seq": 4, "msg": {"market_tickers": ["A", "B"]}})
    (sent,) = await heard(credentials, replay(Recorded(frames)), "B", "ELSE")
    assert [(each["seq"], each["msg"]["market_ticker"]) for each in sent] == [(1, "ELSE"), (2, "B"), (3, "B"), (4, "B")]
    assert sent[0]["msg"] == {"market_ticker": "ELSE", "market_id": "", "clock": 0}


async def test_who_comes_in_the_middle_gets_the_book_as_played_so_far(credentials: Credentials) -> None:
    frames = [snapshot(1, "A", ("0.4000", "5.00"), ("0.3000", "1.00"))]
    frames += [delta(2, "A", change="-2.50"), delta(3, "A", "0.3000", "-1.00"), delta(4, "A", "0.3500")]
    async with running(credentials, replay(Recorded(frames), closes_at_end=False)) as exchange:
        async with listening(exchange, credentials) as client:
            await client.hear(4)
            await client.say(command(5, "update_subscription", sid=1, action="get_snapshot", market_ticker="A"))
            (answer,) = await client.hear()
        assert (answer["id"], answer["seq"]) == (5, 5)
        assert answer["msg"]["yes_dollars_fp"] == [["0.3500", "1.00"], ["0.4000", "2.50"]]
        async with listening(exchange, credentials) as client:
            (late,) = await client.hear()
        assert (late["seq"], late["msg"]) == (1, answer["msg"])


async def test_it_waits_for_a_listener_and_goes_on_for_the_next_one(credentials: Credentials) -> None:
    frames = [snapshot(1, "A", ("0.4000", "5.00")), *(delta(seq, "A") for seq in range(2, 40_000))]
    async with running(credentials, replay(Recorded(frames), closes_at_end=False)) as exchange:
        async with connected(exchange.url, credentials.signer):
            await trio.sleep(0.05)
        async with listening(exchange, credentials) as client:
            assert seqs(await client.hear(10)) == list(range(1, 11))
        async with listening(exchange, credentials) as client:
            book, *rest = await client.hear(1_000)
        assert seqs([book, *rest]) == list(range(1, 1_001))
        times = [each["msg"]["ts_ms"] for each in rest]
        assert times == list(range(times[0], times[0] + 999))
        # The snapshot is the recorded one plus one contract for every delta before the next one.
        assert book["msg"]["yes_dollars_fp"] == [["0.4000", f"{5 + times[0] - 2}.00"]]


async def test_a_reader_that_pauses_loses_nothing(credentials: Credentials) -> None:
    frames = [snapshot(1, "A"), *(delta(seq, "A") for seq in range(2, 20_000))]
    async with running(credentials, replay(Recorded(frames))) as exchange, listening(exchange, credentials) as client:
        await client.hear(5)
        await trio.sleep(0.2)
        assert seqs(await client.hear_until_closed()) == list(range(6, 20_000))
        assert exchange.statistics().slow_consumer_errors == 0


async def test_at_recorded_speed_frames_come_at_recorded_distances(credentials: Credentials) -> None:
    frames = [snapshot(1, "A"), *(delta(seq, "A") for seq in range(2, 22))]
    began = trio.current_time()
    assert await heard(credentials, replay(Recorded(frames), speed=0.5)) == [frames]
    # Twenty gaps of 10 ms at half the speed; later is possible on a busy machine, earlier is not.
    assert trio.current_time() - began >= 0.4


async def test_a_convention_other_than_the_recorded_one_is_refused(credentials: Credentials) -> None:
    yes_priced = Recorded([snapshot(1, "A")], Opened(url="file:test", environment="recordings", use_yes_price=True))
    for source, wanted in ((replay(yes_priced), False), (replay(Recorded([snapshot(1, "A")])), True)):
        async with running(credentials, source) as exchange, connected(exchange.url, credentials.signer) as client:
            await client.say(subscribe(1, "A", use_yes_price=wanted))
            (refusal,) = await client.hear()
            assert refusal["msg"]["code"] == 11
            await client.say(subscribe(2, "A", use_yes_price=not wanted))
            assert (await client.hear())[0]["type"] == "subscribed"


def events(*connections: Recorded) -> list[Event]:
    return list(play(connections))


def test_frames_in_another_order_of_fields_are_put_into_the_venues() -> None:
    text = b'{"msg":{"delta_fp":"1.00","market_ticker":"A","price_dollars":"0.4000","side":"no"},"seq":8,"sid":1'
    text += b',"type":"orderbook_delta"}'
    batch = Batch(Kind.FRAMES, _ID, 1, START_NS, (text,))
    (played,) = [each for each in play([_Fixed(WHOLE, [batch])]) if isinstance(each, Played)]
    item = played.publications[0].item
    assert item.head == b'{"type":"orderbook_delta",'
    assert item.tail == b',"msg":{"delta_fp":"1.00","market_ticker":"A","price_dollars":"0.4000","side":"no"}}'


@attrs.frozen
class _Fixed:
    opened: Opened
    given: Sequence[Batch]

    def batches(self) -> Iterator[Batch]:
        return iter(self.given)


def test_what_no_venue_has_sent_is_left_out() -> None:
    batch = Batch(Kind.FRAMES, _ID, 1, START_NS, (b"nonsense", wire(delta(1, "A")), b'{"type":"error"}'))
    _, played = play([_Fixed(WHOLE, [batch])])
    assert isinstance(played, Played)
    assert len(played.publications) == 1


def test_a_duplicate_and_a_hole_are_no_fall() -> None:
    played = events(Recorded([snapshot(5, "A"), delta(6, "A"), delta(6, "A"), delta(9, "A")]))
    assert sum(isinstance(event, Began) for event in played) == 1
    numbers = [each.item.recorded_seq for event in played if isinstance(event, Played) for each in event.publications]
    assert numbers == [5, 6, 6, 9]


def test_the_pace_divides_recorded_gaps_and_cuts_long_pauses() -> None:
    pace = Pace(Replay(list, frozenset(), speed=10.0, longest_pause_s=60.0))
    second = 1_000_000_000
    assert pace.due(START_NS, 100.0) == 100.0
    assert pace.due(START_NS + 2 * second, 100.1) == pytest.approx(100.2)
    assert pace.due(START_NS + 3 * second, 105.0) == pytest.approx(100.3)  # late: the backlog follows at once
    assert pace.due(START_NS + 1 * second, 105.0) == pytest.approx(100.3)  # the recorder's clock was set back
    assert pace.due(START_NS + 9_000 * second, 105.0) == pytest.approx(106.3)
    assert pace.resume(200.0) == 200.0
    assert pace.due(START_NS + 9_001 * second, 200.0) == pytest.approx(200.1)


def test_a_book_that_becomes_impossible_is_not_shown() -> None:
    markets = ReplayedMarkets(frozenset({"A"}))
    played = events(Recorded([snapshot(1, "A", ("0.4000", "1.00")), delta(2, "A", change="-2.00")]))
    shown: list[Image | None] = []
    for event in played:
        if isinstance(event, Played):
            markets.apply(event.publications[0].message)
            shown.append(markets.image("A"))
    assert shown == [Image("A", yes=((4_000, 100),)), None]


def test_a_simulation_that_was_recorded_is_played_back_byte_for_byte(tmp_path: Path) -> None:
    simulation = Simulation(("KXSIM-A", "KXSIM-B"), 3)
    items = [item for n in range(400) for item in simulation.step(START_NS + n * 10**7)]
    seq = {"orderbook_delta": 0, "trade": 0}
    lines: list[bytes] = []
    for item in items:
        seq[item.channel] += 1
        sid = 1 if item.channel == "orderbook_delta" else 2
        frame = b'%b"sid":%d,"seq":%d%b' % (item.head, sid, seq[item.channel], item.tail)
        lines.append(b'{"recv_ms":%d,"event":%b}\n' % (START_NS // 10**6 + len(lines), frame))
    path = tmp_path / "recorded.ndjson.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    source = replay_source([path])
    assert source.tickers == {"KXSIM-A", "KXSIM-B"}
    played = [
        each.item for event in play(source.connections()) if isinstance(event, Played) for each in event.publications
    ]
    assert [(item.head, item.tail) for item in played] == [(item.head, item.tail) for item in items]


def test_a_file_without_markets_or_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no market"):
        replay_source([])
    path = tmp_path / "x.ndjson"
    path.write_text("nonsense\n")
    with pytest.raises(RecordingError):
        replay_source([path])


@pytest.mark.real
@pytest.mark.parametrize("path", [*BTC[2:3], *DEMO, *[each for each in GOLD if "26AUG102030" in each.name]], ids=str)
async def test_a_real_recording_arrives_frame_for_frame(credentials: Credentials, path: Path) -> None:
    is_sparse = "gold" in str(path)
    source = attrs.evolve(replay_source([path], sparse_seq=is_sparse), closes_at_end=True)
    with trio.fail_after(120):
        connections = await heard(credentials, source)
    recorded = [
        json.loads(frame.frame)
        for capture in read_recording(path, sparse_seq=is_sparse).captures()
        for frame in capture.frames()
    ]
    data = {"orderbook_snapshot", "orderbook_delta", "trade"}
    expected = [frame for frame in recorded if frame["type"] in data]
    sent = [frame for connection in connections for frame in connection if frame["type"] in data]
    assert [frame["msg"] for frame in sent] == [frame["msg"] for frame in expected]
    if not is_sparse:
        assert [frame["seq"] for frame in sent] == [frame["seq"] for frame in expected]
    for connection in connections:
        for sid in (1, 2):
            numbers = seqs(connection, sid)
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
