"""What a frame means, what is merely news in it, and what is refused."""

import contextlib
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.errors import FrameRejectedError
from rlflow.kalshi import messages
from rlflow.kalshi.decode import LOOKS_AT_NEW_FIELDS, MAX_TEXT, Decoder
from rlflow.kalshi.lifecycle import EventLifecycle, MarketLifecycle
from rlflow.kalshi.messages import (
    Error,
    ErrorBody,
    Known,
    Ok,
    OkBody,
    OrderbookDelta,
    OrderbookSnapshot,
    Other,
    SnapshotBody,
    Subscribed,
    SubscribedBody,
    Trade,
    Unsubscribed,
)
from tests.strategies import Wire, connections

SNAPSHOT = (
    b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"KXSIM-27JAN01-A","market_id":"","clock":41007,'
    b'"yes_dollars_fp":[["0.4100","12.00"],["0.4200","3.50"]]},"sending_ts_ms":1795305600123}'
)
DELTA = (
    b'{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"market_ticker":"KXSIM-27JAN01-A","clock":41012,'
    b'"price_dollars":"0.4200","delta_fp":"-3.50","side":"yes","ts":"2026-11-22T00:00:00.119Z","ts_ms":1795305600119}}'
)
TRADE = (
    b'{"type":"trade","sid":2,"seq":7,"msg":{"trade_id":"5b02","market_ticker":"KXSIM-27JAN01-A",'
    b'"yes_price_dollars":"0.2700","count_fp":"7.00","taker_side":"yes","ts":1759350609}}'
)


def changed(frame: bytes, old: bytes, new: bytes) -> bytes:
    assert frame.count(old) == 1
    return frame.replace(old, new)


def reason(frame: bytes, *, legacy: bool = False) -> str:
    with pytest.raises(FrameRejectedError) as refused:
        Decoder(legacy=legacy).decode(frame)
    return refused.value.reason


def outcome(decoder: Decoder, frame: bytes) -> messages.Message | None:
    try:
        return decoder.decode(frame)
    except FrameRejectedError:
        return None


def test_snapshot_side_that_is_absent_is_empty() -> None:
    message = Decoder().decode(SNAPSHOT)

    assert isinstance(message, OrderbookSnapshot)
    assert message.msg.yes_dollars_fp == (("0.4100", "12.00"), ("0.4200", "3.50"))
    assert message.msg.no_dollars_fp == ()
    assert (message.sid, message.seq, message.id, message.msg.clock) == (1, 1, None, 41007)


def test_delta_keeps_the_venues_own_texts_and_times() -> None:
    message = Decoder().decode(DELTA)

    assert isinstance(message, OrderbookDelta)
    assert (message.msg.price_dollars, message.msg.delta_fp, message.msg.side) == ("0.4200", "-3.50", "yes")
    assert (message.msg.ts_ms, message.sending_ts_ms) == (1_795_305_600_119, None)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            b'{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}',
            Subscribed(SubscribedBody("orderbook_delta", 1), id=1),
        ),
        (
            b'{"type":"ok","id":2,"sid":1,"seq":4,"msg":{"market_tickers":["KXSIM-A","KXSIM-B"]}}',
            Ok(2, 1, 4, OkBody(("KXSIM-A", "KXSIM-B"))),
        ),
        (b'{"type":"ok","id":2,"sid":1,"seq":4}', Ok(2, 1, 4)),
        (b'{"type":"ok","id":4,"msg":[{"channel":"trade","sid":2}]}', Ok(4, msg=(SubscribedBody("trade", 2),))),
        (b'{"type":"unsubscribed","id":3,"sid":1,"seq":9}', Unsubscribed(1, 3, 9)),
        (b'{"type":"error","id":5,"msg":{"code":8,"msg":"..."}}', Error(ErrorBody(8, "..."), id=5)),
        (b'{"type":"error","sid":1,"seq":77,"msg":{"code":25,"msg":""}}', Error(ErrorBody(25), sid=1, seq=77)),
        (b'{"type":"event_fee_update","sid":3,"seq":12,"msg":{"x":[1]}}', Other("event_fee_update", sid=3, seq=12)),
        (b'{"msg":{"price_dollars":""},"type":"ticker","sid":4}', Other("ticker", sid=4)),
    ],
)
def test_control_frames_and_envelopes(frame: bytes, message: messages.Message) -> None:
    assert Decoder().decode(frame) == message


def test_ok_answers_either_with_markets_or_with_subscriptions() -> None:
    markets, subscriptions, neither = (
        Ok(msg=OkBody(("A",))),
        Ok(msg=(SubscribedBody("trade", 2),)),
        Ok(),
    )

    assert (markets.market_tickers(), markets.subscriptions()) == (("A",), None)
    assert (subscriptions.market_tickers(), subscriptions.subscriptions()) == (None, (SubscribedBody("trade", 2),))
    assert (neither.market_tickers(), neither.subscriptions()) == (None, None)


@settings(max_examples=60, deadline=None)
@given(connections(), st.booleans())
def test_legal_frames_decode_without_news_and_encode_to_what_decodes_equal(frames: list[bytes], legacy: bool) -> None:
    decoder = Decoder(legacy=legacy)
    decoded = [decoder.decode(frame) for frame in frames]

    assert [decoder.decode(msgspec.json.encode(one)) for one in decoded] == decoded
    assert not decoder.unknown_fields
    assert set(decoder.unknown_types) <= {"ticker", "event_fee_update"}
    assert [message for message in decoded if type(message) not in (*get_args(Known), Other)] == []


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_damaged_frames_are_refused_and_raise_nothing_else(data: st.DataObject, legacy: bool) -> None:
    frame = data.draw(st.sampled_from((SNAPSHOT, DELTA, TRADE)))
    at, new = data.draw(st.integers(0, len(frame))), data.draw(st.binary(max_size=4))
    damaged = frame[:at] + new + frame[at + data.draw(st.integers(0, 4)) :]
    with contextlib.suppress(FrameRejectedError):
        Decoder(legacy=legacy).decode(damaged)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_accepted_does_not_depend_on_what_came_before(data: st.DataObject) -> None:
    fresh, tired = Decoder(), Decoder()
    news = changed(DELTA, b'"side"', b'"x":1,"side"')
    for _ in range(LOOKS_AT_NEW_FIELDS):
        tired.decode(news)
    at, new = data.draw(st.integers(0, len(news))), data.draw(st.binary(max_size=3))
    damaged = news[:at] + new + news[at:]

    assert outcome(fresh, damaged) == outcome(tired, damaged)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"sid":1}',
        b'{"type":7}',
        DELTA + b" {}",
        b'{"type":"ticker","sid":-1}',
        b'{"type":"unsubscribed","sid":1,"msg":' + b"[" * 100_000,
        b'{"type":"ticker","msg":' + b'{"a":' * 100_000,
        changed(DELTA, b'"seq":2', b'"seq":2.5'),
        changed(DELTA, b'"seq":2', b'"seq":"2"'),
        changed(DELTA, b'"seq":2', b'"seq":true'),
        changed(DELTA, b'"seq":2', b'"sequence":2'),
        changed(DELTA, b'"yes"', b'"maybe"'),
        changed(DELTA, b'"0.4200"', b"0.42"),
        changed(DELTA, b'"delta_fp":"-3.50"', b'"delta":-3'),
        changed(SNAPSHOT, b'["0.4200","3.50"]', b'["0.4200"]'),
    ],
    ids=range(18),
)
def test_what_is_no_legal_frame_is_refused(frame: bytes) -> None:
    assert reason(frame)


@pytest.mark.parametrize("name", [b'"sid":1', b'"seq":2', b'"clock":41012', b'"ts_ms":1795305600119'])
def test_integers_beyond_63_bits_or_below_zero_are_refused(name: bytes) -> None:
    key = name.partition(b":")[0]

    assert outcome(Decoder(), changed(DELTA, name, key + b":9223372036854775807")) is not None
    assert "<= 9223372036854775807" in reason(changed(DELTA, name, key + b":9223372036854775808"))
    assert reason(changed(DELTA, name, key + b":" + b"9" * 5000))
    assert ">= 0" in reason(changed(DELTA, name, key + b":-1"))


@pytest.mark.parametrize("ticker", ["", "K\\u0000X", "K\\nX", "K\\u202eX", "KX\\u00a0", "K" * (MAX_TEXT + 1)])
@pytest.mark.parametrize("frame", [SNAPSHOT, DELTA, TRADE])
def test_tickers_that_cannot_be_stored_or_shown_are_refused(frame: bytes, ticker: str) -> None:
    assert "market ticker" in reason(changed(frame, b"KXSIM-27JAN01-A", ticker.encode()))


def test_ticker_may_have_dots_and_two_hundred_characters() -> None:
    long = b"KX." + b"9" * (MAX_TEXT - 3)

    assert outcome(Decoder(), changed(DELTA, b"KXSIM-27JAN01-A", long)) is not None


@pytest.mark.parametrize(
    "frame",
    [
        changed(TRADE, b"5b02", b"5b\\u000002"),
        b'{"type":"subscribed","msg":{"channel":"\\u0000","sid":1}}',
        b'{"type":"ok","msg":{"market_tickers":["KXA","\\u0007"]}}',
        b'{"type":"ok","msg":[{"channel":"","sid":1}]}',
    ],
)
def test_other_texts_that_reach_tables_are_held_to_the_same_rule(frame: bytes) -> None:
    assert "not printable" in reason(frame)


def test_reason_is_short_and_printable_whatever_the_frame_says() -> None:
    text = reason(b'{"type":"trade","sid":{"' + b"\\u0000x" * 9000 + b'":1},"msg":"' + b"y" * 9000 + b'"}')

    assert len(text) <= MAX_TEXT
    assert text.isprintable()


@pytest.mark.parametrize("legacy", [False, True])
def test_unknown_fields_are_counted_and_left_out(legacy: bool) -> None:
    decoder = Decoder(legacy=legacy)
    news = changed(changed(DELTA, b'"sid"', b'"shard":3,"sid"'), b'"side"', b'"Clock":{"a":1},"side"')

    assert decoder.decode(news) == decoder.decode(DELTA)
    assert decoder.unknown_fields == {"orderbook_delta.shard": 1, "orderbook_delta.Clock": 1}
    assert not decoder.unknown_types


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"subscribed","id":1,"msg":{"channel":"trade","sid":1,"x":1}}',
        b'{"type":"ok","id":2,"sid":1,"msg":{"market_tickers":["KXA"],"x":1}}',
        b'{"type":"error","msg":{"code":25,"msg":"","x":1}}',
        b'{"type":"unsubscribed","sid":1,"x":1}',
        changed(TRADE, b'"ts"', b'"x":1,"ts"'),
        changed(SNAPSHOT, b'"clock"', b'"x":1,"clock"'),
    ],
)
def test_new_fields_make_no_frame_unreadable(frame: bytes) -> None:
    decoder = Decoder()
    without = frame.replace(b',"x":1', b"").replace(b'"x":1,', b"")

    assert decoder.decode(frame) == decoder.decode(without)
    assert decoder.unknown_fields.total() == 1


def test_new_fields_do_not_excuse_what_is_wrong_besides() -> None:
    decoder = Decoder()
    with pytest.raises(FrameRejectedError, match="delta_fp"):
        decoder.decode(changed(DELTA, b'"delta_fp":"-3.50"', b'"delta_fp2":"-3.50"'))
    assert not decoder.unknown_fields


def test_snapshot_with_its_levels_under_another_name_is_no_empty_book() -> None:
    empty = b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"KXA","flags":[],"x":1}}'
    renamed = changed(empty, b'"flags":[]', b'"yes_levels":[["0.4100","12.00"]]')

    assert outcome(Decoder(), empty) == OrderbookSnapshot(1, 1, SnapshotBody("KXA"))
    assert "yes_levels" in reason(renamed)


def test_new_fields_are_looked_for_in_some_hundred_frames_only() -> None:
    decoder = Decoder()
    news = changed(DELTA, b'"side"', b'"x":1,"side"')

    messages_read = {decoder.decode(frame) for frame in [news, DELTA] * (LOOKS_AT_NEW_FIELDS + 5)}

    assert messages_read == {Decoder().decode(DELTA)}
    assert decoder.unknown_fields == {"orderbook_delta.x": LOOKS_AT_NEW_FIELDS}
    assert decoder.decode(b'{"type":"ticker"}') == Other("ticker")
    with pytest.raises(FrameRejectedError):
        decoder.decode(changed(DELTA, b'"seq":2,', b""))


def test_a_peer_cannot_make_the_counters_grow_without_end() -> None:
    decoder = Decoder()
    for number in range(1000):
        decoder.decode(b'{"type":"t%d\\u0000"}' % number)

    assert len(decoder.unknown_types) <= 201
    assert decoder.unknown_types.total() == 1000
    assert decoder.unknown_types["t0\\x00"] == 1


# -- the forms before 2026-03-12 --------------------------------------------------------------------------------------


def legacy_delta(**body: object) -> bytes:
    return msgspec.json.encode(
        {"type": "orderbook_delta", "sid": 1, "seq": 9, "msg": {"market_ticker": "KXOLD"} | body}
    )


def legacy_snapshot(**body: object) -> bytes:
    return msgspec.json.encode(
        {"type": "orderbook_snapshot", "sid": 1, "seq": 9, "msg": {"market_ticker": "KXOLD"} | body}
    )


@pytest.mark.parametrize(
    ("body", "price", "delta"),
    [
        ({"price": 42, "delta": -12}, "0.4200", "-12.00"),
        ({"price": 1, "delta": 0}, "0.0100", "0.00"),
        ({"price": 42, "price_dollars": "0.4200", "delta": 5}, "0.4200", "5.00"),
        ({"price": 42, "price_dollars": "0.4250", "delta": 5, "delta_fp": "5.37"}, "0.4250", "5.37"),
        ({"price_dollars": "0.4200", "delta_fp": "-0.01", "ts_ms": 5, "clock": 3}, "0.4200", "-0.01"),
    ],
)
def test_legacy_delta_takes_the_finest_notation(body: dict[str, object], price: str, delta: str) -> None:
    message = Decoder(legacy=True).decode(legacy_delta(side="no", **body))

    assert isinstance(message, OrderbookDelta)
    assert (message.msg.price_dollars, message.msg.delta_fp, message.msg.side) == (price, delta, "no")
    assert (message.sid, message.seq) == (1, 9)
    assert (message.msg.ts_ms, message.msg.clock) == (body.get("ts_ms"), body.get("clock"))


@pytest.mark.parametrize(
    "body",
    [
        {"yes": [[42, 3], [7, 100]], "no": None},
        {"yes": [[42, 3]], "yes_dollars": [["0.4200", 3], ["0.0700", 100]]},
        {
            "yes_dollars": [["0.4200", 9]],
            "yes_dollars_fp": [["0.4200", "3.00"], ["0.0700", "100.00"]],
            "no_dollars": [],
        },
    ],
)
def test_legacy_snapshot_takes_the_finest_notation(body: dict[str, object]) -> None:
    message = Decoder(legacy=True).decode(legacy_snapshot(**body))

    assert isinstance(message, OrderbookSnapshot)
    assert message.msg.yes_dollars_fp == (("0.4200", "3.00"), ("0.0700", "100.00"))
    assert message.msg.no_dollars_fp == ()


@pytest.mark.parametrize(
    "frame",
    [
        legacy_delta(side="yes", price=42),
        legacy_delta(side="yes", delta=1),
        legacy_delta(side="yes", price=101, delta=1),
        legacy_delta(side="yes", price=-1, delta=1),
        legacy_snapshot(yes=[[0.5, 3]]),
        legacy_snapshot(no=[[142, 3]]),
        b'{"type":"trade","sid":1,"seq":1,"msg":{"trade_id":"a","market_ticker":"KXOLD","count":1}}',
        b'{"type":"trade","sid":1,"seq":1,"msg":{"trade_id":"a","market_ticker":"KXOLD","yes_price":1}}',
    ],
)
def test_legacy_frames_without_a_possible_price_and_count_are_refused(frame: bytes) -> None:
    assert reason(frame, legacy=True)


@pytest.mark.parametrize("frame", [legacy_delta(side="yes", price=42, delta=1), legacy_snapshot(yes=[[42, 1]])])
def test_legacy_forms_are_not_read_unless_asked_for(frame: bytes) -> None:
    assert outcome(Decoder(), frame) is None


def test_legacy_trade_becomes_a_trade_of_today() -> None:
    message = Decoder(legacy=True).decode(
        b'{"type":"trade","sid":1,"seq":16,"msg":{"trade_id":"5b02","market_ticker":"KXOLD","yes_price":27,"no_price":73,'
        b'"count":7,"taker_side":"yes","ts":1759350609}}'
    )

    assert isinstance(message, Trade)
    body = message.msg
    assert (body.yes_price_dollars, body.no_price_dollars, body.count_fp) == ("0.2700", "0.7300", "7.00")
    assert (body.taker_side, body.ts, body.ts_ms) == ("yes", 1_759_350_609, None)


# -- real frames ------------------------------------------------------------------------------------------------------


def recorded(name: str) -> Iterator[bytes]:
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not beside the project")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        yield from (line.strip() for line in lines)


@pytest.mark.real
def test_recorded_demo_session_is_read_whole_and_without_news() -> None:
    decoder = Decoder()
    decoded = [decoder.decode(frame) for frame in recorded("ws_current_demo_multimarket/session.jsonl.gz")]

    assert Counter(type(message).__name__ for message in decoded) == {
        "Subscribed": 2,
        "Ok": 4,
        "OrderbookSnapshot": 5,
        "OrderbookDelta": 2885,
    }
    assert [message.seq for message in decoded if not isinstance(message, Subscribed)] == list(range(1, 2895))
    assert not decoder.unknown_fields
    assert not decoder.unknown_types


@pytest.mark.real
def test_recorded_frames_of_2025_are_read_with_their_envelopes() -> None:
    decoder = Decoder(legacy=True)
    decoded = [decoder.decode(frame) for frame in recorded("golden_frames/lifecycle_trade_ticker_2025-10.jsonl")]

    trades = [message for message in decoded if isinstance(message, Trade)]
    assert [(trade.msg.yes_price_dollars, trade.msg.count_fp, trade.seq) for trade in trades] == [
        ("0.2700", "7.00", 16)
    ]
    assert decoder.unknown_types == {"ticker": 1}
    assert not decoder.unknown_fields
    lives = [message for message in decoded if isinstance(message, MarketLifecycle)]
    assert Counter(life.msg.event_type for life in lives) == {
        "created": 3,
        "determined": 1,
        "settled": 1,
        "close_date_updated": 1,
        "deactivated": 1,
    }
    created = next(life for life in lives if life.seq == 1239)
    assert (created.msg.open_ts, created.msg.close_ts) == (1759375800, 1759672800)
    assert [one.msg.event_ticker for one in decoded if isinstance(one, EventLifecycle)] == ["KXTECHLAYOFF-25SEP"]


def test_form_before_october_2026_lacks_clock_and_sending_time() -> None:
    wire = Wire(with_clock=False)
    decoder = Decoder()
    wire.subscribed("orderbook_delta")
    snapshot = decoder.decode(wire.snapshot("KXA"))
    delta = decoder.decode(wire.delta("KXA", "yes", 4200, 100))

    assert isinstance(snapshot, OrderbookSnapshot)
    assert isinstance(delta, OrderbookDelta)
    assert (snapshot.msg.clock, delta.msg.clock, snapshot.sending_ts_ms) == (None, None, None)
