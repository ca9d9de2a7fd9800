"""Whatever a client says to the local venue: it answers, in its own form, and its numbers stay without holes."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange_desk import Desk, delta

TEXTS = st.sampled_from(
    ["A", "B", "", "orderbook_delta", "trade", "add_markets", "delete_markets", "get_snapshot", "é"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SIDS = st.integers(0, 4)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.lists(st.sampled_from(["orderbook_delta", "trade", "ticker", "fill", "x"]), max_size=3) | VALUES,
        "market_ticker": TEXTS | VALUES,
        "market_tickers": st.lists(TEXTS, max_size=3) | VALUES,
        "sid": SIDS | VALUES,
        "sids": st.lists(SIDS, max_size=3) | VALUES,
        "action": TEXTS | VALUES,
        "use_yes_price": VALUES,
        "send_initial_snapshot": VALUES,
        "skip_ticker_ack": VALUES,
        "shard_factor": VALUES,
        "shard_key": VALUES,
    },
)
COMMANDS = st.sampled_from(["subscribe", "unsubscribe", "update_subscription", "list_subscriptions", "dance"])
SAID = st.one_of(
    st.fixed_dictionaries({"cmd": COMMANDS, "params": PARAMS}, optional={"id": st.integers() | VALUES}).map(json.dumps),
    st.fixed_dictionaries({"id": SIDS, "cmd": COMMANDS | VALUES, "params": PARAMS | VALUES}).map(json.dumps),
    VALUES.map(json.dumps),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.sampled_from(["[" * 100_000, '{"cmd":' * 50_000, '{"id":1e400}', '{"id": NaN}', "\ud800", "9" * 5_000]),
)

TYPES = {"subscribed", "unsubscribed", "ok", "error", "orderbook_snapshot", "orderbook_delta", "ticker"}


@settings(max_examples=200, deadline=None)
@given(st.lists(SAID, max_size=12))
def test_whatever_is_said_is_answered_in_the_venues_form(said: list[str | bytes]) -> None:
    desk = Desk()
    last: dict[int, int] = {}
    for text in said:
        for frame in [*desk.say(text), *desk.publish(delta("A"))]:
            assert frame["type"] in TYPES
            assert frame["type"] != "error" or 1 <= frame["msg"]["code"] <= 28
            note(last, frame)


def note(last: dict[int, int], frame: dict[str, Any]) -> None:
    """Assert that the numbers of each subscription go on by one."""
    if frame.get("seq") is not None and frame.get("sid") is not None:
        assert frame["seq"] == last.get(frame["sid"], 0) + 1
        last[frame["sid"]] = frame["seq"]
