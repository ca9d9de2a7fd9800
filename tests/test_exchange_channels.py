"""What each channel of the local venue takes, tells and refuses, besides the books and trades."""

import pytest

from rlflow.exchange.wire.conversation import Caller
from rlflow.exchange.wire.items import ORDERBOOK, Item
from tests.exchange_client import Frame, command, subscribe
from tests.exchange_desk import Desk, delta

MINE, OTHERS = "my-key", "another-key"
PRIVATE = [("fill", "fill"), ("user_orders", "user_order"), ("market_positions", "market_position")]


def private(channel: str, kind: str, ticker: str, account: str) -> Item:
    tail = b',"msg":{"market_ticker":"%b"}}' % ticker.encode()
    return Item(channel, ticker, b'{"type":"%b",' % kind.encode(), tail, account=account)


def code(frames: list[Frame]) -> int:
    (frame,) = frames
    assert frame["type"] == "error"
    number: int = frame["msg"]["code"]
    return number


def update(action: str, **params: object) -> str:
    return command(9, "update_subscription", action=action, sid=1, **params)


@pytest.mark.parametrize(("channel", "kind"), PRIVATE)
def test_a_private_channel_tells_an_account_what_is_its_own(channel: str, kind: str) -> None:
    desk = Desk(caller=Caller(MINE))
    desk.say(command(1, "subscribe", channels=[channel]))
    heard = desk.publish(private(channel, kind, "A", OTHERS), private(channel, kind, "B", MINE))
    assert heard == [{"type": kind, "sid": 1, "msg": {"market_ticker": "B"}}]


@pytest.mark.parametrize(("channel", "kind"), PRIVATE)
def test_a_private_channel_may_be_limited_to_some_markets(channel: str, kind: str) -> None:
    desk = Desk(caller=Caller(MINE))
    desk.say(subscribe(1, "A", channels=[channel]))
    items = [private(channel, kind, ticker, MINE) for ticker in "ABC"]
    assert [each["msg"]["market_ticker"] for each in desk.publish(*items)] == ["A"]
    (ok,) = desk.say(update("add_markets", market_tickers=["C"]))
    assert ok == {"type": "ok", "id": 9, "sid": 1, "msg": {"market_tickers": ["A", "C"]}, "sending_ts_ms": desk.now_ms}
    assert [each["msg"]["market_ticker"] for each in desk.publish(*items)] == ["A", "C"]


def test_the_order_behind_a_change_of_the_book_is_named_to_its_owner_only() -> None:
    change = delta("A")
    change.causer, change.client_order_id = MINE, 'my "first"'
    for account, expected in ((MINE, 'my "first"'), (OTHERS, None)):
        desk = Desk(caller=Caller(account))
        desk.say(subscribe(1, "A", channels=[ORDERBOOK]))
        (frame,) = desk.publish(change)
        assert frame["msg"].get("client_order_id") == expected
        assert frame["msg"]["delta_fp"] == "1.00"


def test_a_key_without_the_scope_to_read_subscribes_to_nothing() -> None:
    desk = Desk(caller=Caller(MINE, may_read=False))
    assert code(desk.say(subscribe(1, "A"))) == 9
    assert desk.say(command(2, "list_subscriptions"))[0]["msg"] == []


@pytest.mark.parametrize("channel", ["market_lifecycle_v2", "multivariate_market_lifecycle", "order_group_updates"])
def test_a_choice_of_markets_means_nothing_where_there_is_no_filter(channel: str) -> None:
    desk = Desk()
    desk.say(subscribe(1, "A", channels=[channel]))
    item = Item(channel, "Z", b'{"type":"market_lifecycle_v2",', b',"msg":{"market_ticker":"Z"}}')
    assert [each["seq"] for each in desk.publish(item, item)] == [1, 2]
    assert code(desk.say(update("add_markets", market_ticker="B"))) == 13


def test_tickers_come_at_once_if_asked_for() -> None:
    desk = Desk()
    frames = desk.say(subscribe(1, "A", "B", "NEW", channels=["ticker"], send_initial_snapshot=True))
    assert [each["type"] for each in frames] == ["subscribed", "ticker", "ticker"]
    assert [each["msg"]["market_ticker"] for each in frames[1:]] == ["A", "B"]
    assert [each["type"] for each in desk.say(subscribe(2, "A", channels=["ticker"]))] == ["ok"]


def test_tickers_may_be_chosen_by_market_id() -> None:
    desk = Desk()
    desk.say(command(1, "subscribe", channels=["ticker"], market_ids=["id-of-A"]))
    quotes = [Item("ticker", ticker, b'{"type":"ticker",', b',"msg":{}}') for ticker in "AB"]
    assert len(desk.publish(*quotes)) == 1
    ok, first = desk.say(update("add_markets", market_id="id-of-B", send_initial_snapshot=True))
    assert ok["msg"] == {"market_tickers": ["A", "B"], "market_ids": ["id-of-A", "id-of-B"]}
    assert first["msg"]["market_ticker"] == "B"
    (ok,) = desk.say(update("delete_markets", market_ids=["id-of-A"]))
    assert ok["msg"] == {"market_tickers": ["B"], "market_ids": ["id-of-B"]}


def test_a_merge_by_market_id_lists_the_ids_from_then_on() -> None:
    desk = Desk()
    desk.say(command(1, "subscribe", channels=["ticker"], market_ids=["id-of-A"]))
    (ok,) = desk.say(command(2, "subscribe", channels=["ticker"], market_ids=["id-of-B"]))
    both = {"market_tickers": ["A", "B"], "market_ids": ["id-of-A", "id-of-B"]}
    assert (ok["type"], ok["msg"]) == ("ok", both)
    (ok,) = desk.say(update("add_markets", market_ticker="NEW"))
    assert ok["msg"] == {"market_tickers": ["A", "B", "NEW"], "market_ids": ["id-of-A", "id-of-B"]}
    (ok,) = desk.say(command(3, "subscribe", channels=["ticker"]))
    assert "msg" not in ok
    (ok,) = desk.say(command(4, "subscribe", channels=["ticker"], market_ids=["id-of-B"]))
    assert "msg" not in ok


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"channels": ["ticker"], "market_ids": ["id-of-nobody"]}, 11),
        ({"channels": ["ticker"], "market_ids": ["id-of-A"], "market_ticker": "A"}, 11),
        ({"channels": ["ticker", "trade"], "market_ids": ["id-of-A"]}, 11),
        ({"channels": ["orderbook_delta"], "market_ids": ["id-of-A"]}, 14),
        ({"channels": ["communications"], "user_filter": "everybody"}, 11),
        ({"channels": ["communications"], "shard_factor": 0}, 19),
        ({"channels": ["communications"], "shard_key": 0}, 20),
        ({"channels": ["communications"], "shard_factor": 4, "shard_key": 4}, 21),
        ({"channels": ["communications"], "shard_factor": 4, "shard_key": -1}, 21),
        ({"channels": ["communications"], "shard_factor": 101, "shard_key": 1}, 22),
        ({"channels": ["cfbenchmarks_value"]}, 24),
        ({"channels": ["cfbenchmarks_value_5hz"], "index_ids": []}, 24),
        ({"channels": ["pyth_value"]}, 28),
    ],
)
def test_what_a_channel_needs_is_asked_for_by_the_venues_code(params: dict[str, object], expected: int) -> None:
    desk = Desk()
    assert code(desk.say(command(1, "subscribe", **params))) == expected
    assert not desk.conversation.has_subscription


def test_shards_are_the_business_of_communications_only() -> None:
    (answer,) = Desk().say(command(1, "subscribe", channels=["trade"], shard_factor=0))
    assert answer["type"] == "subscribed"
    (answer,) = Desk().say(command(1, "subscribe", channels=["communications"], shard_factor=100, shard_key=99))
    assert answer["type"] == "subscribed"


@pytest.mark.parametrize(
    ("channel", "named", "actions", "missing"),
    [
        ("cfbenchmarks_value", "index_ids", ("subscribe_indices", "unsubscribe_indices", "indexlist"), 24),
        (
            "pyth_value",
            "underlying_tickers",
            ("subscribe_underlyings", "unsubscribe_underlyings", "underlying_list"),
            28,
        ),
    ],
)
def test_other_peoples_prices_are_chosen_by_their_own_names(
    channel: str, named: str, actions: tuple[str, str, str], missing: int
) -> None:
    join, leave, ask = actions
    desk = Desk()
    desk.say(command(1, "subscribe", channels=[channel], **{named: ["BRTI"]}))
    assert desk.say(update(join, **{named: ["ETH"]}))[0]["msg"] == {named: ["BRTI", "ETH"]}
    assert desk.say(update(leave, **{named: ["BRTI"]}))[0]["msg"] == {named: ["ETH"]}
    assert desk.say(update(ask))[0]["msg"] == {named: ["ETH"]}
    assert code(desk.say(update(join))) == missing
    assert code(desk.say(update("add_markets", market_ticker="A"))) == 13
