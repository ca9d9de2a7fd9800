"""The simulated markets: possible books, plausible flow, the same bytes for the same seed."""

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Image, Item
from rlflow.units import complement, parse_count, parse_price
from tests.venue_driver import START_NS, apply, body, levels, room

TICKERS = ("KXSIM-A", "KXSIM-B", "KXSIM-C")


def simulate(tickers: tuple[str, ...] = TICKERS, seed: int = 1) -> Venue:
    return Venue(VenueSpec(tickers, seed=seed, rate=1.0), START_NS)


def step(venue: Venue, at_ns: int) -> list[Item]:
    """Return the next action's publications; now and then an action has none."""
    items: list[Item] = []
    while not items:
        items = venue.act(at_ns)
    return items


def groups(venue: Venue, count: int) -> list[list[dict[str, Any]]]:
    return [[body(item) for item in step(venue, START_NS + n * 1_000_000)] for n in range(count)]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_books_followed_by_deltas_equal_the_venues_and_stay_possible(seed: int) -> None:
    venue = simulate(TICKERS, seed)
    books = {ticker: levels(venue.image(ticker)) for ticker in TICKERS}
    last_clock = max(venue.image(ticker).clock for ticker in TICKERS)
    for group in groups(venue, 1_500):
        (ticker,) = {msg["market_ticker"] for msg in group}
        changes = [msg for msg in group if "side" in msg]
        assert {msg["clock"] for msg in changes} == {last_clock + 1}
        last_clock += 1
        for msg in changes:
            apply(books[ticker], msg)
        assert room(books[ticker]) >= 100
        assert all(5 <= len(side) <= 85 for side in books[ticker].values())
    for ticker in TICKERS:
        assert levels(venue.image(ticker)) == books[ticker]
    assert venue.image("KXSIM-NONE") == Image("KXSIM-NONE")


def test_every_trade_takes_exactly_its_count_from_the_makers_level_in_its_own_group() -> None:
    trades = 0
    for group in groups(simulate(TICKERS, 3), 8_000):
        taken = Counter[tuple[str, int]]()
        for msg in group:
            if "trade_id" in msg:
                maker = "no" if msg["taker_outcome_side"] == "yes" else "yes"
                yes_price = parse_price(msg["yes_price_dollars"])
                assert parse_price(msg["no_price_dollars"]) == complement(yes_price)
                assert msg["taker_book_side"] == ("bid" if msg["taker_side"] == "yes" else "ask")
                taken[maker, yes_price if maker == "yes" else complement(yes_price)] += parse_count(msg["count_fp"])
                trades += 1
        changed = {
            (m["side"], parse_price(m["price_dollars"])): -parse_count(m["delta_fp"]) for m in group if "side" in m
        }
        assert not taken or all(changed[level] == count for level, count in taken.items())
    assert trades > 100


def test_books_cross_now_and_then_within_a_group_but_never_behind_one() -> None:
    venue = simulate(TICKERS[:1], 5)
    book = levels(venue.image(TICKERS[0]))
    narrowest = Counter[str]()
    for group in groups(venue, 20_000):
        for msg in group:
            if "side" in msg:
                apply(book, msg)
                narrowest["crossed" if room(book) < 0 else "locked" if room(book) == 0 else "apart"] += 1
        assert room(book) > 0
    assert narrowest["crossed"] > 2
    assert narrowest["locked"] > 2


def test_the_mix_is_like_the_recorded_one() -> None:
    venue = simulate(TICKERS, 7)
    items = [item for n in range(20_000) for item in step(venue, START_NS + n)]
    kinds = Counter(item.channel for item in items)
    assert 0.015 < kinds[TRADE] / len(items) < 0.04
    counts = [body(item)["delta_fp"] for item in items[:6_000] if item.channel == ORDERBOOK]
    fractional = sum(not count.endswith(".00") for count in counts) / len(counts)
    assert 0.1 < fractional < 0.35
    prices = {body(item)["price_dollars"] for item in items if item.ticker == "KXSIM-C" and item.channel == ORDERBOOK}
    assert any(not price.endswith("00") for price in prices)
    assert all(price.endswith("00") or price < "0.1000" for price in prices)


def test_gaps_have_the_mean_of_the_rate_and_a_heavy_tail() -> None:
    venue = simulate(TICKERS, 11)
    messages, gaps = 0, []
    for n in range(60_000):
        messages += len(venue.act(START_NS + n))
        gaps.append(venue.gap_s())
    assert sum(gaps) / messages == pytest.approx(1.0, rel=0.15)
    gaps.sort()
    assert gaps[30_000] < 0.65
    assert gaps[59_400] > 8


def test_the_same_seed_and_times_give_the_same_bytes_and_another_seed_others() -> None:
    def run(seed: int) -> list[tuple[bytes, bytes]]:
        venue = simulate(TICKERS, seed)
        return [(item.head, item.tail) for n in range(300) for item in step(venue, START_NS + n * 10**6)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_trade_ids_are_distinct() -> None:
    trades = [msg["trade_id"] for group in groups(simulate(TICKERS, 3), 5_000) for msg in group if "trade_id" in msg]
    assert len(set(trades)) == len(trades)


def test_any_ticker_makes_a_readable_frame() -> None:
    venue = simulate(('a "quoted" \\ one', "über") * 2, 3)
    assert {msg["market_ticker"] for group in groups(venue, 500) for msg in group} == {
        'a "quoted" \\ one',
        "über",
    }


def test_times_are_those_given() -> None:
    msgs = list(itertools.chain(*groups(simulate(TICKERS, 3), 1)))
    assert {(msg["ts"], msg["ts_ms"]) for msg in msgs} == {("2026-11-22T00:00:00.119Z", 1_795_305_600_119)}


def test_draws_depend_on_the_seed_alone() -> None:
    first, second = Draws("seed"), Draws("seed")
    assert [first.normal() for _ in range(50)] == [second.normal() for _ in range(50)]
