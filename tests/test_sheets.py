"""REST answers become sheets in our units; what is news does no harm, and what is wrong is refused."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.errors import AnswerRejectedError
from rlflow.kalshi import answers, wire_values
from rlflow.kalshi.answers import AccountLimits, ErrorAnswer, ExchangeStatus, RestOrderbook, Schedule, read_page
from rlflow.kalshi.sheets import EventSheet, FeeChange, MarketSheet, PriceRange, RestTrade, SeriesSheet
from rlflow.units import MAX_COUNT, ONE_DOLLAR, format_count, format_price
from tests.real_recordings import DATA

MARKET: dict[str, Any] = {
    "ticker": "KXSIM-27JAN01-A",
    "event_ticker": "KXSIM-27JAN01",
    "status": "determined",
    "open_time": "2026-11-22T00:00:00Z",
    "close_time": "2026-11-22T00:15:00.25Z",
    "result": "yes",
    "settlement_value_dollars": "1.0000",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
}


def encoded(body: Any) -> bytes:
    return msgspec.json.encode(body)


def test_a_market_in_our_units() -> None:
    sheet = MarketSheet.from_json(encoded(MARKET))
    assert (sheet.ticker, sheet.status, sheet.is_final) == ("KXSIM-27JAN01-A", "determined", False)
    assert (sheet.open_ns, sheet.close_ns) == (1_795_305_600 * 10**9, 1_795_306_500_250_000_000)
    assert (sheet.result, sheet.settlement_value) == ("yes", ONE_DOLLAR)
    assert sheet.price_ranges == (PriceRange(0, ONE_DOLLAR, 100),)
    assert (sheet.title, sheet.settled_ns, sheet.is_provisional) == (None, None, False)


@pytest.mark.parametrize(
    "missing", [{}, {"result": "", "settlement_value_dollars": "", "open_time": "0001-01-01T00:00:00Z", "title": ""}]
)
def test_empty_means_not_known(missing: dict[str, str]) -> None:
    sheet = MarketSheet.from_json(encoded({"ticker": "T", "event_ticker": "E", "status": "initialized"} | missing))
    assert (sheet.result, sheet.settlement_value, sheet.open_ns, sheet.title) == (None, None, None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ticker": ""},
        {"ticker": "a\nb"},
        {"ticker": "x" * 201},
        {"ticker": None},
        {"event_ticker": ""},
        {"status": 5},
        {"status": None},
    ],
)
def test_what_no_market_can_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(AnswerRejectedError, match="not a market"):
        MarketSheet.from_json(encoded(MARKET | wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_time": "soon"},
        {"open_time": "2026-11-22T00:00:00"},
        {"open_time": 10**18},
        {"close_time": "9999-12-31T00:00:00Z"},
        {"settlement_value_dollars": "1.5"},
        {"settlement_value_dollars": "0.00001"},
        {"settlement_value_dollars": "NaN"},
        {"settlement_value_dollars": "1e999999999"},
        {"settlement_value_dollars": []},
        {"price_ranges": [{"start": "0.5", "end": "0.4", "step": "0.01"}]},
        {"price_ranges": [{"start": "0", "end": "1", "step": "0"}]},
        {"price_ranges": [{"start": "0", "end": "1", "step": None}]},
        {"price_ranges": [{"start": "0", "end": "1"}]},
        {"settlement_timer_seconds": 5.5},
        {"title": 5},
        {"is_provisional": "perhaps"},
    ],
)
def test_a_field_that_cannot_be_read_spoils_no_other(wrong: dict[str, Any]) -> None:
    sheet = MarketSheet.from_json(encoded(MARKET | wrong))
    [field] = wrong
    assert (sheet.unread, sheet.status, msgspec.json.decode(sheet.raw)[field]) == ((field,), "determined", wrong[field])
    whole = MarketSheet.from_json(encoded({key: value for key, value in MARKET.items() if key != field}))
    assert attrs.evolve(sheet, unread=(), raw=b"") == attrs.evolve(whole, raw=b"")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_an_unknown_field_does_no_harm(value: Any) -> None:
    assert MarketSheet.from_json(encoded(MARKET | {"news": value})).close_ns is not None


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    for kind in (MarketSheet, EventSheet, SeriesSheet, FeeChange, RestTrade, ExchangeStatus, Schedule, AccountLimits):
        with pytest.raises(AnswerRejectedError):
            kind.from_json(raw)
    ErrorAnswer.from_body(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "end", "step"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(MARKET)), json_values, max_size=3))
def test_a_market_of_any_values_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        sheet = MarketSheet.from_json(encoded(MARKET | changes))
    except AnswerRejectedError as error:
        said = str(error)
    else:
        said = f"{sheet.ticker}{sheet.event_ticker}"
    assert said.isprintable()


@given(st.integers(0, ONE_DOLLAR))
def test_a_price_is_the_same_as_text_number_or_decimal(price: int) -> None:
    text = format_price(price)
    assert wire_values.price(text) == wire_values.price(json.loads(text)) == price
    assert wire_values.price(f"{Decimal(text):E}") == price


@given(st.integers(-MAX_COUNT // 1000, MAX_COUNT // 1000))
def test_a_count_is_the_same_as_text_or_number(count: int) -> None:
    text = format_count(count)
    assert wire_values.count(text) == wire_values.count(json.loads(text)) == count


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_time_is_exact_to_the_microsecond(moment: datetime) -> None:
    found = wire_values.time_ns(moment.isoformat().replace("+00:00", "Z"))
    assert found is not None
    assert found // 10**9 == int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    assert found % 10**9 == moment.microsecond * 1000
    assert wire_values.time_ns(found // 10**9) == found // 10**9 * 10**9


def test_a_trade_without_its_side_is_refused() -> None:
    trade = {
        "trade_id": "t",
        "ticker": "T",
        "count_fp": 1.5,
        "yes_price_dollars": 0.42,
        "created_time": "2026-11-22T00:00:00.000001Z",
        "taker_side": "no",
    }
    read = RestTrade.from_json(encoded(trade))
    assert (read.count, read.yes_price, read.taker_side, read.created_ns % 10**9) == (150, 4200, "no", 1000)
    for wrong in ({"taker_side": ""}, {"count_fp": "-1"}, {"count_fp": None}, {"yes_price_dollars": ""}):
        with pytest.raises(AnswerRejectedError):
            RestTrade.from_json(encoded(trade | wrong))


def test_a_page_of_nothing_is_a_page() -> None:
    assert read_page(b'{"trades":null,"cursor":null}', "trades") == answers.Page((), "")
    with pytest.raises(AnswerRejectedError, match="trades is missing"):
        read_page(b'{"cursor":""}', "trades")


def test_an_empty_book_may_come_in_its_old_form() -> None:
    for empty in (b'{"orderbook":{}}', b'{"orderbook_fp":{}}', b'{"orderbook_fp":{"yes_dollars":null}}'):
        assert RestOrderbook.from_json(empty) == RestOrderbook((), ())
    with pytest.raises(AnswerRejectedError):
        RestOrderbook.from_json(b"{}")


def test_limits_without_tokens_are_refused() -> None:
    bucket = {"refill_rate": 200, "bucket_capacity": 400}
    limits = AccountLimits.from_json(encoded({"usage_tier": "basic", "read": bucket, "write": bucket, "grants": []}))
    assert (limits.read.rate, limits.read.capacity) == (200, 400)
    with pytest.raises(AnswerRejectedError):
        AccountLimits.from_json(encoded({"read": bucket | {"refill_rate": 0}, "write": bucket}))


@pytest.mark.real
@pytest.mark.parametrize("path", sorted(DATA.glob("ws_current_gold15m/metadata/*.json")), ids=lambda path: path.stem)
def test_real_events_and_markets_are_read(path: Any) -> None:
    response = json.loads(path.read_text())["response"]
    event = EventSheet.from_json(encoded(response["event"]))
    assert (event.event_ticker, event.series_ticker) == (path.stem, "KXGOLD15M")
    for market in response["markets"]:
        sheet = MarketSheet.from_json(encoded(market))
        assert sheet.is_final
        assert sheet.open_ns is not None
        assert sheet.close_ns == sheet.open_ns + 900 * 10**9
        assert sheet.settlement_value == (ONE_DOLLAR if sheet.result == "yes" else 0)
        assert sheet.settled_ns is not None
        assert sheet.settled_ns > sheet.close_ns
        assert sheet.price_ranges == (PriceRange(0, ONE_DOLLAR, 100),)


@pytest.mark.real
@pytest.mark.parametrize("path", sorted(DATA.glob("rest_trades/*.json.gz")), ids=lambda path: path.name)
def test_real_trades_are_read(path: Any) -> None:
    trades = json.loads(gzip.decompress(path.read_bytes()))
    read = [RestTrade.from_json(encoded(trade)) for trade in trades]
    assert [trade.trade_id for trade in read] == [trade["trade_id"] for trade in trades]
    for trade, raw in zip(read, trades, strict=True):
        assert (format_price(trade.yes_price), format_count(trade.count)) == (raw["yes_price_dollars"], raw["count_fp"])
        assert trade.created_ns % 10**9 // 1000 == int(raw["created_time"].partition(".")[2].rstrip("Z").ljust(6, "0"))
    assert read == sorted(read, key=lambda trade: -trade.created_ns)


@pytest.mark.real
@pytest.mark.parametrize(
    "path", sorted(DATA.glob("ws_current_demo_multimarket/rest_orderbooks.jsonl")), ids=lambda path: path.name
)
def test_real_books_are_read(path: Any) -> None:
    for line in path.read_text().splitlines():
        body = json.loads(line)["response_body"]
        book = RestOrderbook.from_json(body.encode())
        raw = json.loads(body)["orderbook_fp"]
        for side, levels in ((book.yes_bids, raw["yes_dollars"]), (book.no_bids, raw["no_dollars"])):
            assert [[format_price(price), format_count(size)] for price, size in side] == levels[::-1]
