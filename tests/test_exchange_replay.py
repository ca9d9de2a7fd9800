"""Recordings replayed by the local venue: numbers, times, reconnects, and what a client may ask in between."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from rlflow.exchange.credentials import Credentials, load_or_make_credentials
from rlflow.exchange.replay import Replay, replay_source
from rlflow.exchange.server import Exchange
from rlflow.exchange.tape import Began, play
from rlflow.recordings import read_recording
from rlflow.session.records import Opened
from tests.exchange_client import Client, Frame, command, connected, running, subscribe
from tests.exchange_tapes import SPARSE, WHOLE, Recorded, delta, replay, snapshot, trade, wire
from tests.real_recordings import BTC, DEMO, GOLD


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_make_credentials(tmp_path_factory.mktemp("keys"), "ed25519")


@asynccontextmanager
async def listening(exchange: Exchange, credentials: Credentials, *tickers: str) -> AsyncIterator[Client]:
    async with connected(exchange.url, credentials.signer) as client:
        await client.say(subscribe(1, *(tickers or exchange.config.market_tickers)))
        assert [each["type"] for each in await client.hear(2)] == ["subscribed"] * 2
        yield client


async def heard(credentials: Credentials, source: Replay, *tickers: str) -> list[list[Frame]]:
    """Return what a client that always comes back hears of a replay that closes at its end, by connection."""
    connections: list[list[Frame]] = []
    async with running(credentials, replay=source) as exchange:
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


async def test_a_tape_of_the_cents_era_is_sent_in_the_form_of_today(credentials: Credentials) -> None:
    levels = {"yes": [[40, 500], [39, 1]]}
    book = {"type": "orderbook_snapshot", "sid": 1, "seq": 7, "msg": {"market_ticker": "A", **levels}}
    body = {"market_ticker": "A", "price": 39, "delta": -1, "side": "yes", "ts": "2025-11-30T19:39:00.5Z"}
    change = {"type": "orderbook_delta", "sid": 1, "seq": 8, "msg": body}
    legacy = attrs.evolve(Recorded([book, change]), opened=Opened("file:test", "recordings", legacy=True))
    ((*sent,),) = await heard(credentials, replay(legacy))
    today = {"market_ticker": "A", "market_id": "", "price_dollars": "0.3900", "delta_fp": "-1.00"}
    assert sent == [
        json.loads(wire(snapshot(7, "A", ("0.4000", "500.00"), ("0.3900", "1.00")))),
        {**change, "msg": {**today, "side": "yes", "ts": body["ts"]}},
    ]


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
    async with running(credentials, replay=replay(Recorded(frames), closes_at_end=False)) as exchange:
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
    async with running(credentials, replay=replay(Recorded(frames), closes_at_end=False)) as exchange:
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
    async with (
        running(credentials, replay=replay(Recorded(frames))) as exchange,
        listening(exchange, credentials) as client,
    ):
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
        async with (
            running(credentials, replay=source) as exchange,
            connected(exchange.url, credentials.signer) as client,
        ):
            await client.say(subscribe(1, "A", use_yes_price=wanted))
            (refusal,) = await client.hear()
            assert refusal["msg"]["code"] == 11
            await client.say(subscribe(2, "A", use_yes_price=not wanted))
            assert (await client.hear())[0]["type"] == "subscribed"


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
