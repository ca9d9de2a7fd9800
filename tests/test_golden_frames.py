"""Real frames of the channels beside the order book, as another client's tests have them: read, and read with news."""

import json
from collections import Counter
from typing import Any

import pytest

from rlflow.kalshi.decode import Decoder
from rlflow.kalshi.lifecycle import EventLifecycle, MarketLifecycle
from rlflow.kalshi.messages import Other, Trade
from tests.real_recordings import DATA

pytestmark = pytest.mark.real

LINES = [
    line
    for path in sorted(DATA.glob("golden_frames/*.jsonl"))
    for line in path.read_text().splitlines()
    if line.strip()
]
KINDS: dict[str, type] = {
    "market_lifecycle_v2": MarketLifecycle,
    "event_lifecycle": EventLifecycle,
    "trade": Trade,
    "ticker": Other,
}


def name_of(line: str) -> str:
    frame = json.loads(line)
    return f"{frame['type']} {frame['msg'].get('event_type', '')}"


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_a_real_frame_is_what_it_says(line: str) -> None:
    frame: dict[str, Any] = json.loads(line)
    decoder = Decoder(legacy=True)
    message = decoder.decode(line.encode())
    assert type(message) is KINDS[frame["type"]]
    assert (message.sid, message.seq) == (frame["sid"], frame.get("seq"))
    assert not decoder.unknown_fields
    if isinstance(message, MarketLifecycle):
        for field in message.msg.__struct_fields__:
            assert getattr(message.msg, field) == frame["msg"].get(field)
    if isinstance(message, Trade):
        assert (message.msg.yes_price_dollars, message.msg.count_fp) == ("0.2700", "7.00")


@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_a_real_frame_with_news_in_it_is_still_read(line: str) -> None:
    frame: dict[str, Any] = json.loads(line)
    plain = Decoder(legacy=True).decode(line.encode())
    frame["msg"]["news"] = [{"of": 2027}]
    frame["more_news"] = None
    assert Decoder(legacy=True).decode(json.dumps(frame).encode()) == plain


def test_the_frames_are_of_every_kind_that_was_recorded() -> None:
    if not LINES:
        pytest.skip("the recordings are not here")
    assert Counter(json.loads(line)["type"] for line in LINES) == {
        "market_lifecycle_v2": 7,
        "event_lifecycle": 1,
        "trade": 1,
        "ticker": 1,
    }
