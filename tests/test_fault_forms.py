"""What a fault of the local venue is in words and numbers, and how frames look when it has struck."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.wire.conversation import Limits
from rlflow.exchange.wire.fault_kinds import TRAITS, FaultKind
from rlflow.exchange.wire.faults import Fault, parameters
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Item
from rlflow.kalshi.decode import Decoder
from tests.exchange_client import Frame, command, subscribe
from tests.exchange_desk import Desk

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(1, 10**6),
    "count": st.integers(0, 10**6),
    "connection": st.integers(0, 10**6),
    "is_for_new": st.booleans(),
    "channel": st.sampled_from([ORDERBOOK, TRADE, "ticker"]),
    "ticker": st.text(max_size=10),
    "command": st.sampled_from(["", "subscribe"]),
    "seconds": st.floats(0, 3600),
    "code": st.sampled_from([0]),
    "size_bytes": st.integers(1, 2**26),
}


def delta(ticker: str = "A", price: str = "0.4150") -> Item:
    tail = (
        f',"msg":{{"market_ticker":"{ticker}","market_id":"x","clock":41008,"price_dollars":"{price}",'
        f'"delta_fp":"-3.50","side":"yes","ts":"2026-11-22T00:00:00.119Z","ts_ms":1795305600119}},"sending_ts_ms":1}}'
    )
    return Item(ORDERBOOK, ticker, b'{"type":"orderbook_delta",', tail.encode())


def struck(fault: Fault, *items: Item) -> list[Frame]:
    """Return what two deltas become, or these items, behind the first snapshot."""
    desk = Desk(None, fault)
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    return desk.publish(*(items or (delta(), delta())))


# -- in words ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.sampled_from(FaultKind), st.data())
def test_a_fault_is_the_same_after_a_way_through_json(kind: FaultKind, data: st.DataObject) -> None:
    fault = Fault(kind, **{name: data.draw(VALUES[name]) for name in parameters(kind)})
    assert Fault.from_json(json.loads(json.dumps(fault.as_json()))) == fault


def test_the_next_frame_of_every_connection_is_meant_if_nothing_else_is_said() -> None:
    assert Fault.from_json({"kind": "stall_writes", "seconds": 2}) == Fault(FaultKind.STALL_WRITES, seconds=2.0)
    assert Fault(FaultKind.DROP).is_for(7)
    assert not Fault(FaultKind.DROP, connection=2).is_for(7)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "a JSON object with a 'kind'"),
        ({}, "no fault is called 'None'; there are drop, duplicate"),
        ({"kind": "meteorite"}, "no fault is called 'meteorite'"),
        ({"kind": "drop", "seconds": 3}, "'drop' takes no 'seconds'; it takes number, connection, is_for_new, channel"),
        (
            {"kind": "time out", "channel": "trade"},
            "takes no 'channel'; it takes number, connection, is_for_new, command",
        ),
        ({"kind": "close", "count": 2}, "'close' takes no 'count'"),
        ({"kind": "drop", "number": "3"}, r"Expected `int`, got `str` - at `\$.number`"),
        ({"kind": "drop", "number": 0}, "'drop' cannot have number 0"),
        ({"kind": "drop", "count": -1}, "cannot have count -1"),
        ({"kind": "drop", "channel": "ticker_v2"}, "cannot have channel 'ticker_v2'"),
        ({"kind": "late", "command": "dance"}, "cannot have command 'dance'"),
        ({"kind": "delay", "seconds": 1e9}, "cannot have seconds"),
        ({"kind": "delay", "seconds": -1}, "cannot have seconds"),
        ({"kind": "close", "code": 25}, "'close' cannot have code 25"),
        ({"kind": "refusal", "code": 4000}, "'refusal' cannot have code 4000"),
        ({"kind": "oversize", "size_bytes": 0}, "cannot have size_bytes 0"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(content: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Fault.from_json(content)


def test_a_parameter_that_means_nothing_is_refused_in_code_too() -> None:
    with pytest.raises(ValueError, match="'stall writes' takes no 'count'"):
        Fault(FaultKind.STALL_WRITES, count=2)


def test_every_kind_is_explained_in_one_line() -> None:
    assert set(TRAITS) == set(FaultKind)
    assert all(trait.summary.endswith(".") and len(trait.summary) < 120 for trait in TRAITS.values())


# -- where it strikes -------------------------------------------------------------------------------------------------


def test_a_fault_waits_for_its_market_and_channel() -> None:
    desk = Desk(None, Fault(FaultKind.DROP, number=2, ticker="B"))
    desk.say(subscribe(1, "A", "B"))
    trade = Item(TRADE, "B", b'{"type":"trade",', b',"msg":{"market_ticker":"B"}}')
    frames = desk.publish(delta("A"), trade, delta("B"), delta("A"), delta("B"))
    assert [each["seq"] for each in frames if each["sid"] == 1] == [3, 5, 6]


def test_a_fault_may_strike_several_frames_in_a_row_or_all() -> None:
    assert [each["seq"] for each in struck(Fault(FaultKind.DROP, number=2, count=3), *[delta()] * 5)] == [5, 6]
    assert struck(Fault(FaultKind.DROP, number=2, count=0), *[delta()] * 50) == []


def test_several_faults_may_strike_one_frame() -> None:
    desk = Desk(None, Fault(FaultKind.NO_CLOCK, count=0), Fault(FaultKind.DUPLICATE, 2), Fault(FaultKind.CLOSE, 2))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    frames = desk.publish(delta(), delta())
    assert [(each["seq"], "clock" in each["msg"]) for each in frames] == [(2, False), (2, False)]
    assert desk.conversation.outlet.ending is not None


def test_a_text_that_one_fault_breaks_is_altered_by_the_others_first() -> None:
    desk = Desk(None, *(Fault(kind, 2) for kind in (FaultKind.GARBLE, FaultKind.UNKNOWN_FIELD, FaultKind.DUPLICATE)))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    desk.conversation.publish([delta()], desk.now_ms)
    first, second = desk.read_bytes()
    assert first == second
    assert len(first) > len(json.dumps(desk.publish(delta())[0], separators=(",", ":"))) // 2


# -- in a frame -------------------------------------------------------------------------------------------------------


def test_frames_before_the_clock_had_none() -> None:
    desk = Desk(None, Fault(FaultKind.NO_CLOCK, count=2))
    snapshot = desk.say(subscribe(1, "A", channels=[ORDERBOOK]))[1]
    first, second = desk.publish(delta(), delta())
    assert ["clock" in each["msg"] for each in (snapshot, first, second)] == [False, False, True]


def test_frames_before_the_fixed_point_forms_were_in_cents() -> None:
    desk = Desk(None, Fault(FaultKind.LEGACY, count=0), Fault(FaultKind.LEGACY, channel=TRADE))
    snapshot = desk.say(subscribe(1, "A"))[2]
    assert snapshot["msg"] == {
        "market_ticker": "A",
        "market_id": "some-id",
        "yes": [[41, 12], [42, 3]],
        "no": [[55, 20]],
    }
    tail = (
        b',"msg":{"trade_id":"x","market_ticker":"A","yes_price_dollars":"0.4500","no_price_dollars":"0.5500",'
        b'"count_fp":"2.00","taker_side":"yes","taker_outcome_side":"yes","taker_book_side":"bid",'
        b'"is_block_trade":false,"ts":1795305600,"ts_ms":1795305600119},"sending_ts_ms":1}'
    )
    change, trade = desk.publish(delta(), Item(TRADE, "A", b'{"type":"trade",', tail))
    assert change["msg"] | {"ts": None} == {
        "market_ticker": "A", "market_id": "x", "price": 41, "delta": -3, "side": "yes", "ts": None
    }  # fmt: skip
    assert "sending_ts_ms" not in change
    assert trade["msg"] == {
        "trade_id": "x", "market_ticker": "A", "yes_price": 45, "no_price": 55, "count": 2, "taker_side": "yes",
        "ts": 1795305600,
    }  # fmt: skip
    legacy = Decoder(legacy=True)
    assert [legacy.decode(json.dumps(each).encode()).sid for each in (snapshot, change, trade)] == [1, 1, 2]


def test_unknown_fields_stand_outside_and_inside() -> None:
    (frame, plain) = struck(Fault(FaultKind.UNKNOWN_FIELD, 2))
    assert ("novelty" in frame, "novelty" in frame["msg"], "novelty" in plain) == (True, True, False)
    assert frame["msg"]["delta_fp"] == "-3.50"


def test_broken_utf8_is_broken_in_nothing_else() -> None:
    desk = Desk(None, Fault(FaultKind.BAD_UTF8, 2))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    desk.conversation.publish([delta()], desk.now_ms)
    (frame,) = desk.read_bytes()
    with pytest.raises(UnicodeDecodeError):
        frame.decode()
    assert json.loads(frame.decode("latin-1"))["seq"] == 2


# -- a frame too many -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.NEGATIVE, {"price_dollars": "0.4150", "delta_fp": "-900000000.00", "side": "yes"}),
        (FaultKind.UNKNOWN_LEVEL, {"price_dollars": "0.0000", "delta_fp": "-1.00", "side": "yes"}),
        (FaultKind.OFF_GRID, {"price_dollars": "0.4155", "delta_fp": "1.00", "side": "yes"}),
    ],
)
def test_a_change_too_many_has_a_number_of_its_own(kind: FaultKind, expected: dict[str, str]) -> None:
    first, wrong, last = struck(Fault(kind))
    assert [each["seq"] for each in (first, wrong, last)] == [2, 3, 4]
    assert first["msg"]["delta_fp"] == last["msg"]["delta_fp"] == "-3.50"
    assert {name: wrong["msg"][name] for name in expected} == expected
    assert (wrong["type"], wrong["msg"]["clock"]) == (ORDERBOOK, 41_008)


def test_a_price_between_ticks_stays_below_a_dollar() -> None:
    wrong = struck(Fault(FaultKind.OFF_GRID), delta(price="0.9990"))[1]
    assert wrong["msg"]["price_dollars"] == "0.9995"
    wrong = struck(Fault(FaultKind.OFF_GRID), delta(price="0.9999"))[1]
    assert wrong["msg"]["price_dollars"] == "0.9994"


def test_a_frame_of_an_unknown_type_has_a_number_of_its_own() -> None:
    frames = struck(Fault(FaultKind.UNKNOWN_TYPE, 2))
    assert [(each["type"], each["seq"]) for each in frames] == [(ORDERBOOK, 2), ("unheard_of", 3), (ORDERBOOK, 4)]


def test_a_frame_may_be_as_big_as_wanted() -> None:
    desk = Desk(None, Fault(FaultKind.OVERSIZE, 2, size_bytes=100_000))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    desk.conversation.publish([delta()], desk.now_ms)
    small, big = desk.read_bytes()
    assert (len(small) < 500, len(big), json.loads(big)["seq"]) == (True, 100_000, 3)


# -- on the way -------------------------------------------------------------------------------------------------------


def test_a_delay_holds_one_subscription_and_keeps_its_order() -> None:
    desk = Desk(None, Fault(FaultKind.DELAY, number=2, seconds=2))
    desk.say(subscribe(1, "A"))
    trade = Item(TRADE, "A", b'{"type":"trade",', b',"msg":{"market_ticker":"A"}}')
    assert [each["sid"] for each in desk.publish(delta(), trade, delta())] == [2]
    assert desk.say(command(2, "update_subscription", action="delete_markets", sid=1, market_ticker="A")) == []
    assert desk.wait(1.9) == []
    assert [(each["type"], each["seq"]) for each in desk.wait(0.1)] == [(ORDERBOOK, 2), (ORDERBOOK, 3), ("ok", 4)]
    assert [each["seq"] for each in desk.publish(trade)] == [2]


def test_delays_that_overlap_each_let_go_what_they_began_with() -> None:
    desk = Desk(None, Fault(FaultKind.DELAY, number=2, seconds=2), Fault(FaultKind.DELAY, number=4, seconds=2))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    assert desk.publish(delta(), delta()) == []
    assert desk.wait(1) == []
    assert desk.publish(delta(), delta()) == []
    assert len(desk.conversation.outlet.outbox) == 4
    assert [each["seq"] for each in desk.wait(1)] == [2, 3]
    assert desk.publish(delta()) == []
    assert [each["seq"] for each in desk.wait(1)] == [4, 5, 6]
    assert [each["seq"] for each in desk.publish(delta())] == [7]


def test_a_short_delay_within_a_long_one_lets_nothing_overtake() -> None:
    desk = Desk(None, Fault(FaultKind.DELAY, number=2, seconds=3), Fault(FaultKind.DELAY, number=3, seconds=1))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    assert desk.publish(delta(), delta(), delta()) == []
    assert desk.wait(2) == []
    assert [each["seq"] for each in desk.wait(1)] == [2, 3, 4]


def test_a_delay_of_each_frame_is_a_line_that_takes_so_long() -> None:
    desk = Desk(None, *(Fault(FaultKind.DELAY, number=number, seconds=2) for number in range(2, 8)))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    heard = [[each["seq"] for each in desk.publish(delta()) + desk.wait(1)] for _ in range(6)]
    assert heard == [[], [2], [3], [4], [5], [6]]


def test_frames_that_are_held_count_as_queued() -> None:
    desk = Desk(Limits(queued_frames=3), Fault(FaultKind.DELAY, number=2, seconds=2))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    assert desk.publish(*[delta()] * 5) == []
    assert desk.conversation.outlet.outbox.size_bytes > 0
    assert [each["type"] for each in desk.wait(2)] == [ORDERBOOK] * 3 + ["error"]
    assert desk.conversation.outlet.outbox.size_bytes == 0


def test_nothing_leaves_behind_a_stall_until_it_was_waited_for() -> None:
    desk = Desk(None, Fault(FaultKind.STALL_WRITES, number=2, seconds=2))
    desk.say(subscribe(1, "A"))
    outbox = desk.conversation.outlet.outbox
    assert [each["seq"] for each in desk.publish(delta(), delta())] == [2]
    assert (len(outbox), outbox.take_pause(), outbox.take_pause()) == (1, 2.0, 0.0)
    assert [each["seq"] for each in desk.read()] == [3]


def test_a_stall_of_the_reader_is_said_to_whoever_reads() -> None:
    desk = Desk(None, Fault(FaultKind.STALL_READS, number=2, seconds=2))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    assert len(desk.publish(delta(), delta())) == 2
    assert desk.conversation.outlet.deafness_s == 2


def test_of_two_stalls_of_the_reader_at_once_the_longer_counts() -> None:
    long, short = (Fault(FaultKind.STALL_READS, number=2, seconds=seconds) for seconds in (2, 1))
    desk = Desk(None, long, short)
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    desk.publish(delta())
    assert desk.conversation.outlet.deafness_s == 2


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_may_be_answered_by_any_error_and_not_carried_out() -> None:
    # No command lacks match ids (23) by itself, and what was retired (16) is not given any more.
    codes = (23, 16)
    refusals = (Fault(FaultKind.REFUSAL, number, code=code) for number, code in enumerate(codes, 1))
    desk = Desk(None, *refusals, Fault(FaultKind.TIME_OUT, number=3))
    for expected in (*codes, 18):
        (error,) = desk.say(subscribe(5, "A"))
        assert (error["id"], error["msg"]["code"]) == (5, expected)
        assert not desk.conversation.has_subscription
    assert [each["type"] for each in desk.say(subscribe(6, "A"))] == ["subscribed", "subscribed", "orderbook_snapshot"]


def test_a_command_may_be_carried_out_though_the_answer_says_otherwise() -> None:
    desk = Desk(None, Fault(FaultKind.TIME_OUT_AFTERWARDS, command="update_subscription"))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    frames = desk.say(command(2, "update_subscription", action="add_markets", sid=1, market_ticker="B"))
    assert [(each["type"], each.get("seq")) for each in frames] == [("orderbook_snapshot", 2), ("error", None)]
    assert frames[1]["msg"]["code"] == 18


def test_a_command_may_be_forgotten_or_carried_out_late() -> None:
    desk = Desk(None, Fault(FaultKind.IGNORE), Fault(FaultKind.LATE, number=2, seconds=3))
    assert desk.say(subscribe(1, "A")) == []
    assert desk.say(subscribe(2, "A", channels=[ORDERBOOK])) == []
    assert desk.wait(2.9) == []
    assert [each["sid"] for each in desk.say(subscribe(3, "A", channels=[TRADE])) if "sid" in each] == []
    assert [each["type"] for each in desk.wait(0.1)] == ["subscribed", "orderbook_snapshot"]


def test_an_acknowledgement_may_be_lost_with_its_number() -> None:
    desk = Desk(None, Fault(FaultKind.LOST_ANSWER, command="update_subscription"))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    assert desk.say(command(2, "update_subscription", action="delete_markets", sid=1, market_ticker="A")) == []
    (ok,) = desk.say(command(3, "update_subscription", action="add_markets", sid=1, market_ticker="LATER"))
    assert (ok["seq"], ok["msg"]) == (3, {"market_tickers": ["LATER"]})


@pytest.mark.parametrize("seconds", [0, 2])
def test_data_may_come_before_its_acknowledgement(seconds: int) -> None:
    desk = Desk(None, Fault(FaultKind.DATA_FIRST, count=2, seconds=seconds))
    frames = desk.say(subscribe(1, "A", channels=[ORDERBOOK])) + desk.wait(seconds)
    assert [each["type"] for each in frames] == ["orderbook_snapshot", "subscribed"]
    update = command(2, "update_subscription", action="add_markets", sid=1, market_ticker="B")
    frames = desk.say(update) + desk.publish(delta()) + desk.wait(seconds)
    assert [each["seq"] for each in frames] == [2, 3, 4]
    assert [each["type"] for each in frames].index("ok") == (2 if seconds else 1)


def test_an_acknowledgement_may_lack_its_number() -> None:
    desk = Desk(None, Fault(FaultKind.OK_WITHOUT_SEQ))
    desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
    ok, snapshot = desk.say(command(2, "update_subscription", action="add_markets", sid=1, market_ticker="B"))
    assert (ok["sid"], "seq" in ok, snapshot["seq"]) == (1, False, 2)


def test_a_snapshot_may_never_be_made() -> None:
    desk = Desk(None, Fault(FaultKind.NO_SNAPSHOT, ticker="B", count=0))
    frames = desk.say(subscribe(1, "A", "B", channels=[ORDERBOOK]))
    assert [each["msg"].get("market_ticker") for each in frames] == [None, "A"]
    assert desk.say(command(2, "update_subscription", action="get_snapshot", sid=1, market_ticker="B")) == []
    assert [each["seq"] for each in desk.publish(delta("B"))] == [2]


def test_changes_of_one_market_may_be_left_out() -> None:
    desk = Desk(None, Fault(FaultKind.MUTE_MARKET, ticker="B", number=2, count=0))
    desk.say(subscribe(1, "A", "B", channels=[ORDERBOOK]))
    frames = desk.publish(delta("B"), delta("B"), delta("A"), delta("B"), delta("A"))
    assert [(each["seq"], each["msg"]["market_ticker"]) for each in frames] == [(3, "B"), (4, "A"), (5, "A")]
