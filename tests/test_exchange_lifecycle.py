"""The lives of simulated markets: by the clock, on request, and what is said of them (protocol 5.3 and 8)."""

import json
from fractions import Fraction
from itertools import pairwise

import pytest

from rlflow.exchange.markets import market_life
from rlflow.exchange.markets.listing import Horizon, event_ticker_of
from rlflow.exchange.markets.market_life import IllegalStepError
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.markets.venue import VenueSpec
from rlflow.exchange.markets.venue_control import UnknownMarketError
from rlflow.exchange.matching.orders import AmendRequest, OrderRefusedError, OrderRequest
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Item
from rlflow.fees import FeeModel
from tests.venue_driver import SECOND_NS, START_NS, Driven, Follower, body, frame, levels, room

NAMED = "KXSIM-27JAN01-A"
SHORT = SeriesSpec("KXS", 4)
HOUR_NS = 3_600 * SECOND_NS


def series(spec: SeriesSpec = SHORT, *, rate: float = 200.0, seed: int = 1) -> Driven:
    return Driven(VenueSpec(series=(spec,), rate=rate, seed=seed))


def named(*tickers: str, rate: float = 200.0) -> Driven:
    return Driven(VenueSpec(tickers or (NAMED,), rate=rate))


def lifecycle(driven: Driven, ticker: str) -> list[dict[str, object]]:
    said = (item for item in driven.items if item.channel == "market_lifecycle_v2")
    return [body(item) for item in said if item.ticker == ticker]


# By the clock


def test_a_market_of_a_series_lives_from_creation_to_payment() -> None:
    driven = series()
    ticker = "KXS-26NOV22000008-1"
    listing = driven.venue.listings[ticker]
    seen = [(listing.status, driven.now_ns)]
    while listing.status != "finalized":
        driven.run(0.05)
        if listing.status != seen[-1][0]:
            seen.append((listing.status, driven.now_ns))
    assert [status for status, _ in seen] == ["initialized", "active", "closed", "determined", "finalized"]
    at = {status: at_ns - START_NS // SECOND_NS * SECOND_NS for status, at_ns in seen}
    assert 4.0 * SECOND_NS <= at["active"] <= 4.1 * SECOND_NS
    assert 8.0 * SECOND_NS <= at["closed"] <= 8.1 * SECOND_NS
    assert at["determined"] - at["closed"] >= 0.4 * SECOND_NS
    assert at["finalized"] - at["determined"] >= 0.9 * SECOND_NS
    # Opening and closing are silent.
    assert driven.events(ticker) == ["created", "determined", "settled"]
    determined = lifecycle(driven, ticker)[1]
    assert determined["result"] == listing.result
    assert determined["settlement_value"] == ("1.0000" if listing.result == "yes" else "0.0000")


def test_the_creation_says_everything_about_the_market_and_its_event_comes_first() -> None:
    driven = series()
    said = [frame(item) for item in driven.take("market_lifecycle_v2")]
    assert [each["type"] for each in said] == ["event_lifecycle", "market_lifecycle_v2"] * 2
    event, created = said[2]["msg"], said[3]["msg"]
    assert event["event_ticker"] == "KXS-26NOV22000008"
    assert event["series_ticker"] == "KXS"
    assert created["market_ticker"] == "KXS-26NOV22000008-1"
    assert created["open_ts"] == 1_795_305_604
    assert created["close_ts"] == 1_795_305_608
    assert created["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    metadata = created["additional_metadata"]
    assert metadata["event_ticker"] == event["event_ticker"]
    assert metadata["strike_type"] == "greater_or_equal"
    assert {"name", "title", "yes_sub_title", "no_sub_title", "rules_primary", "rules_secondary"} <= metadata.keys()


def test_books_begin_empty_are_filled_by_deltas_and_emptied_by_deltas_of_one_action() -> None:
    driven, follower = series(), Follower()
    driven.run(30)
    items = driven.take(ORDERBOOK)
    follower.follow(items)
    settled = [each for each in driven.venue.listings.values() if each.status == "finalized"]
    assert len(settled) >= 6
    for listing in settled:
        assert follower.books[listing.ticker] == levels(driven.venue.image(listing.ticker)) == {"yes": {}, "no": {}}
    # The first market's opening was before anybody could hear it: all deltas of the second one.
    msgs = [body(item) for item in items if item.ticker == "KXS-26NOV22000008-1"]
    assert all(int(float(msg["delta_fp"])) >= 0 for msg in msgs[:10])
    assert "side" not in msgs[-1]
    drain = [msg for msg in msgs[:-1] if msg["clock"] == msgs[-2]["clock"]]
    assert len(drain) > 20
    assert all(msg["delta_fp"].startswith("-") for msg in drain)
    assert {msg["ts_ms"] for msg in drain} == {drain[0]["ts_ms"]}
    closed = driven.venue.listings["KXS-26NOV22000008-1"].closed_ns
    assert closed is not None
    assert 0.3 <= drain[0]["ts_ms"] / 1000 - closed / 1e9 <= 0.6
    # Between the close and that nothing moves.
    assert all(msg["ts_ms"] * 10**6 <= closed or msg in drain for msg in msgs[:-1])


def test_change_overs_leave_no_hole_and_the_lists_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_life, "_KEPT_LISTINGS", 20)
    driven = Driven(VenueSpec(series=(SeriesSpec("KXS", 10),), rate=2))
    for _ in range(390):
        driven.run(10)
        driven.take()
        assert sum(each.is_tradable for each in driven.venue.listings.values()) == 1
    assert 359 <= len(driven.venue._floor.markets) <= 366
    assert len(driven.venue.listings) == len(driven.venue._floor.markets) + 20
    assert len(driven.venue.events()) == len(driven.venue.listings)
    assert all(each.status == "finalized" for each in list(driven.venue.listings.values())[:375])


def test_a_market_that_was_paid_out_loses_its_trades_then_its_sheet_and_the_horizon_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(market_life, "_KEPT_LISTINGS", 1)
    driven = named(NAMED, "KXSIM-27JAN02-A", "KXSIM-27JAN02-B").run(20)
    venue, control = driven.venue, driven.venue.control
    assert venue.horizon() == Horizon()
    traded = {ticker: [each.at_ns for each in venue.trades(ticker)] for ticker in venue.listings}
    assert all(traded.values())
    settled: list[int] = []
    for ticker in (NAMED, "KXSIM-27JAN02-A"):
        control.determine(ticker, "yes", driven.now_ns)
        driven.run(2)
        settled.append(venue.listings[ticker].settled_ns or 0)
        driven.take()
    venue.keep_time(settled[0] + HOUR_NS)
    assert [*venue.trades(NAMED), *venue.candles(NAMED, 1)] == []
    assert venue.listings[NAMED].result == "yes"
    assert venue.ticker_of(venue.listings[NAMED].sheet.market_id) is None
    assert venue.horizon() == Horizon(0, traded[NAMED][0] // 10**6 * 10**6 + 10**6)
    with pytest.raises(IllegalStepError, match="finalized"):
        control.determine(NAMED, "no", driven.now_ns)
    control.set_event_fees("KXSIM-27JAN01", "flat", None, driven.now_ns)
    venue.keep_time(settled[1] + HOUR_NS)
    assert set(venue.listings) == {"KXSIM-27JAN02-A", "KXSIM-27JAN02-B"}
    assert set(venue.events()) == {"KXSIM-27JAN02"}
    assert venue.horizon().settled_ns == settled[0] // 10**6 * 10**6 + 10**6
    with pytest.raises(UnknownMarketError):
        control.determine(NAMED, "no", driven.now_ns)


def test_trades_beyond_the_last_three_thousand_of_a_market_lie_behind_the_horizon() -> None:
    driven = named(rate=2_000)
    while not driven.venue.horizon().traded_ns:
        driven.run(10)
        driven.take()
    kept = [each.at_ns for each in driven.venue.trades(NAMED)]
    assert len(kept) == 3_000
    assert kept[-1] - SECOND_NS < driven.venue.horizon().traded_ns <= kept[-1] + 10**6


def test_the_result_follows_the_price_at_the_close() -> None:
    driven = Driven(VenueSpec(series=(SeriesSpec("KXS", 60),), rate=66.7))
    last: dict[str, int] = {}
    while len(last) < 8 or any(driven.venue.listings[ticker].result == "" for ticker in list(last)[:8]):
        driven.run(1)
        driven.take()
        for listing in driven.venue.listings.values():
            if listing.is_tradable:
                image = driven.venue.image(listing.ticker)
                best_yes, best_no = (max(dict(side), default=0) for side in (image.yes, image.no))
                last[listing.ticker] = best_yes + 10_000 - best_no
    agreeing = [
        (last[ticker] >= 10_000) == (driven.venue.listings[ticker].result == "yes") for ticker in list(last)[:8]
    ]
    assert sum(agreeing) >= 7


def test_who_slept_for_long_finds_the_present_markets_alone() -> None:
    driven = series()
    driven.venue.keep_time(START_NS + 3_600 * SECOND_NS)
    assert len(driven.venue.listings) < 20
    assert [each.ticker for each in driven.venue.listings.values() if each.is_tradable] == ["KXS-26NOV22010004-1"]


def test_the_same_seed_and_times_give_the_same_bytes() -> None:
    def run(seed: int) -> list[tuple[bytes, bytes]]:
        driven = Driven(VenueSpec((NAMED,), (SHORT,), seed, 100.0)).run(10)
        return [(item.head, item.tail) for item in driven.items]

    assert run(1) == run(1)
    assert run(1) != run(2)


# On request


def test_a_paused_market_stands_still_and_starts_again_from_an_empty_book() -> None:
    driven, follower = named(), Follower()
    follower.follow(driven.run(2).take(ORDERBOOK))
    placed = driven.venue.place("key", OrderRequest(NAMED, "bid", 100, 500), driven.now_ns)
    driven.venue.control.pause(NAMED, driven.now_ns)
    assert driven.events(NAMED) == ["deactivated"]
    assert lifecycle(driven, NAMED)[0]["is_deactivated"] is True
    image = driven.venue.image(NAMED)
    follower.follow(driven.run(5).take(ORDERBOOK))
    assert driven.venue.image(NAMED) == image
    with pytest.raises(OrderRefusedError):
        driven.venue.place("key", OrderRequest(NAMED, "bid", 100, 500), driven.now_ns)
    driven.venue.control.unpause(NAMED, driven.now_ns)
    assert driven.events(NAMED) == ["activated"]
    changes = [body(item) for item in driven.items if item.channel == ORDERBOOK]
    first_clock = changes[0]["clock"]
    emptied = sum(len(side) for side in levels(image).values())
    assert sum(msg["clock"] == first_clock for msg in changes) >= emptied
    follower.follow(driven.run(2).take(ORDERBOOK))
    assert follower.books[NAMED] == levels(driven.venue.image(NAMED))
    assert room(follower.books[NAMED]) > 0
    assert driven.venue.engine.account("key").orders[placed.order.order_id].status == "canceled"
    assert driven.venue.listings[NAMED].status == "active"


def test_an_early_close_is_announced_and_then_all_goes_its_way() -> None:
    driven = named()
    driven.run(1)
    driven.venue.control.close_early(NAMED, driven.now_ns)
    assert driven.venue.listings[NAMED].status == "closed"
    assert lifecycle(driven, NAMED)[-1]["close_ts"] == driven.now_ns // SECOND_NS
    driven.run(20)
    assert driven.events(NAMED)[-3:] == ["close_date_updated", "determined", "settled"]
    assert not driven.venue.is_moving


def test_a_close_that_was_moved_is_not_where_it_was() -> None:
    driven = series(rate=50.0)
    ticker = "KXS-26NOV22000004-1"
    driven.venue.control.move_close(ticker, START_NS + 10 * SECOND_NS, driven.now_ns)
    assert lifecycle(driven, ticker)[-1]["close_ts"] == 1_795_305_610
    driven.run_until(START_NS + 9 * SECOND_NS)
    assert driven.venue.listings[ticker].status == "active"
    driven.run_until(START_NS + 10 * SECOND_NS)
    assert driven.venue.listings[ticker].status == "closed"


def test_a_closed_market_opens_again_when_its_close_is_moved() -> None:
    driven = named()
    driven.run(1)
    driven.venue.control.close_early(NAMED, driven.now_ns)
    driven.run(1).take()
    driven.venue.control.move_close(NAMED, driven.now_ns + 60 * SECOND_NS, driven.now_ns)
    assert driven.events(NAMED) == ["close_date_updated", "activated"]
    driven.run(30)
    assert driven.venue.listings[NAMED].status == "active"
    assert room(levels(driven.venue.image(NAMED))) > 0
    driven.run(60)
    assert driven.events(NAMED)[-2:] == ["determined", "settled"]


def test_a_result_can_be_given_changed_and_is_final_once_paid() -> None:
    driven = named()
    driven.venue.place("key", OrderRequest(NAMED, "bid", 9_900, 1_000), driven.now_ns)
    driven.venue.control.determine(NAMED, "yes", driven.now_ns)
    assert driven.events(NAMED)[-2:] == ["close_date_updated", "determined"]
    driven.run(0.5)
    driven.venue.control.determine(NAMED, "scalar", driven.now_ns, value=2_500)
    driven.run(0.6)
    assert driven.venue.listings[NAMED].status == "determined"
    driven.run(0.5)
    listing = driven.venue.listings[NAMED]
    assert (listing.status, listing.result, listing.settlement_value) == ("finalized", "scalar", 2_500)
    assert [each.revenue for each in driven.venue.engine.account("key").settlements] == [2_500_000]
    with pytest.raises(IllegalStepError, match="finalized"):
        driven.venue.control.determine(NAMED, "no", driven.now_ns)


def test_steps_that_the_status_does_not_allow_change_nothing() -> None:
    driven = named()
    driven.take()
    control, now_ns = driven.venue.control, driven.now_ns
    with pytest.raises(UnknownMarketError):
        control.pause("KXSIM-NONE", now_ns)
    with pytest.raises(IllegalStepError):
        control.unpause(NAMED, now_ns)
    with pytest.raises(IllegalStepError, match="ahead"):
        control.move_close(NAMED, now_ns - SECOND_NS, now_ns)
    with pytest.raises(IllegalStepError, match="value"):
        control.determine(NAMED, "scalar", now_ns)
    with pytest.raises(IllegalStepError, match="structure"):
        control.set_price_structure(NAMED, "no_cent", now_ns)
    with pytest.raises(IllegalStepError, match="cannot be changed"):
        control.set_metadata(NAMED, now_ns, title="x")
    with pytest.raises(IllegalStepError):
        control.set_event_fees("KXSIM-27JAN01", "free", None, now_ns)
    with pytest.raises(IllegalStepError):
        control.set_series_fees("KXNONE", FeeModel(), now_ns, now_ns)
    assert driven.items == []


def test_ticks_and_metadata_change_while_the_market_trades() -> None:
    driven = named()
    driven.venue.control.set_price_structure(NAMED, "deci_cent", driven.now_ns)
    driven.venue.control.set_metadata(NAMED, driven.now_ns, yes_sub_title="New", floor_strike=3.5)
    ticks, metadata = lifecycle(driven, NAMED)[-2:]
    assert ticks["price_level_structure"] == "deci_cent"
    assert ticks["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    assert metadata == {
        "market_ticker": NAMED,
        "event_type": "metadata_updated",
        "yes_sub_title": "New",
        "floor_strike": 3.5,
    }
    assert driven.venue.listings[NAMED].sheet.yes_sub_title == "New"
    prices = {body(item)["price_dollars"] for item in driven.run(20).take(ORDERBOOK)}
    assert any(not price.endswith("00") for price in prices)


def test_fees_of_events_are_told_and_those_of_series_come_when_announced() -> None:
    driven = named()
    driven.take()
    control = driven.venue.control

    def fee() -> int:
        best_no = max(price for price, _ in driven.venue.image(NAMED).no)
        order = OrderRequest(NAMED, "bid", 10_000 - best_no, 10, "immediate_or_cancel")
        return driven.venue.place("key", order, driven.now_ns).order.taker_fees

    assert fee() > 0
    control.set_event_fees("KXSIM-27JAN01", None, Fraction(0), driven.now_ns)
    (said,) = driven.take("market_lifecycle_v2")
    assert frame(said)["type"] == "event_fee_update"
    assert body(said) == {
        "event_ticker": "KXSIM-27JAN01",
        "fee_type_override": None,
        "fee_multiplier_override": 0.0,
    }
    assert fee() == 0
    control.set_event_fees("KXSIM-27JAN01", None, None, driven.now_ns)
    control.set_series_fees("KXSIM", FeeModel("flat"), driven.now_ns + 2 * SECOND_NS, driven.now_ns)
    assert fee() > 0
    assert [change.fee_type for change in driven.venue.fee_changes()] == ["flat"]
    driven.run(2.1)
    assert fee() == 0
    assert driven.venue.series["KXSIM"].fee_type == "flat"


# What is said


def test_an_action_without_a_change_of_the_book_moves_no_clock() -> None:
    driven = named("KXSIM-A", "KXSIM-B", rate=1.0)
    venue, now_ns = driven.venue, driven.now_ns
    venue.place("key", OrderRequest("KXSIM-A", "bid", 100, 100), now_ns)
    clocks = {ticker: venue.image(ticker).clock for ticker in ("KXSIM-A", "KXSIM-B")}
    driven.take()
    gone = OrderRequest("KXSIM-A", "bid", 100, 100, time_in_force="immediate_or_cancel")
    assert venue.place("key", gone, now_ns).order.status == "canceled"
    (order,) = venue.account("key").all_resting()
    same = AmendRequest("KXSIM-A", "bid", 100, 100, updated_client_order_id="mine")
    venue.amend("key", order.view.order_id, same, now_ns)
    assert [item.channel for item in driven.take()] == ["user_orders"] * 2
    assert {ticker: venue.image(ticker).clock for ticker in clocks} == clocks
    venue.cancel("key", order.view.order_id, now_ns)
    changes = [body(item) for item in driven.take(ORDERBOOK)]
    assert [msg["clock"] for msg in changes] == [max(clocks.values()) + 1] == [venue.image("KXSIM-A").clock]


def test_a_payment_moves_no_clock() -> None:
    driven = named(rate=50.0)
    driven.venue.place("key", OrderRequest(NAMED, "bid", driven.venue.top(NAMED).ask, 100), driven.now_ns)
    driven.venue.control.determine(NAMED, "yes", driven.now_ns)
    clock = driven.venue.image(NAMED).clock
    assert [item.channel for item in driven.run(2).take() if item.account][-1] == "market_positions"
    assert driven.venue.listings[NAMED].status == "finalized"
    assert driven.venue.image(NAMED).clock == clock


def test_tickers_show_the_book_and_come_at_most_twice_a_second() -> None:
    driven = named("KXSIM-A", "KXSIM-B", rate=300.0)
    driven.run(10)
    tickers = [item for item in driven.items if item.channel == "ticker"]
    for name in ("KXSIM-A", "KXSIM-B"):
        times = [body(item)["ts_ms"] for item in tickers if item.ticker == name]
        assert len(times) > 10
        assert all(later - earlier >= 500 for earlier, later in pairwise(times))
    assert driven.run(30).items[-1].channel in {"ticker", ORDERBOOK, TRADE}
    driven.venue.control.set_trading(driven.now_ns, is_on=False)
    driven.run(2)
    for name in ("KXSIM-A", "KXSIM-B"):
        msg = body([item for item in driven.items if item.channel == "ticker" and item.ticker == name][-1])
        book = levels(driven.venue.image(name))
        assert msg["yes_bid_dollars"] == f"{max(book['yes']) / 10_000:.4f}"
        assert msg["yes_ask_dollars"] == f"{1 - max(book['no']) / 10_000:.4f}"
        assert float(msg["yes_bid_size_fp"]) * 100 == pytest.approx(book["yes"][max(book["yes"])])
        traded = sum(
            float(body(item)["count_fp"]) for item in driven.items if item.channel == TRADE and item.ticker == name
        )
        assert float(msg["volume_fp"]) == pytest.approx(traded)
        assert float(msg["volume_fp"]) == pytest.approx(sum(each.count for each in driven.venue.trades(name)) / 100)
    quote = driven.venue.quote("KXSIM-A")
    assert quote is not None
    assert body(quote)["market_ticker"] == "KXSIM-A"
    assert driven.venue.quote("KXSIM-NONE") is None


def test_a_ticker_comes_only_when_it_says_something_new() -> None:
    driven = named(rate=1.0)
    venue, top = driven.venue, driven.venue.top(NAMED)
    venue.keep_time(driven.now_ns + SECOND_NS)
    assert driven.take("ticker")
    # Far from the best prices, so that no field changes.
    venue.place("key", OrderRequest(NAMED, "bid", 100, 100), driven.now_ns + 2 * SECOND_NS)
    venue.keep_time(driven.now_ns + 3 * SECOND_NS)
    assert [item.channel for item in driven.take()] == [ORDERBOOK, "user_orders"]
    venue.place("key", OrderRequest(NAMED, "bid", top.bid, 100), driven.now_ns + 4 * SECOND_NS)
    venue.keep_time(driven.now_ns + 5 * SECOND_NS)
    (said,) = driven.take("ticker")
    assert float(body(said)["yes_bid_size_fp"]) * 100 == pytest.approx(top.bid_size + 100)


def test_two_tickers_of_a_market_in_succession_differ_by_more_than_their_times() -> None:
    driven = named("KXSIM-A", "KXSIM-B", rate=2.0)
    driven.run(120)
    for name in ("KXSIM-A", "KXSIM-B"):
        told = [body(item) for item in driven.items if item.channel == "ticker" and item.ticker == name]
        content = [
            {field: value for field, value in msg.items() if field not in {"ts", "ts_ms", "time"}} for msg in told
        ]
        assert len(content) > 5
        assert all(earlier != later for earlier, later in pairwise(content))


def test_a_fill_is_published_in_the_venues_order_and_to_its_account_alone() -> None:
    driven = named(rate=1.0)
    best_yes = max(price for price, _ in driven.venue.image(NAMED).yes)
    driven.take()
    order = OrderRequest(NAMED, "ask", best_yes, 100, client_order_id="mine")
    driven.venue.place("key", order, driven.now_ns)
    driven.venue.keep_time(driven.now_ns + SECOND_NS)
    channels = [item.channel for item in driven.items]
    assert channels == [ORDERBOOK, TRADE, "fill", "user_orders", "market_positions", "ticker"]
    delta, trade, fill, user_order, position, _ = (body(item) for item in driven.items)
    assert [item.account for item in driven.items] == ["", "", "key", "key", "key", ""]
    assert delta["delta_fp"] == "-1.00"
    assert "client_order_id" not in delta
    assert (driven.items[0].causer, driven.items[0].client_order_id) == ("key", "mine")
    assert trade["trade_id"] == fill["trade_id"]
    assert trade["taker_book_side"] == fill["book_side"] == "ask"
    assert fill["post_position_fp"] == position["position_fp"] == "-1.00"
    assert user_order["status"] == "executed"
    assert user_order["taker_fees_dollars"] == fill["fee_cost"] == position["fees_paid_dollars"]
    kinds = {frame(item)["type"] for item in driven.items}
    assert kinds >= {"fill", "user_order", "market_position"}


def test_the_crowd_fills_orders_of_accounts_and_the_books_agree() -> None:
    driven, follower = named(rate=300.0), Follower()
    fills: list[Item] = []
    for _ in range(30):
        image = driven.venue.image(NAMED)
        for side, ladder in (("bid", image.yes), ("ask", image.no)):
            best = max(price for price, _ in ladder)
            price = best if side == "bid" else 10_000 - best
            driven.venue.place("key", OrderRequest(NAMED, side, price, 200), driven.now_ns)  # type: ignore[arg-type]
        driven.run(3)
        driven.venue.cancel_all("key", driven.now_ns)
        items = driven.take()
        follower.follow(items)
        fills += [item for item in items if item.channel == "fill"]
        assert follower.books[NAMED] == levels(driven.venue.image(NAMED))
        assert room(follower.books[NAMED]) > 0
    assert any(not body(item)["is_taker"] for item in fills)
    trades = {each.trade_id for each in driven.venue.trades(NAMED)}
    assert {body(item)["trade_id"] for item in fills} <= trades
    assert len(trades) == len(list(driven.venue.trades(NAMED)))


def test_orders_expire_and_end_with_their_market() -> None:
    driven = series(rate=20.0)
    ticker = "KXS-26NOV22000004-1"
    expiring = OrderRequest(ticker, "bid", 100, 100, expiration_ns=START_NS + SECOND_NS)
    lasting = OrderRequest(ticker, "bid", 100, 100)
    first = driven.venue.place("key", expiring, driven.now_ns).order.order_id
    second = driven.venue.place("key", lasting, driven.now_ns).order.order_id
    orders = driven.venue.engine.account("key").orders
    driven.run_until(START_NS + SECOND_NS)
    assert (orders[first].status, orders[first].reason) == ("canceled", "ExpiryCancel")
    assert orders[second].status == "resting"
    driven.run_until(START_NS + 4 * SECOND_NS)
    with pytest.raises(OrderRefusedError, match="MARKET_INACTIVE"):
        driven.venue.cancel("key", second, driven.now_ns)
    driven.run(1)
    assert (orders[second].status, orders[second].reason) == ("canceled", "CloseCancel")


# The whole exchange


def test_maintenance_ends_connections_stops_everything_and_lowers_the_clock() -> None:
    driven = named()
    driven.run(5)
    before = driven.venue.image(NAMED)
    driven.venue.control.set_maintenance(driven.now_ns, is_on=True)
    assert driven.disconnects == 1
    assert not driven.venue.is_exchange_active
    assert not driven.venue.is_trading
    driven.take()
    assert driven.run(5).take(ORDERBOOK) == []
    with pytest.raises(OrderRefusedError, match="503"):
        driven.venue.place("key", OrderRequest(NAMED, "bid", 100, 100), driven.now_ns)
    driven.venue.control.set_maintenance(driven.now_ns, is_on=False)
    after = driven.venue.image(NAMED)
    assert (after.yes, after.no) == (before.yes, before.no)
    assert after.clock < before.clock
    clocks = [body(item)["clock"] for item in driven.run(5).take(ORDERBOOK)]
    assert clocks == sorted(clocks)
    assert after.clock < clocks[0] < before.clock


def test_a_trading_pause_takes_cancels_alone() -> None:
    driven = named()
    order = driven.venue.place("key", OrderRequest(NAMED, "bid", 100, 100), driven.now_ns).order
    driven.venue.control.set_trading(driven.now_ns, is_on=False)
    assert driven.run(3).venue.is_exchange_active
    with pytest.raises(OrderRefusedError, match="paused"):
        driven.venue.place("key", OrderRequest(NAMED, "bid", 100, 100), driven.now_ns)
    driven.venue.cancel("key", order.order_id, driven.now_ns)
    driven.venue.control.set_trading(driven.now_ns, is_on=True)
    driven.take()
    assert driven.run(3).take(ORDERBOOK)


def test_either_pause_of_the_exchange_cancels_the_orders_that_asked_for_it() -> None:
    for switch_off in ("trading", "maintenance"):
        driven, follower = named("KXSIM-A", "KXSIM-B", rate=1.0), Follower()
        control = driven.venue.control
        ids = [
            driven.venue.place(key, OrderRequest(ticker, "bid", 100, 100, cancel_on_pause=asks), driven.now_ns).order
            for ticker in ("KXSIM-A", "KXSIM-B")
            for key in ("ann", "bob")
            for asks in (True, False)
        ]
        at_ns = driven.now_ns + SECOND_NS
        if switch_off == "trading":
            control.set_trading(at_ns, is_on=False)
        else:
            control.set_maintenance(at_ns, is_on=True)
        orders = [driven.venue.account(order.account).orders[order.order_id] for order in ids]
        assert [order.status for order in orders] == ["canceled", "resting"] * 4
        assert {order.reason for order in orders if order.cancel_on_pause} == {"HaltCancel"}
        assert {order.updated_ns for order in orders if order.cancel_on_pause} == {at_ns}
        follower.follow(driven.items)
        assert follower.books == {ticker: levels(driven.venue.image(ticker)) for ticker in follower.books}
        told = [body(item) for item in driven.items if item.channel == "user_orders" and item.account == "ann"]
        assert [msg["status"] for msg in told] == ["resting"] * 4 + ["canceled"] * 2
        assert driven.disconnects == (switch_off == "maintenance")


def additions(driven: Driven) -> list[Item]:
    return [item for item in driven.take(ORDERBOOK) if not body(item).get("delta_fp", "-").startswith("-")]


def test_a_market_that_opens_while_trading_is_paused_is_filled_when_it_goes_on() -> None:
    driven = series(SeriesSpec("KXS", 30), rate=50.0)
    control = driven.venue.control
    control.set_trading(driven.now_ns, is_on=False)
    driven.take()
    driven.run_until(START_NS + 31 * SECOND_NS)
    (ticker,) = (each.ticker for each in driven.venue.listings.values() if each.is_tradable)
    assert additions(driven) == []
    with pytest.raises(OrderRefusedError, match="paused"):
        driven.venue.place("key", OrderRequest(ticker, "bid", 100, 100), driven.now_ns)
    control.set_trading(driven.now_ns, is_on=True)
    with pytest.raises(OrderRefusedError, match="MARKET_INACTIVE"):
        # Until the crowd is there; on an empty book its first orders would cross those of others.
        driven.venue.place("key", OrderRequest(ticker, "bid", 9_900, 100), driven.now_ns)
    driven.run(1)
    assert {item.ticker for item in additions(driven)} == {ticker}
    assert room(levels(driven.venue.image(ticker))) > 0
    assert driven.venue.place("key", OrderRequest(ticker, "bid", 100, 100), driven.now_ns).order.status == "resting"


@pytest.mark.parametrize("way", ["unpause", "reopen"])
def test_no_order_comes_while_trading_is_paused_whatever_is_done_to_a_market(way: str) -> None:
    driven = named(rate=50.0)
    control = driven.venue.control
    driven.run(1)
    control.set_trading(driven.now_ns, is_on=False)
    if way == "unpause":
        control.pause(NAMED, driven.now_ns)
        driven.take()
        control.unpause(NAMED, driven.now_ns)
    else:
        control.close_early(NAMED, driven.now_ns)
        driven.take()
        control.move_close(NAMED, driven.now_ns + 60 * SECOND_NS, driven.now_ns)
    assert driven.venue.listings[NAMED].status == "active"
    assert additions(driven.run(2)) == []
    assert levels(driven.venue.image(NAMED)) == {"yes": {}, "no": {}}
    control.set_trading(driven.now_ns, is_on=True)
    control.set_trading(driven.now_ns, is_on=False)
    assert additions(driven.run(1)) == []
    control.set_trading(driven.now_ns, is_on=True)
    assert additions(driven.run(1)) != []


def test_a_market_that_opens_and_closes_during_maintenance_never_gets_an_order() -> None:
    driven = series()
    control = driven.venue.control
    control.set_maintenance(driven.now_ns, is_on=True)
    driven.take()
    driven.run(9)
    control.set_maintenance(driven.now_ns, is_on=False)
    assert {item.ticker for item in additions(driven.run(1))} == {"KXS-26NOV22000012-1"}


def test_what_is_listed_is_found_by_name_and_by_id() -> None:
    driven = Driven(VenueSpec((NAMED, "KXSIM-27JAN01-B"), (SHORT,)))
    assert list(driven.venue.series) == ["KXSIM", "KXS"]
    assert [*driven.venue.events()] == ["KXSIM-27JAN01", "KXS-26NOV22000004", "KXS-26NOV22000008"]
    for ticker, listing in driven.venue.listings.items():
        assert driven.venue.ticker_of(listing.sheet.market_id) == ticker
        assert listing.sheet.event_ticker in driven.venue.events()
        assert listing.sheet.event_ticker == event_ticker_of(ticker)
        assert driven.venue.events()[listing.sheet.event_ticker].series_ticker in driven.venue.series
    assert driven.venue.ticker_of("") is None
    for each in (driven.venue.listings, driven.venue.events()):
        numbers = [listed.number for listed in each.values()]
        assert numbers == sorted(set(numbers))
    assert json.loads(json.dumps(driven.venue.listings[NAMED].sheet.strike())) == {}
