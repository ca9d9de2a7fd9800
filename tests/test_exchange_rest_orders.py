"""Orders and accounts of the local venue by REST, without a socket: the simulated venue under a clock of the test's."""

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.rest import control, service
from rlflow.exchange.rest.buckets import Tier
from rlflow.exchange.rest.http_server import Heard
from rlflow.exchange.rest.order_bodies import AmendBody, Batch, CancelBody, CreateBody, DecreaseBody
from tests.exchange_rest import NOW, SECOND, SIGNER, Body, Caller, caller

TICKER = "KXSIM-1-A"
ORDERS = "/portfolio/events/orders"


def trader(**settings: Any) -> Caller:
    """Return one who may ask often, at a venue with two markets."""
    return caller(Venue(VenueSpec((TICKER, "KXSIM-1-B")), NOW), **{"tier": Tier.PRESTIGE, **settings})


def venue_of(asking: Caller) -> Venue:
    venue = asking.service._desk.venue
    assert isinstance(venue, Venue)
    return venue


def order(price: str = "0.0100", count: str = "10.00", side: str = "bid", **more: object) -> Body:
    return {
        "ticker": TICKER,
        "side": side,
        "count": count,
        "price": price,
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
        **more,
    }


def placed(asking: Caller, **more: object) -> Body:
    status, body = asking.ask("POST", ORDERS, order(**more))  # type: ignore[arg-type]
    assert status == 201, body
    assert isinstance(body, dict)
    return body


def best_ask(asking: Caller) -> str:
    return str(asking.get(f"/markets/{TICKER}")["market"]["yes_ask_dollars"])


def read(asking: Caller, path: str) -> Body:
    status, body = asking.ask("GET", path)
    assert status == 200, body
    assert isinstance(body, dict)
    return body


def test_an_order_that_rests_is_read_back_and_canceled() -> None:
    asking = trader()
    done = placed(asking, client_order_id="mine")
    assert done == {
        "order_id": done["order_id"],
        "client_order_id": "mine",
        "fill_count": "0.00",
        "remaining_count": "10.00",
        "ts_ms": NOW // 1_000_000,
    }
    shown = read(asking, f"/portfolio/orders/{done['order_id']}")["order"]
    assert (shown["status"], shown["book_side"], shown["outcome_side"]) == ("resting", "bid", "yes")
    assert (shown["yes_price_dollars"], shown["no_price_dollars"]) == ("0.0100", "0.9900")
    assert read(asking, "/portfolio/orders?status=resting")["orders"] == [shown]
    assert read(asking, f"/portfolio/orders/{done['order_id']}/queue_position").keys() == {"queue_position_fp"}
    positions = read(asking, f"/portfolio/orders/queue_positions?market_tickers={TICKER}")["queue_positions"]
    assert [each["order_id"] for each in positions] == [done["order_id"]]
    status, canceled = asking.ask("DELETE", f"{ORDERS}/{done['order_id']}?market_ticker={TICKER}")
    assert (status, canceled["reduced_by"], canceled["client_order_id"]) == (200, "10.00", "mine")
    assert read(asking, "/portfolio/orders?status=resting")["orders"] == []
    assert asking.ask("DELETE", f"{ORDERS}/{done['order_id']}")[0] == 404


def test_an_order_that_trades_says_at_which_price_and_fee_and_fills_a_position() -> None:
    asking = trader()
    price = best_ask(asking)
    before = read(asking, "/portfolio/balance")["balance"]
    done = placed(asking, price=price, count="1.00", time_in_force="immediate_or_cancel")
    assert (done["fill_count"], done["remaining_count"]) == ("1.00", "0.00")
    assert done["average_fill_price"] == f"{price}00"
    [fill] = read(asking, "/portfolio/fills")["fills"]
    assert (fill["order_id"], fill["ticker"], fill["is_taker"]) == (done["order_id"], TICKER, True)
    assert (fill["count_fp"], fill["yes_price_dollars"], fill["fee_cost"]) == ("1.00", price, done["average_fee_paid"])
    assert fill["fill_id"] == fill["trade_id"]
    trades = asking.get("/markets/trades")["trades"]
    assert (trades[0]["trade_id"], trades[0]["taker_book_side"]) == (fill["trade_id"], "bid")
    positions = read(asking, "/portfolio/positions")
    [position] = positions["market_positions"]
    assert (position["ticker"], position["position_fp"], position["market_exposure_dollars"]) == (
        TICKER,
        "1.00",
        f"{price}00",
    )
    assert positions["event_positions"][0]["event_ticker"] == "KXSIM-1"
    assert before - read(asking, "/portfolio/balance")["balance"] >= round(float(price) * 100)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"price": 0.5}, 400, "invalid_parameters"),
        ({"count": 1}, 400, "invalid_parameters"),
        ({"side": "buy"}, 400, "invalid_parameters"),
        ({"time_in_force": "GTT"}, 400, "invalid_parameters"),
        ({"self_trade_prevention_type": None}, 400, "invalid_parameters"),
        ({"price": "0.0150"}, 400, "invalid_price"),
        ({"price": "1.5000"}, 400, "invalid_price"),
        ({"price": "0"}, 400, "invalid_price"),
        ({"count": "0.001"}, 400, "invalid_order_size"),
        ({"count": "0"}, 400, "invalid_order_size"),
        ({"count": "99999999"}, 400, "available_balance_too_low"),
        ({"ticker": "KXNONE-1"}, 404, "not_found"),
        ({"price": "0.9900", "post_only": True}, 400, "invalid_order"),
        ({"expiration_time": 1_799_999_999}, 400, "invalid_order"),
        ({"expiration_time": -1}, 400, "invalid_parameters"),
        ({"subaccount": 1}, 400, "invalid_parameters"),
        ({"order_group_id": "nobodys"}, 404, "not_found"),
        ({"client_order_id": "x" * 129}, 400, "invalid_parameters"),
    ],
)
def test_an_order_is_refused_with_the_venues_code(changes: Body, status: int, code: str) -> None:
    asking = trader()
    given, body = asking.ask("POST", ORDERS, order() | changes)
    assert (given, body["code"]) == (status, code), body
    assert read(asking, "/portfolio/orders")["orders"] == []


def test_a_body_that_is_none_is_refused() -> None:
    asking = trader()
    bodies: tuple[object, ...] = (None, [], "order", {})
    for body in bodies:
        assert asking.ask("POST", ORDERS, body)[0] == 400


@pytest.mark.parametrize("path", [f"/trade-api/v2{ORDERS}", f"/trade-api/v2{ORDERS}/batched", "/sim/faults"])
@pytest.mark.parametrize("body", [b'{"a":' * 100_000, b'{"orders":[' + b'{"a":' * 100_000, b"[" * 100_000, b"\xff"])
def test_a_body_that_is_nested_too_deep_or_no_text_is_refused(path: str, body: bytes) -> None:
    headers = SIGNER.headers("POST", path, NOW // 1_000_000)
    raw = tuple((name.encode(), value.encode()) for name, value in headers)
    assert trader().service.answer(Heard("POST", path, raw, body)).status == 400


def test_a_client_order_id_is_used_once_for_ever() -> None:
    asking = trader()
    first = placed(asking, client_order_id="mine")
    asking.ask("DELETE", f"{ORDERS}/{first['order_id']}")
    status, body = asking.ask("POST", ORDERS, order(client_order_id="mine"))
    assert (status, body["code"]) == (409, "order_already_exists")


def test_a_market_that_is_halted_takes_cancels_alone() -> None:
    asking = trader()
    resting = placed(asking)
    status, body = asking.tell(f"/markets/{TICKER}/pause")
    assert (status, body["market"]["status"]) == (200, "inactive")
    assert asking.ask("POST", ORDERS, order())[1]["code"] == "MARKET_INACTIVE"
    assert asking.ask("DELETE", f"{ORDERS}/{resting['order_id']}")[0] == 200


def test_an_order_is_amended_and_made_smaller() -> None:
    asking = trader()
    path = f"{ORDERS}/{placed(asking)['order_id']}"
    amend = {"ticker": TICKER, "side": "bid", "price": "0.0200", "count": "8"}
    status, body = asking.ask("POST", f"{path}/amend", amend)
    assert (status, body["remaining_count"], body["fill_count"]) == (200, "8.00", "0.00")
    assert asking.ask("POST", f"{path}/amend", amend | {"side": "ask"})[1]["code"] == "order_side_mismatch"
    assert asking.ask("POST", f"{path}/amend", amend | {"ticker": "KXSIM-1-B"})[1]["code"] == "order_ticker_mismatch"
    status, body = asking.ask("POST", f"{path}/decrease", {"reduce_by": "3.00"})
    assert (status, body["remaining_count"]) == (200, "5.00")
    assert asking.ask("POST", f"{path}/decrease", {"reduce_to": "1"})[1]["remaining_count"] == "1.00"
    assert asking.ask("POST", f"{path}/decrease", {"reduce_to": "1", "reduce_by": "1"})[0] == 400


def test_a_batch_answers_item_by_item() -> None:
    asking = trader()
    status, body = asking.ask("POST", f"{ORDERS}/batched", {"orders": [order(), order(price="0.0150"), order()]})
    assert status == 201
    first, refused, second = body["orders"]
    assert refused == {"error": {"code": "invalid_price", "message": refused["error"]["message"]}}
    ids = [first["order_id"], "unknown", second["order_id"]]
    status, body = asking.ask("DELETE", f"{ORDERS}/batched", {"orders": [{"order_id": each} for each in ids]})
    assert (status, [each.get("reduced_by") for each in body["orders"]]) == (200, ["10.00", None, "10.00"])
    assert body["orders"][1]["error"]["code"] == "not_found"


def test_what_is_of_a_wrong_form_in_a_batch_is_refused_alone() -> None:
    asking = trader()
    wrong: tuple[object, ...] = ({**order(), "price": 0.01}, {}, None, "order", {**order(), "side": "yes"})
    status, body = asking.ask("POST", f"{ORDERS}/batched", {"orders": [*wrong, order()]})
    assert status == 201
    *refused, accepted = body["orders"]
    assert [each["error"]["code"] for each in refused] == ["invalid_parameters"] * len(wrong)
    cancels = {"orders": [{"order_id": 7}, {"order_id": accepted["order_id"]}]}
    status, body = asking.ask("DELETE", f"{ORDERS}/batched", cancels)
    assert (status, body["orders"][0]["error"]["code"]) == (200, "invalid_parameters")
    assert body["orders"][1]["reduced_by"] == "10.00"
    no_batches: tuple[object, ...] = ({}, {"orders": None}, {"orders": {}})
    for none in no_batches:
        assert asking.ask("POST", f"{ORDERS}/batched", none)[0] == 400


def test_cancel_all_leaves_nothing() -> None:
    asking = trader()
    for _ in range(3):
        placed(asking)
    assert asking.ask("DELETE", ORDERS) == (204, None)
    assert read(asking, "/portfolio/orders?status=resting")["orders"] == []
    assert len(read(asking, "/portfolio/orders?status=canceled&limit=2")["orders"]) == 2


def test_writes_are_paid_by_the_item() -> None:
    asking = trader(tier=Tier.BASIC)
    batch = {"orders": [order() for _ in range(9)]}
    assert asking.ask("POST", f"{ORDERS}/batched", batch)[0] == 201
    assert asking.ask("POST", f"{ORDERS}/batched", batch)[0] == 429
    assert [asking.ask("DELETE", ORDERS)[0] for _ in range(6)] == [204] * 5 + [429]
    asking.now_ns += SECOND
    assert asking.ask("POST", f"{ORDERS}/batched", {"orders": [order() for _ in range(11)]})[0] == 429


def test_balances_have_a_bucket_of_their_own() -> None:
    asking = trader(tier=Tier.BASIC)
    assert [asking.ask("GET", "/portfolio/balance")[0] for _ in range(2)] == [200, 429]
    assert asking.ask("GET", "/portfolio/positions")[0] == 200


@pytest.mark.parametrize("place", ["subaccount=7", "exchange_index=2", "subaccount=x"])
def test_nothing_private_is_of_another_subaccount_or_shard(place: str) -> None:
    asking = trader()
    path = f"{ORDERS}/{placed(asking)['order_id']}"
    private = [route for route in service._ROUTES if not route.is_public and route.method == "GET"]
    assert len(private) > 7
    for route in private:
        asking.now_ns += SECOND
        assert asking.ask("GET", f"{route.path}?{place}")[0] == 400, route.path
    for written in (path, ORDERS):
        assert asking.ask("DELETE", f"{written}?{place}")[0] == 400
    for here in ("subaccount=0&exchange_index=0", "exchange_index=-1"):
        assert len(read(asking, f"/portfolio/orders?status=resting&{here}")["orders"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("POST", "/batched"), ("DELETE", "/some-id"), ("POST", "/some-id/amend"), ("POST", "/x/decrease")],
)
def test_the_first_versions_writes_are_gone(method: str, path: str) -> None:
    status, body = trader().ask(method, f"/portfolio/orders{path}", {})
    assert (status, body["code"]) == (410, "deprecated_v1_order_endpoint")


def test_orders_are_read_late_where_the_venue_is_late() -> None:
    asking = trader(orders_lag_s=0.4, positions_lag_s=1.0)
    resting = placed(asking)["order_id"]
    taken = placed(asking, price=best_ask(asking), count="1.00")["order_id"]
    assert read(asking, "/portfolio/orders")["orders"] == []
    assert asking.ask("GET", f"/portfolio/orders/{resting}")[0] == 404
    asking.now_ns += 400_000_000
    assert [each["order_id"] for each in read(asking, "/portfolio/orders")["orders"]] == [taken, resting]
    assert len(read(asking, "/portfolio/fills")["fills"]) == 1
    assert read(asking, "/portfolio/positions")["market_positions"] == []
    assert read(asking, "/portfolio/balance")["balance"] == 1_000_000
    asking.ask("DELETE", f"{ORDERS}/{resting}")
    assert len(read(asking, "/portfolio/orders?status=resting")["orders"]) == 1
    asking.now_ns += 600_000_000
    assert read(asking, "/portfolio/orders?status=resting")["orders"] == []
    assert len(read(asking, "/portfolio/positions")["market_positions"]) == 1


def test_reads_may_begin_to_be_late_and_be_in_time_again() -> None:
    asking = trader(orders_lag_s=0.4)
    placed(asking)
    asking.tell("/settings", {"rest": {"orders_lag_s": 0}})
    second = placed(asking)["order_id"]
    assert len(read(asking, "/portfolio/orders")["orders"]) == 2
    asking.now_ns += SECOND
    asking.tell("/settings", {"rest": {"orders_lag_s": 0.4}})
    assert asking.ask("DELETE", f"{ORDERS}/{second}")[0] == 200
    assert len(read(asking, "/portfolio/orders?status=resting")["orders"]) == 2
    asking.now_ns += 400_000_000
    assert len(read(asking, "/portfolio/orders?status=resting")["orders"]) == 1


def test_a_position_is_settled_and_paid() -> None:
    asking = trader()
    placed(asking, price=best_ask(asking), count="2.00")
    status, body = asking.tell(f"/markets/{TICKER}/determine", {"result": "yes"})
    assert (status, body["market"]["status"], body["market"]["result"]) == (200, "determined", "yes")
    asking.now_ns += 60 * SECOND
    venue_of(asking).keep_time(asking.now_ns)
    assert asking.get(f"/markets/{TICKER}")["market"]["status"] == "finalized"
    [settlement] = read(asking, "/portfolio/settlements")["settlements"]
    assert (settlement["market_result"], settlement["yes_count_fp"], settlement["revenue"]) == ("yes", "2.00", 200)
    assert settlement["value"] == 100
    assert read(asking, "/portfolio/positions")["market_positions"] == []
    [settled] = read(asking, "/portfolio/positions?settlement_status=settled")["market_positions"]
    assert settled["position_fp"] == "0.00"
    assert read(asking, "/portfolio/positions?settlement_status=all&count_filter=position")["market_positions"] == []
    assert (
        len(read(asking, "/portfolio/positions?settlement_status=all&count_filter=total_traded")["market_positions"])
        == 1
    )
    assert asking.ask("GET", "/portfolio/positions?count_filter=other")[0] == 400


def test_a_settled_market_is_known_after_its_trades_are_forgotten() -> None:
    asking = trader()
    placed(asking, price=best_ask(asking), count="2.00")
    asking.tell(f"/markets/{TICKER}/determine", {"result": "yes"})
    for _ in range(2):
        asking.now_ns += 3_601 * SECOND
        venue_of(asking).keep_time(asking.now_ns)
    market = asking.get(f"/markets/{TICKER}")["market"]
    assert (market["status"], market["result"], market["settlement_value_dollars"]) == ("finalized", "yes", "1.0000")
    assert len(asking.get("/markets?status=settled&event_ticker=KXSIM-1")["markets"]) == 1
    assert asking.get(f"/markets/{TICKER}/orderbook") == {"orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
    assert asking.get(f"/markets/trades?ticker={TICKER}")["trades"] == []
    cutoff = asking.get("/historical/cutoff")
    assert (cutoff["trades_created_ts"], cutoff["orders_updated_ts"]) == (
        "2027-01-15T08:00:00.001Z",
        "2026-10-17T10:00:02.000Z",
    )
    assert cutoff["market_settled_ts"] == cutoff["orders_updated_ts"]
    [settlement] = read(asking, "/portfolio/settlements?event_ticker=KXSIM-1")["settlements"]
    assert settlement["event_ticker"] == "KXSIM-1"
    held = read(asking, "/portfolio/positions?settlement_status=settled&event_ticker=KXSIM-1")
    assert [each["event_ticker"] for each in held["event_positions"]] == ["KXSIM-1"]
    assert len(read(asking, "/portfolio/orders?event_ticker=KXSIM-1")["orders"]) == 1


def test_the_simulator_can_be_told_what_happens() -> None:
    asking = trader()
    assert asking.tell("/markets/KXNONE-1/pause")[0] == 404
    assert asking.tell(f"/markets/{TICKER}/unpause")[1]["code"] == "illegal_step"
    assert asking.tell(f"/markets/{TICKER}/move_close", {"close_ts": NOW // SECOND + 50})[0] == 200
    assert asking.get(f"/markets/{TICKER}")["market"]["close_time"] == "2027-01-15T08:00:50.000Z"
    status, body = asking.tell(f"/markets/{TICKER}/price_level_structure", {"price_level_structure": "deci_cent"})
    assert (status, body["market"]["price_level_structure"]) == (200, "deci_cent")
    assert (
        asking.tell(f"/markets/{TICKER}/metadata", {"yes_sub_title": "Other"})[1]["market"]["yes_sub_title"] == "Other"
    )
    assert asking.tell(f"/markets/{TICKER}/close")[1]["market"]["status"] == "closed"
    assert asking.tell(f"/markets/{TICKER}/determine", {"result": "scalar", "value": "0.2500"})[0] == 200
    assert asking.get(f"/markets/{TICKER}")["market"]["settlement_value_dollars"] == "0.2500"
    assert asking.tell("/markets/KXSIM-1-B/determine", {"result": "perhaps"})[0] == 400
    assert asking.tell("/markets/KXSIM-1-B/determine", {"result": "scalar", "value": "x"})[0] == 400


def test_fees_can_be_changed_for_an_event_or_announced_for_a_series() -> None:
    asking = trader()
    fees = {"fee_type": "quadratic_with_maker_fees", "fee_multiplier": 0.5}
    assert asking.tell("/events/KXSIM-1/fees", fees)[0] == 200
    event = asking.get("/events/KXSIM-1")["event"]
    assert (event["fee_type_override"], event["fee_multiplier_override"]) == ("quadratic_with_maker_fees", 0.5)
    [change] = asking.get("/events/fee_changes")["event_fee_changes"]
    assert (change["event_ticker"], change["fee_multiplier_override"]) == ("KXSIM-1", 0.5)
    assert asking.tell("/events/KXSIM-1/fees")[0] == 200
    assert asking.get("/events/fee_changes")["event_fee_changes"] == []
    at_s = NOW // SECOND + 10
    assert asking.tell("/series/KXSIM/fees", {**fees, "scheduled_ts": at_s})[0] == 200
    [announced] = asking.get("/series/fee_changes?series_ticker=KXSIM")["series_fee_change_arr"]
    assert (announced["fee_multiplier"], announced["scheduled_ts"]) == (0.5, "2027-01-15T08:00:10.000Z")
    asking.now_ns += 10 * SECOND
    venue_of(asking).keep_time(asking.now_ns)
    assert asking.get("/series/KXSIM")["series"]["fee_multiplier"] == 0.5
    assert asking.get("/series/fee_changes")["series_fee_change_arr"] == []
    assert len(asking.get("/series/fee_changes?show_historical=true")["series_fee_change_arr"]) == 1
    assert asking.tell("/series/KXNONE/fees", fees)[0] == 409
    refused = asking.tell("/series/KXSIM/fees", {"fee_type": "free"})
    assert (refused[0], refused[1]["message"].split(" must be one of ")) == (
        400,
        ["fee_type", "quadratic, quadratic_with_maker_fees, quadratic_with_combo_maker_fees, flat, not 'free'"],
    )


@pytest.mark.parametrize("fees", [{"fee_multiplier": 0.5}, {"fee_type": "flat"}])
def test_an_event_may_differ_from_its_series_in_one_thing_alone(fees: Body) -> None:
    asking = trader()
    assert asking.tell("/events/KXSIM-1/fees", fees)[0] == 200
    [change] = asking.get("/events/fee_changes")["event_fee_changes"]
    assert (change["fee_type_override"], change["fee_multiplier_override"]) == (
        fees.get("fee_type"),
        fees.get("fee_multiplier"),
    )


def test_maintenance_and_a_pause_of_all_trading_can_be_switched() -> None:
    asking = trader()
    resting = placed(asking)["order_id"]
    assert asking.tell("/trading", {"is_on": False}) == (200, {"exchange_active": True, "trading_active": False})
    assert asking.ask("POST", ORDERS, order())[0] == 409
    assert asking.ask("DELETE", f"{ORDERS}/{resting}")[0] == 200
    assert asking.tell("/maintenance", {"is_on": True})[1]["exchange_active"] is False
    assert asking.ask("POST", ORDERS, order())[0] == 503
    assert asking.tell("/maintenance", {"is_on": False, "lowers_clock": True})[0] == 200
    assert asking.tell("/trading", {"is_on": True})[1] == {"exchange_active": True, "trading_active": True}
    assert asking.tell("/trading", {"is_off": True})[0] == 400


def test_faults_are_named_in_json_and_wrong_ones_explained() -> None:
    asking = trader()
    status, body = asking.tell("/faults", [{"kind": "drop", "number": 3}, {"kind": "stall_reads", "seconds": 2}])
    assert (status, [each["connections"] for each in body["faults"]]) == (200, [0, 0])
    status, body = asking.tell("/faults", {"kind": "catch fire"})
    assert (status, "there are drop" in body["message"]) == (400, True)
    assert asking.tell("/faults", None)[0] == 400
    assert asking.tell("/disconnect") == (204, None)
    for code in (99, 1005, 1006, 5000):
        assert asking.tell("/disconnect", {"code": code})[0] == 400
    assert asking.tell("/disconnect", {"reason": "x" * 31})[0] == 400


def test_the_simulator_counts_requests() -> None:
    asking = trader()
    asking.ask("POST", ORDERS)
    answer = asking.service.answer(Heard("GET", "/sim/statistics", (), b""))
    assert answer.body == {"rest": {"requests": 2, "refused": 1, "throttled": 0}}


def test_a_key_without_the_scope_reads_nothing_private() -> None:
    asking = trader()
    assert asking.tell("/settings", {"keys_without_read": [SIGNER.key_id]})[0] == 200
    assert asking.ask("GET", "/portfolio/orders")[0] == 403
    assert asking.ask("GET", "/markets")[0] == 200
    assert asking.ask("POST", ORDERS, order())[0] == 201


def test_a_key_without_the_scope_writes_nothing() -> None:
    asking = trader()
    resting = placed(asking)["order_id"]
    assert asking.tell("/settings", {"keys_without_write": [SIGNER.key_id]})[0] == 200
    assert asking.ask("POST", ORDERS, order()) == (
        403,
        {"code": "permission_denied", "message": "the key lacks the scope write"},
    )
    assert asking.ask("DELETE", f"{ORDERS}/{resting}")[0] == 403
    assert len(read(asking, "/portfolio/orders?status=resting")["orders"]) == 1
    assert asking.tell("/settings", {"keys_without_write": []})[0] == 200
    assert asking.ask("DELETE", f"{ORDERS}/{resting}")[0] == 200


ROUTES = [*service._ROUTES, *service.SIMULATOR_ROUTES]
WORDS = st.sampled_from(["", "1", "0", "-1", "true", TICKER, "KXSIM-1", "KXSIM", "open", "resting", "yes", "9" * 18])
VALUES = st.one_of(WORDS, st.text(max_size=8))
NAMES = st.sampled_from(
    [
        "limit",
        "cursor",
        "ticker",
        "tickers",
        "market_tickers",
        "status",
        "depth",
        "min_ts",
        "max_close_ts",
        "start_ts",
        "end_ts",
        "period_interval",
        "count_filter",
    ]
)
BODIES = (CreateBody, AmendBody, DecreaseBody, Batch, CancelBody, control.Determine, control.MoveClose)
FIELDS = st.sampled_from(
    sorted({"kind", "is_on", "fee_type", *(name for body in BODIES for name in body.__struct_fields__)})
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), VALUES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(ROUTES), VALUES, st.dictionaries(NAMES, VALUES, max_size=3), JSON, st.dictionaries(FIELDS, JSON))
def test_nothing_that_is_asked_breaks_it(route: Any, name: str, query: Body, body: object, change: Body) -> None:
    asking = trader()
    path = "/".join(quote(name, safe="") if part.startswith("<") else part for part in route.path.split("/"))
    path += f"?{urlencode(query)}"
    given_body = order() | change if "orders" in route.path and change else body
    if route in service.SIMULATOR_ROUTES:
        status = asking.tell(path, given_body)[0]
    else:
        status = asking.ask(route.method, path, given_body)[0]
    assert status in {200, 201, 204, 400, 404, 405, 409, 410, 429, 503}
