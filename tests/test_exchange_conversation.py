"""One connection of the local venue, without a socket: commands in, frames out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.exchange.wire.conversation import Limits
from rlflow.exchange.wire.items import Item
from rlflow.exchange.wire.numbering import Numbering
from tests.exchange_client import Frame, command, subscribe
from tests.exchange_desk import NOW_MS, Desk, delta, trade


def brief(frame: Frame) -> tuple[object, ...]:
    """Return type, id, sid, seq and market of a frame."""
    msg = frame.get("msg")
    ticker = msg.get("market_ticker") if isinstance(msg, dict) else None
    return frame["type"], frame.get("id"), frame.get("sid"), frame.get("seq"), ticker


def error(frames: list[Frame]) -> tuple[object, ...]:
    """Return id, sid, seq and code of the only frame, which must be an error."""
    (frame,) = frames
    assert frame["type"] == "error"
    return frame.get("id"), frame.get("sid"), frame.get("seq"), frame["msg"]["code"]


def test_the_worked_trace_of_the_protocol_holds() -> None:
    desk = Desk()
    assert [brief(each) for each in desk.say(subscribe(1, "A", "B"))] == [
        ("subscribed", 1, None, None, None),
        ("subscribed", 1, None, None, None),
        ("orderbook_snapshot", None, 1, 1, "A"),
        ("orderbook_snapshot", None, 1, 2, "B"),
    ]
    assert [brief(each) for each in desk.publish(delta("B"), trade("A"))] == [
        ("orderbook_delta", None, 1, 3, "B"),
        ("trade", None, 2, 1, "A"),
    ]
    ok, snapshot = desk.say(command(2, "update_subscription", action="add_markets", sids=[1], market_tickers=["C"]))
    assert (brief(ok), ok["msg"]) == (("ok", 2, 1, 4, None), {"market_tickers": ["A", "B", "C"]})
    assert brief(snapshot) == ("orderbook_snapshot", None, 1, 5, "C")
    assert [brief(each) for each in desk.publish(delta("A"))] == [("orderbook_delta", None, 1, 6, "A")]
    (answer,) = desk.say(command(3, "update_subscription", action="get_snapshot", sid=1, market_ticker="A"))
    assert (brief(answer), answer["msg"]["clock"]) == (("orderbook_snapshot", 3, 1, 7, "A"), 41_007)
    assert [brief(each) for each in desk.publish(delta("A"))] == [("orderbook_delta", None, 1, 8, "A")]
    (ok,) = desk.say(command(4, "update_subscription", action="delete_markets", sids=[1], market_tickers=["B"]))
    assert (brief(ok), ok["msg"]) == (("ok", 4, 1, 9, None), {"market_tickers": ["A", "C"]})
    assert desk.publish(delta("B")) == []
    (ended,) = desk.say(command(5, "unsubscribe", sids=[1]))
    assert (brief(ended), "msg" in ended) == (("unsubscribed", 5, 1, 10, None), False)
    assert [brief(each) for each in desk.publish(delta("A"), trade("A"))] == [("trade", None, 2, 2, "A")]


def test_a_second_subscribe_merges_and_snapshots_only_what_is_new() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A", channels=["orderbook_delta"]))
    frames = desk.say(subscribe(2, "A", "B", channels=["orderbook_delta", "trade"]))
    assert [brief(each)[:4] for each in frames] == [
        ("ok", 2, 1, 2),
        ("subscribed", 2, None, None),
        ("orderbook_snapshot", None, 1, 3),
    ]
    assert frames[0]["msg"] == {"market_tickers": ["A", "B"]}
    assert frames[1]["msg"] == {"channel": "trade", "sid": 2}
    assert [brief(each)[:4] for each in desk.say(subscribe(3, "A", channels=["orderbook_delta"]))] == [("ok", 3, 1, 4)]


def test_subscribing_anew_gives_a_new_sid_and_numbers_from_one() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A"))
    desk.say(command(2, "unsubscribe", sids=[1, 2]))
    frames = desk.say(subscribe(3, "A"))
    assert [each["msg"]["sid"] for each in frames[:2]] == [3, 4]
    assert brief(frames[2]) == ("orderbook_snapshot", None, 3, 1, "A")


def test_a_snapshot_has_the_venues_form_and_leaves_empty_sides_out() -> None:
    desk = Desk()
    frames = desk.say(subscribe(1, "A", "NOBODY-KNOWS", channels=["orderbook_delta"]))
    assert frames[1]["msg"] == {
        "market_ticker": "A",
        "market_id": "some-id",
        "clock": 41_007,
        "yes_dollars_fp": [["0.4100", "12.00"], ["0.4200", "3.50"]],
        "no_dollars_fp": [["0.5500", "20.00"]],
    }
    assert frames[1]["sending_ts_ms"] == NOW_MS
    assert frames[2]["msg"] == {"market_ticker": "NOBODY-KNOWS", "market_id": "", "clock": 0}


def test_use_yes_price_turns_the_no_ladder_only() -> None:
    desk = Desk()
    frames = desk.say(subscribe(1, "A", channels=["orderbook_delta"], use_yes_price=True))
    assert frames[1]["msg"]["no_dollars_fp"] == [["0.4500", "20.00"]]
    assert frames[1]["msg"]["yes_dollars_fp"][0] == ["0.4100", "12.00"]
    no_change, yes_change = desk.publish(delta("A", no_price=5_500), delta("A"))
    assert (no_change["msg"]["price_dollars"], yes_change["msg"]["price_dollars"]) == ("0.4500", "0.5500")


def test_a_convention_that_cannot_be_served_is_refused_as_malformed() -> None:
    desk = Desk()
    desk.markets.has_no_prices_only = True
    assert error(desk.say(subscribe(1, "A", use_yes_price=True))) == (1, None, None, 11)
    assert not desk.conversation.has_subscription


def test_a_trade_subscription_without_markets_hears_all_of_them() -> None:
    desk = Desk()
    frames = desk.say(command(1, "subscribe", channels=["trade"]))
    assert [brief(each)[0] for each in frames] == ["subscribed"]
    assert len(desk.publish(trade("A"), trade("Z"))) == 2
    (ok,) = desk.say(subscribe(2, "A", channels=["trade"]))
    assert "msg" not in ok
    assert len(desk.publish(trade("Z"))) == 1


def test_acknowledgements_leave_the_markets_out_if_asked_to() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A", skip_ticker_ack=True))
    (ok, _) = desk.say(command(2, "update_subscription", action="add_markets", sid=1, market_ticker="B"))
    assert "msg" not in ok


def test_a_channel_without_numbers_gives_none() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A", channels=["ticker"]))
    (ok,) = desk.say(command(2, "update_subscription", action="add_markets", sid=1, market_ticker="B"))
    assert brief(ok) == ("ok", 2, 1, None, None)
    assert desk.publish(Item("ticker", "A", b'{"type":"ticker",', b',"msg":{}}')) == [
        {"type": "ticker", "sid": 1, "msg": {}}
    ]


def test_list_subscriptions_names_channels_and_sids() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A"))
    (ok,) = desk.say(command(2, "list_subscriptions"))
    assert ok["msg"] == [{"channel": "orderbook_delta", "sid": 1}, {"channel": "trade", "sid": 2}]
    assert brief(ok)[1:4] == (2, None, None)


def test_a_command_id_of_zero_is_no_id() -> None:
    assert "id" not in Desk().say(subscribe(0, "A", channels=["trade"]))[0]


@pytest.mark.parametrize(
    ("text", "code", "command_id"),
    [
        ("no json", 1, None),
        ("[1, 2]", 1, None),
        (b"binary", 1, None),
        ('{"id": "seven", "cmd": "subscribe"}', 1, None),
        (command(7, "subscribe"), 2, 7),
        ('{"id": 7, "cmd": "subscribe", "params": null}', 2, 7),
        (command(7, "subscribe", market_ticker="A"), 3, 7),
        (command(7, "unsubscribe", sids=[]), 4, 7),
        (command(7, "dance"), 5, 7),
        ("{}", 5, None),
        (command(7, "unsubscribe", sids=[9]), 7, 7),
        (command(7, "update_subscription", sid=9, action="get_snapshot", market_ticker="A"), 7, 7),
        (command(7, "subscribe", channels=["ticker_v2"]), 8, 7),
        (command(7, "subscribe", channels=["trade"], market_tickers="A"), 11, 7),
        (command(7, "subscribe", channels=["trade"], market_ticker="A", market_tickers=["A"]), 11, 7),
        (command(7, "update_subscription", action="get_snapshot", market_ticker="A"), 12, 7),
        (command(7, "update_subscription", sids=[1, 2], action="get_snapshot", market_ticker="A"), 12, 7),
        (command(7, "subscribe", channels=["orderbook_delta"]), 14, 7),
        (command(7, "update_subscription", sid=1, market_ticker="A"), 15, 7),
    ],
)
def test_a_bad_command_gets_the_venues_code_and_changes_nothing(
    text: str | bytes, code: int, command_id: int | None
) -> None:
    desk = Desk()
    assert error(desk.say(text)) == (command_id, None, None, code)
    assert not desk.conversation.has_subscription


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"action": "dance", "market_ticker": "A"}, 13),
        ({"action": "add_markets"}, 14),
        ({"action": "get_snapshot", "market_tickers": ["A", "B"]}, 11),
        ({"action": "delete_markets", "market_ticker": "B"}, 11),
        ({"action": "add_markets", "market_tickers": ["B", "C"]}, 26),
    ],
)
def test_an_error_of_a_subscription_carries_its_sid_and_takes_a_number(params: dict[str, object], code: int) -> None:
    desk = Desk(Limits(markets=2))
    desk.say(subscribe(1, "A"))
    assert error(desk.say(command(7, "update_subscription", sid=1, **params))) == (7, 1, 2, code)
    assert desk.publish(delta("A"))[0]["seq"] == 3


def test_get_snapshot_is_no_action_of_the_trade_channel() -> None:
    desk = Desk()
    desk.say(subscribe(1, "A"))
    assert error(desk.say(command(7, "update_subscription", sid=2, action="get_snapshot", market_ticker="A")))[3] == 13


def test_too_many_markets_are_refused_as_a_whole() -> None:
    desk = Desk(Limits(markets=2))
    assert error(desk.say(subscribe(1, "A", "B", "C"))) == (1, None, None, 26)
    desk.say(subscribe(2, "A", "B"))
    assert error(desk.say(subscribe(3, "B", "C"))) == (3, None, None, 26)


def test_too_many_commands_in_a_second_are_refused() -> None:
    desk = Desk(Limits(commands_per_second=2))
    desk.say(subscribe(1, "A"))
    desk.say(command(2, "list_subscriptions"))
    assert error(desk.say(command(3, "list_subscriptions"))) == (3, None, None, 27)
    desk.conversation.receive(command(4, "list_subscriptions"), NOW_MS + 1000)
    assert desk.read()[0]["type"] == "ok"


def test_a_full_queue_ends_the_subscription_behind_what_is_queued_and_then_its_sid_is_silent() -> None:
    desk = Desk(Limits(queued_frames=3))
    desk.say(subscribe(1, "A"))
    frames = desk.publish(*[delta("A")] * 5, trade("A"))
    assert [brief(each)[:4] for each in frames] == [
        ("orderbook_delta", None, 1, 2),
        ("orderbook_delta", None, 1, 3),
        ("orderbook_delta", None, 1, 4),
        ("error", None, 1, 5),
        ("trade", None, 2, 1),
    ]
    assert frames[3]["msg"]["code"] == 25
    assert desk.publish(delta("A")) == []
    assert desk.conversation.slow_consumer_errors == 1
    assert error(desk.say(command(2, "unsubscribe", sids=[1]))) == (2, None, None, 7)
    assert desk.say(subscribe(3, "A"))[1]["msg"] == {"market_tickers": ["A"]}


def test_frames_that_were_taken_no_longer_count_as_queued() -> None:
    desk = Desk(Limits(queued_frames=3))
    desk.say(subscribe(1, "A"))
    assert [brief(each)[0] for _ in range(3) for each in desk.publish(*[delta("A")] * 3)] == ["orderbook_delta"] * 9


def test_a_market_that_the_recording_will_tell_gets_no_snapshot_of_ours() -> None:
    frames = Desk().say(subscribe(1, "LATER", "A", channels=["orderbook_delta"]))
    assert [brief(each)[4] for each in frames[1:]] == ["A"]


def test_a_command_between_recorded_frames_moves_their_numbers_on() -> None:
    desk = Desk()
    desk.say(subscribe(1, "LATER-1", "LATER-2", channels=["orderbook_delta"]))
    heard = desk.publish(delta("LATER-1", recorded_seq=295), delta("LATER-2", recorded_seq=296))
    heard += desk.say(command(2, "update_subscription", sid=1, action="add_markets", market_ticker="A"))
    heard += desk.publish(delta("LATER-1", recorded_seq=297), delta("LATER-1", recorded_seq=299))
    assert [each["seq"] for each in heard] == [295, 296, 297, 298, 299, 301]


def test_recorded_frames_of_other_markets_leave_no_hole() -> None:
    desk = Desk()
    desk.say(subscribe(1, "LATER", channels=["orderbook_delta"]))
    recorded = [(5, "LATER"), (6, "OTHER"), (7, "LATER"), (8, "OTHER"), (9, "OTHER"), (10, "LATER")]
    frames = desk.publish(*(delta(ticker, recorded_seq=seq) for seq, ticker in recorded))
    assert [each["seq"] for each in frames] == [5, 6, 7]


@given(st.lists(st.sampled_from(["insert", "follow", "skip"]), max_size=60), st.integers(1, 10**9))
def test_numbers_of_a_gapless_recording_stay_gapless_whatever_comes_between(steps: list[str], first: int) -> None:
    numbering, recorded, given_out = Numbering(), first, []
    for step in steps:
        if step == "insert":
            given_out.append(numbering.insert())
        elif step == "follow":
            given_out.append(numbering.follow(recorded))
            recorded += 1
        else:
            numbering.skip(recorded)
            recorded += 1
    assert [b - a for a, b in pairwise(given_out)] == [1] * (len(given_out) - 1)


def test_recorded_holes_and_duplicates_stay() -> None:
    numbering = Numbering()
    assert [numbering.follow(seq) for seq in (7, 8, 8, 11)] == [7, 8, 8, 11]
