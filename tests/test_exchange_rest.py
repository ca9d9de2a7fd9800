"""The local venue's REST interface without a socket: who is let in, what is paid, and what data it shows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.handshake import Refusal
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.rest.buckets import Bucket, Kind, Rate, Tier
from rlflow.exchange.rest.paging import page
from rlflow.exchange.rest.query import Query
from rlflow.exchange.rest.refusals import ErrorShape, RefusedError, refusal_body
from rlflow.exchange.wire.items import Image
from rlflow.kalshi.auth import generate_private_key_pem, load_private_key
from rlflow.units import Side
from tests.exchange_rest import NOW, SECOND, SIGNER, MadeUpVenue, caller, listing

ONE_OF_EACH = (
    listing("KXS-1-A", status="initialized"),
    listing("KXS-1-B"),
    listing("KXS-2-A", status="inactive"),
    listing("KXS-2-B", status="closed"),
    listing("KXT-1-A", "KXT", status="determined", result="yes", settlement_value=10_000),
    listing("KXT-1-B", "KXT", status="finalized", result="no", settlement_value=0, settled_ns=NOW - SECOND),
)


def tickers(body: dict[str, list[dict[str, str]]]) -> list[str]:
    return [market["ticker"] for market in body["markets"]]


# Who is let in


def test_public_data_need_no_signature_and_a_wrong_one_is_refused() -> None:
    asking = caller(MadeUpVenue(listing("KXS-1-A")))
    assert asking.ask("GET", "/markets", is_signed=False)[0] == 200
    assert asking.ask("GET", "/markets")[0] == 200
    stranger = caller(MadeUpVenue())
    assert stranger.tell("/keys", {"keys": {}})[0] == 200
    assert stranger.ask("GET", "/markets") == (
        401,
        {"code": "authentication_error", "message": "authentication failed", "details": "NOT_FOUND"},
    )


def test_private_data_need_a_signature_of_this_request() -> None:
    asking = caller(MadeUpVenue())
    status, body = asking.ask("GET", "/account/limits", is_signed=False)
    assert (status, body["code"]) == (401, "signature_is_missing_from_headers")
    other = load_private_key(generate_private_key_pem("ed25519")).public_key()
    asking.service._desk.keys[SIGNER.key_id] = other
    status, body = asking.ask("GET", "/account/limits")
    assert (status, body["details"]) == (401, "INCORRECT_API_KEY_SIGNATURE")


def test_a_query_is_not_signed() -> None:
    assert caller(MadeUpVenue()).ask("GET", "/account/limits?x=1")[0] == 200


def test_what_is_not_there_is_404_and_a_wrong_method_405() -> None:
    asking = caller(MadeUpVenue())
    assert asking.ask("GET", "/nothing")[1]["code"] == "not_found"
    assert asking.ask("GET", "/markets/KXNONE-1")[0] == 404
    assert asking.ask("POST", "/exchange/status")[1]["code"] == "method_not_allowed"
    assert asking.service.statistics.refused == 3


def test_maintenance_refuses_everything_and_the_status_says_so() -> None:
    venue = MadeUpVenue(listing("KXS-1-A"))
    venue.is_exchange_active = False
    asking = caller(venue)
    assert asking.ask("GET", "/markets")[0] == 503
    status, body = asking.ask("GET", "/exchange/status")
    assert (status, body["exchange_active"], body["trading_active"]) == (503, False, False)


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (ErrorShape.FLAT, {"code": "c", "message": "m", "details": "d"}),
        (ErrorShape.NESTED, {"error": {"code": "c", "message": "m", "details": "d"}}),
        (ErrorShape.MSG, {"msg": "m"}),
    ],
)
def test_errors_come_in_any_of_the_three_shapes(shape: ErrorShape, body: object) -> None:
    assert refusal_body(Refusal(400, "c", "m", "d"), shape) == body
    assert refusal_body(Refusal(429, "c", "m"), shape) == {"error": "too many requests"}


# What is paid


def test_twenty_reads_a_second_are_free_on_the_lowest_tier_with_two_seconds_of_burst() -> None:
    asking = caller(MadeUpVenue())
    assert [asking.ask("GET", "/account/limits")[0] for _ in range(41)] == [200] * 40 + [429]
    asking.now_ns += SECOND
    statuses = [asking.ask("GET", "/account/limits")[0] for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    assert asking.ask("GET", "/account/limits")[1] == {"error": "too many requests"}
    assert asking.service.statistics.throttled == 3


def test_the_limits_say_what_the_buckets_do() -> None:
    assert caller(MadeUpVenue(), tier=Tier.PREMIER).ask("GET", "/account/limits")[1] == {
        "usage_tier": "premier",
        "read": {"refill_rate": 1000, "bucket_capacity": 1000},
        "write": {"refill_rate": 1000, "bucket_capacity": 2000},
        "grants": [],
    }


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), max_size=60))
def test_a_bucket_never_gives_more_than_it_had_and_got(steps: list[tuple[float, int]]) -> None:
    bucket, now_s, taken = Bucket(Rate(10, 30), 0.0), 0.0, 0
    for pause_s, cost in steps:
        now_s += pause_s
        taken += cost if bucket.take(cost, now_s) else 0
        assert taken <= 30 + 10 * now_s + 0.001


def test_every_tier_pays_for_balances_apart() -> None:
    assert Tier.BASIC.rate(Kind.BALANCE) == Rate(10, 10)
    assert Tier.PRIME.rate(Kind.BALANCE) == Rate(50, 50)


# Lists


@given(st.integers(0, 60), st.integers(1, 20), st.integers(2, 5))
def test_the_pages_together_are_the_list(length: int, limit: int, every: int) -> None:
    items = [f"item {number}" for number in range(length)]
    cursor, found = "", list[str]()
    while True:
        query = Query({"limit": str(limit), "cursor": cursor})
        part = page(enumerate(items), query, keep=lambda item: int(item[5:]) % every == 0)
        assert len(part.items) <= limit
        found += part.items
        cursor = part.cursor
        if not cursor:
            break
    assert found == [item for item in items if int(item[5:]) % every == 0]


@given(st.lists(st.integers(0, 60), unique=True), st.integers(1, 20), st.data())
def test_a_page_begins_behind_the_last_one_whatever_is_forgotten_or_new(
    numbers: list[int], limit: int, data: st.DataObject
) -> None:
    first = page(((number, number) for number in sorted(numbers)), Query({"limit": str(limit)}))
    left = data.draw(st.sets(st.sampled_from(numbers))) if numbers else set()
    items = sorted({*left, 61})
    if not first.cursor:
        assert list(first.items) == sorted(numbers)
        return
    rest = page(((number, number) for number in items), Query({"limit": "100", "cursor": first.cursor}))
    assert list(rest.items) == [number for number in items if number > first.items[-1]]


def test_a_list_goes_on_where_it_was_when_the_last_one_given_out_is_forgotten() -> None:
    venue = MadeUpVenue(*ONE_OF_EACH)
    venue.history = {"KXS-1-A": [trade("KXS-1-A", number) for number in (8, 4, 2)]}
    asking = caller(venue)
    markets = asking.get("/markets?limit=2")
    trades = asking.get("/markets/trades?limit=2")
    venue.listings = {ticker: each for ticker, each in venue.listings.items() if not ticker.startswith("KXS-1")}
    venue.history = {"KXS-2-A": [trade("KXS-2-A", 1)]}
    assert tickers(asking.get(f"/markets?cursor={markets['cursor']}")) == ["KXS-2-A", "KXS-2-B", "KXT-1-A", "KXT-1-B"]
    assert [each["trade_id"] for each in asking.get(f"/markets/trades?cursor={trades['cursor']}")["trades"]] == [
        "trade-1"
    ]


@pytest.mark.parametrize("cursor", ["garbage", "%%%", "AAAA", "Z2FyYmFnZQ=="])
def test_a_cursor_that_means_nothing_gives_the_first_page(cursor: str) -> None:
    assert tickers(caller(MadeUpVenue(*ONE_OF_EACH)).get(f"/markets?limit=1&cursor={cursor}")) == ["KXS-1-A"]


@pytest.mark.parametrize(("limit", "status"), [("1000", 200), ("1001", 400), ("0", 400), ("x", 400), ("", 200)])
def test_a_limit_has_bounds(limit: str, status: int) -> None:
    assert caller(MadeUpVenue()).ask("GET", f"/markets?limit={limit}")[0] == status


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "KXS-1-A KXS-1-B KXS-2-A KXS-2-B KXT-1-A KXT-1-B"),
        ("status=unopened", "KXS-1-A"),
        ("status=open", "KXS-1-B"),
        ("status=paused", "KXS-2-A"),
        ("status=closed", "KXS-2-B KXT-1-A"),
        ("status=settled", "KXT-1-B"),
        ("series_ticker=KXT", "KXT-1-A KXT-1-B"),
        ("event_ticker=KXS-2", "KXS-2-A KXS-2-B"),
        ("tickers=KXS-1-B,KXT-1-B,KXNONE", "KXS-1-B KXT-1-B"),
        ("tickers=KXS-1-B&tickers=KXT-1-B", "KXS-1-B KXT-1-B"),
        ("mve_filter=only", ""),
        ("status=settled&min_settled_ts=1799999999", "KXT-1-B"),
        ("max_settled_ts=1799999998", ""),
        ("min_close_ts=1800000100&max_close_ts=1800000100&status=closed", "KXS-2-B KXT-1-A"),
        ("min_updated_ts=1800000000&mve_filter=exclude&series_ticker=KXT", "KXT-1-A KXT-1-B"),
        ("min_updated_ts=1800000001&mve_filter=exclude", ""),
    ],
)
def test_markets_are_filtered(query: str, found: str) -> None:
    assert tickers(caller(MadeUpVenue(*ONE_OF_EACH)).get(f"/markets?{query}")) == found.split()


@pytest.mark.parametrize(
    "query",
    [
        "status=active",
        "status=open,closed",
        "mve_filter=some",
        "min_close_ts=1&min_created_ts=1",
        "min_close_ts=1&status=open",
        "min_settled_ts=1&status=closed",
        "min_created_ts=1&status=settled",
        "min_updated_ts=1",
        "min_updated_ts=1&mve_filter=exclude&status=open",
        "min_updated_ts=1&mve_filter=exclude&tickers=KXS-1-A",
        "min_close_ts=soon",
    ],
)
def test_filters_that_do_not_go_together_are_refused(query: str) -> None:
    assert caller(MadeUpVenue(*ONE_OF_EACH)).ask("GET", f"/markets?{query}")[0] == 400


def test_a_list_of_open_markets_may_lag_behind_their_opening() -> None:
    asking = caller(MadeUpVenue(listing("KXS-1-A")), open_list_lag_s=130.0)
    assert tickers(asking.get("/markets?status=open")) == []
    assert tickers(asking.get("/markets")) == ["KXS-1-A"]
    asking.now_ns += 30 * SECOND
    assert tickers(asking.get("/markets?status=open")) == ["KXS-1-A"]


# What is shown


def test_a_market_has_the_prices_of_its_book_and_of_its_last_trade() -> None:
    market = listing("KXS-1-A", last_price=4_300, volume=81_250, open_interest=30_000)
    venue = MadeUpVenue(market)
    venue.books["KXS-1-A"] = Image("KXS-1-A", yes=((4_100, 1_200), (4_200, 350)), no=((5_500, 2_000), (100, 1)))
    shown = caller(venue).get("/markets/KXS-1-A")["market"]
    prices = {name: shown[f"{name}_dollars"] for name in ("yes_bid", "yes_ask", "no_bid", "no_ask", "last_price")}
    assert prices == {
        "yes_bid": "0.4200",
        "yes_ask": "0.4500",
        "no_bid": "0.5500",
        "no_ask": "0.5800",
        "last_price": "0.4300",
    }
    sizes = {name: shown[f"{name}_fp"] for name in ("yes_bid_size", "yes_ask_size", "volume", "open_interest")}
    assert sizes == {"yes_bid_size": "3.50", "yes_ask_size": "20.00", "volume": "812.50", "open_interest": "300.00"}
    assert shown["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    assert (shown["status"], shown["result"], shown["open_time"]) == ("active", "", "2027-01-15T07:58:20.000Z")
    assert "settlement_value_dollars" not in shown


def test_an_empty_side_has_size_zero() -> None:
    shown = caller(MadeUpVenue(listing("KXS-1-A"))).get("/markets/KXS-1-A")["market"]
    assert (shown["yes_bid_dollars"], shown["yes_bid_size_fp"]) == ("0.0000", "0.00")
    assert (shown["yes_ask_dollars"], shown["yes_ask_size_fp"]) == ("1.0000", "0.00")


def test_a_settled_market_says_what_it_paid() -> None:
    shown = caller(MadeUpVenue(*ONE_OF_EACH)).get("/markets/KXT-1-B")["market"]
    assert (shown["result"], shown["settlement_value_dollars"]) == ("no", "0.0000")
    assert shown["settlement_ts"] == "2027-01-15T07:59:59.000Z"


def test_a_book_is_ascending_and_may_be_cut_to_its_best_levels() -> None:
    venue = MadeUpVenue(listing("KXS-1-A"), listing("KXS-1-B"))
    venue.books["KXS-1-A"] = Image("KXS-1-A", yes=((4_200, 350), (4_100, 1_200)), no=((5_500, 2_000),))
    asking = caller(venue)
    whole = {"yes_dollars": [["0.4100", "12.00"], ["0.4200", "3.50"]], "no_dollars": [["0.5500", "20.00"]]}
    assert asking.get("/markets/KXS-1-A/orderbook") == {"orderbook_fp": whole}
    assert asking.get("/markets/KXS-1-A/orderbook?depth=1")["orderbook_fp"]["yes_dollars"] == [["0.4200", "3.50"]]
    assert asking.ask("GET", "/markets/KXS-1-A/orderbook?depth=101")[0] == 400
    books = asking.get("/markets/orderbooks?tickers=KXS-1-A,KXS-1-B,KXNONE")["orderbooks"]
    assert books == [
        {"ticker": "KXS-1-A", "orderbook_fp": whole},
        {"ticker": "KXS-1-B", "orderbook_fp": {"yes_dollars": [], "no_dollars": []}},
    ]
    assert asking.ask("GET", "/markets/orderbooks")[0] == 400


def trade(ticker: str, number: int) -> TradeRecord:
    taker: Side = "yes" if number % 2 else "no"
    return TradeRecord(f"trade-{number}", ticker, 4_300, 150, taker, NOW - (100 - number) * SECOND, number)


def test_trades_come_newest_first_by_market_time_and_page() -> None:
    venue = MadeUpVenue(listing("KXS-1-A"), listing("KXS-1-B"))
    venue.history = {
        "KXS-1-A": [trade("KXS-1-A", number) for number in (8, 4, 2)],
        "KXS-1-B": [trade("KXS-1-B", number) for number in (9, 3)],
    }
    asking = caller(venue)
    first = asking.get("/markets/trades?limit=3")
    assert [each["trade_id"] for each in first["trades"]] == ["trade-9", "trade-8", "trade-4"]
    venue.history["KXS-1-A"].insert(0, trade("KXS-1-A", 10))
    rest = asking.get(f"/markets/trades?limit=3&cursor={first['cursor']}")
    assert ([each["trade_id"] for each in rest["trades"]], rest["cursor"]) == (["trade-3", "trade-2"], "")
    some = asking.get(f"/markets/trades?ticker=KXS-1-B&min_ts={NOW // SECOND - 97}&max_ts={NOW // SECOND - 92}")
    assert some["trades"] == [
        {
            "trade_id": "trade-3",
            "ticker": "KXS-1-B",
            "count_fp": "1.50",
            "yes_price_dollars": "0.4300",
            "no_price_dollars": "0.5700",
            "taker_side": "yes",
            "taker_outcome_side": "yes",
            "taker_book_side": "bid",
            "created_time": "2027-01-15T07:58:23.000Z",
            "is_block_trade": False,
        }
    ]
    assert asking.get("/markets/trades?is_block_trade=true")["trades"] == []
    assert asking.ask("GET", "/markets/trades?is_block_trade=perhaps")[0] == 400


def test_a_still_venue_guesses_series_and_events_from_its_tickers() -> None:
    asking = caller(MadeUpVenue(*ONE_OF_EACH))
    assert [each["ticker"] for each in asking.get("/series")["series"]] == ["KXS", "KXT"]
    series = asking.get("/series/KXS")["series"]
    assert (series["fee_type"], series["fee_multiplier"]) == ("quadratic", 1)
    assert asking.get("/series/fee_changes?show_historical=true") == {"series_fee_change_arr": []}
    assert asking.ask("GET", "/series/KXNONE")[0] == 404
    events = asking.get("/events?with_nested_markets=true&series_ticker=KXS&limit=200")["events"]
    assert [(each["event_ticker"], tickers(each)) for each in events] == [
        ("KXS-1", ["KXS-1-A", "KXS-1-B"]),
        ("KXS-2", ["KXS-2-A", "KXS-2-B"]),
    ]
    assert [each["event_ticker"] for each in asking.get("/events?status=settled")["events"]] == ["KXT-1"]
    assert asking.ask("GET", "/events?limit=201")[0] == 400
    event = asking.get("/events/KXS-2")
    assert (event["event"]["series_ticker"], tickers(event)) == ("KXS", ["KXS-2-A", "KXS-2-B"])
    assert asking.ask("GET", "/events/KXNONE-1")[0] == 404


def test_the_exchange_says_whether_it_is_open_and_when_it_rests() -> None:
    asking = caller(MadeUpVenue(), orders_lag_s=0.4, positions_lag_s=1.0)
    status = asking.get("/exchange/status")
    assert (status["exchange_active"], status["exchange_index_statuses"][0]["exchange_index"]) == (True, 0)
    hours = asking.get("/exchange/schedule")["schedule"]["standard_hours"][0]
    assert hours["thursday"][0] == {"open_time": "00:00", "close_time": "03:00"}
    assert asking.ask("GET", "/exchange/user_data_timestamp")[1] == {"as_of_time": "2027-01-15T07:59:59.000Z"}
    assert asking.get("/historical/cutoff")["trades_created_ts"] == "2026-10-17T08:00:00.000Z"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/events/multivariate", {"events": []}),
        ("/historical/markets", {"markets": []}),
        ("/historical/trades", {"trades": []}),
        ("/historical/fills", {"fills": []}),
        ("/historical/orders", {"orders": []}),
        ("/historical/positions", {"market_positions": [], "event_positions": []}),
    ],
)
def test_what_there_is_none_of_is_an_empty_page(path: str, body: dict[str, object]) -> None:
    asking = caller(MadeUpVenue(*ONE_OF_EACH))
    assert asking.ask("GET", path) == (200, {**body, "cursor": ""})
    assert asking.ask("GET", f"{path}?limit=1001")[0] == 400
    is_private = path.rpartition("/")[2] in {"fills", "orders", "positions"}
    assert asking.ask("GET", path, is_signed=False)[0] == (401 if is_private else 200)


def test_no_candles_are_older_than_those_of_the_live_endpoint() -> None:
    asking = caller(MadeUpVenue(*ONE_OF_EACH))
    path = "/historical/markets/KXS-1-A/candlesticks"
    query = f"?start_ts=0&end_ts={NOW // SECOND}&period_interval=60"
    assert asking.get(path + query) == {"ticker": "KXS-1-A", "candlesticks": []}
    assert asking.ask("GET", path)[0] == 400
    assert asking.ask("GET", f"/historical/markets/KXNONE-1/candlesticks{query}")[0] == 404


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_no_path_and_no_query_breaks_it(path: str, query: str) -> None:
    asking = caller(MadeUpVenue(listing("KXS-1-A")))
    status, _ = asking.ask("GET", f"/markets/{path}?{query}&limit={query}", is_signed=False)
    assert status in {200, 400, 404}


def test_a_refusal_is_an_error_with_a_sentence() -> None:
    with pytest.raises(RefusedError, match="limit must be 1 to 1000, not 0"):
        Query({"limit": "0"}).bounded("limit", 100, 1, 1000)
