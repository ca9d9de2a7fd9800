"""Which markets are followed, and when that changes: the roster against a plain reading of its rule."""

import json
import math
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.kalshi.lifecycle import MarketEvent
from rlflow.kalshi.roster import SECOND, Followed, Margins, Roster
from rlflow.kalshi.sheets import MarketSheet

NOW = 1_795_305_600 * SECOND
MARGINS = Margins()


def seconds(count: float) -> int:
    return NOW + round(count * SECOND)


def created(ticker: str, open_s: int, close_s: int) -> MarketEvent:
    """An event about a market that opens and closes so many seconds from NOW."""
    base = NOW // SECOND
    return MarketEvent(ticker, "created", open_ts=base + open_s, close_ts=base + close_s)


def sheet(ticker: str, status: str, open_s: int, close_s: int) -> MarketSheet:
    times = {
        name: datetime.fromtimestamp(NOW // SECOND + moment, UTC).isoformat().replace("+00:00", "Z")
        for name, moment in (("open_time", open_s), ("close_time", close_s))
    }
    body = {"ticker": ticker, "event_ticker": ticker.rpartition("-")[0], "status": status, **times}
    return MarketSheet.from_json(json.dumps(body).encode())


def of_series(*events: MarketEvent) -> Roster:
    roster = Roster((), ("KXS",))
    for event in events:
        roster.hear(event, NOW)
    return roster


def test_named_markets_are_followed_always_and_in_order() -> None:
    roster = Roster(("KXB-1", "KXA-1", "KXB-1"))
    for event_type in ("determined", "settled"):
        roster.hear(MarketEvent("KXA-1", event_type), NOW)
    assert roster.followed(seconds(10_000_000)) == ("KXB-1", "KXA-1")
    assert [market.status for market in roster.markets(NOW)] == ["unknown", "settled"]


def test_a_market_of_a_series_is_followed_from_before_its_opening_until_it_is_settled() -> None:
    roster = of_series(created("KXS-1", 600, 1500))
    assert roster.followed(seconds(539.9)) == ()
    assert roster.next_change_ns(NOW) == seconds(540)
    assert roster.followed(seconds(540)) == ("KXS-1",)
    roster.hear(MarketEvent("KXS-1", "determined"), seconds(1510))
    assert roster.followed(seconds(1510)) == ("KXS-1",)
    roster.hear(MarketEvent("KXS-1", "settled"), seconds(1515))
    assert roster.followed(seconds(1524.9)) == ("KXS-1",)
    assert roster.next_change_ns(seconds(1515)) == seconds(1525)
    assert roster.followed(seconds(1525)) == ()


def test_a_market_whose_settlement_nobody_tells_is_left_a_while_after_its_close() -> None:
    roster = of_series(created("KXS-1", 0, 900))
    assert roster.followed(seconds(900 + 899)) == ("KXS-1",)
    assert roster.followed(seconds(900 + 900)) == ()


def test_markets_of_other_series_do_not_count() -> None:
    roster = of_series()
    assert not roster.hear(created("KXS15-1", 0, 9), NOW)
    assert not roster.hear(created("KXT-1", 0, 9), NOW)
    assert roster.hear(created("KXS-1", 0, 9), NOW)
    assert roster.followed(NOW) == ("KXS-1",)


def test_a_rest_list_of_a_series_knows_better_than_its_tickers() -> None:
    roster = of_series()
    roster.learn([sheet("ODD-1", "active", -5, 60)], NOW, series="KXS")
    roster.learn([sheet("ODD-2", "active", -5, 60)], NOW)
    assert roster.followed(NOW) == ("ODD-1",)


def test_a_moved_close_moves_the_end() -> None:
    roster = of_series(created("KXS-1", 0, 900))
    roster.hear(MarketEvent("KXS-1", "close_date_updated", close_ts=NOW // SECOND + 5000), seconds(100))
    assert roster.markets(seconds(4999))[0].status == "open"
    assert roster.followed(seconds(5899)) == ("KXS-1",)


def test_a_closed_market_may_be_opened_again() -> None:
    roster = of_series(created("KXS-1", 0, 900))
    roster.hear(MarketEvent("KXS-1", "determined"), seconds(800))
    assert roster.markets(seconds(850))[0].status == "determined"
    roster.hear(MarketEvent("KXS-1", "close_date_updated", close_ts=NOW // SECOND + 5000), seconds(860))
    roster.hear(MarketEvent("KXS-1", "activated", is_deactivated=False), seconds(861))
    assert roster.markets(seconds(862))[0].status == "open"


def test_a_market_that_a_list_calls_active_again_is_followed_though_no_event_said_so() -> None:
    roster = of_series(created("KXS-1", 0, 900))
    roster.hear(MarketEvent("KXS-1", "determined"), seconds(100))
    roster.learn([sheet("KXS-1", "active", 0, 900)], seconds(130))
    assert roster.markets(seconds(130))[0].status == "determined", "the list trails"
    roster.learn([sheet("KXS-1", "active", 0, 5_000)], seconds(400))
    assert roster.markets(seconds(400))[0].status == "open"
    assert roster.followed(seconds(5_899)) == ("KXS-1",)


@pytest.mark.parametrize(("close_s", "status"), [(500, "closed"), (5_000, "open")])
def test_a_list_that_trails_does_not_move_a_close_back(close_s: int, status: str) -> None:
    roster = of_series(created("KXS-1", 0, 900))
    roster.hear(MarketEvent("KXS-1", "close_date_updated", close_ts=NOW // SECOND + close_s), seconds(500))
    roster.learn([sheet("KXS-1", "closed" if close_s > 900 else "active", 0, 900)], seconds(530))
    assert roster.markets(seconds(600))[0].status == status
    roster.learn([sheet("KXS-1", "active", 0, 7_000)], seconds(600))
    assert roster.markets(seconds(601))[0].status == "open"


@pytest.mark.parametrize("is_forgotten", [False, True])
@pytest.mark.parametrize("event_type", ["determined", "settled"])
def test_the_late_end_of_a_market_that_was_left_does_not_begin_it_again(event_type: str, is_forgotten: bool) -> None:
    roster = of_series(created("KXS-1", 0, 900))
    later = seconds(900 + 3_600)
    if is_forgotten:
        roster.forget_left(later)
    assert roster.hear(MarketEvent("KXS-1", event_type), later), "its data sheet is wanted"
    assert roster.followed(later) == ()


def test_a_market_that_was_removed_does_not_come_back_with_the_list_of_its_series() -> None:
    roster = Roster(("ODD-1",), ("KXS",))
    roster.remove(["ODD-1"])
    roster.learn([sheet("ODD-1", "active", 0, 900)], NOW, series="KXS")
    assert roster.followed(NOW) == ()


def test_a_paused_market_keeps_its_book() -> None:
    roster = of_series(created("KXS-1", 0, 900))
    roster.hear(MarketEvent("KXS-1", "deactivated", is_deactivated=True), NOW)
    [market] = roster.markets(NOW)
    assert (market.status, market.should_have_book) == ("paused", True)
    roster.learn([sheet("KXS-1", "active", 0, 900)], NOW)
    assert roster.markets(NOW)[0].status == "open"


@pytest.mark.parametrize(
    ("at_s", "status", "should_have_book"),
    [(-1, "unopened", False), (0, "open", True), (899, "open", True), (900, "closed", False)],
)
def test_opening_and_closing_need_no_word_of_the_venue(at_s: int, status: str, should_have_book: bool) -> None:
    [market] = of_series(created("KXS-1", 0, 900)).markets(seconds(at_s))
    assert market == Followed("KXS-1", "KXS", market.status, NOW, seconds(900))
    assert (market.status, market.should_have_book) == (status, should_have_book)


def test_what_was_settled_before_it_was_known_is_not_begun() -> None:
    roster = of_series()
    roster.learn([sheet("KXS-1", "finalized", -900, 100)], NOW)
    assert roster.followed(NOW) == ()


def test_markets_can_be_added_and_removed_by_hand() -> None:
    roster = Roster(("KXA-1",), ("KXS",))
    roster.hear(created("KXS-1", 0, 900), NOW)
    roster.name(["KXB-1"])
    roster.remove(["KXA-1", "KXS-1"])
    assert roster.followed(NOW) == ("KXB-1",)
    roster.hear(MarketEvent("KXS-1", "activated", is_deactivated=False), NOW)
    roster.learn([sheet("KXS-1", "active", 0, 900)], NOW, series="KXS")
    assert roster.followed(NOW) == ("KXB-1",)
    roster.name(["KXS-1"])
    assert roster.followed(NOW) == ("KXB-1", "KXS-1")


def test_the_foremost_market_is_the_first_named_else_the_open_one_that_closes_next() -> None:
    assert Roster(("KXB-1", "KXA-1"), ("KXS",)).foremost(NOW) == "KXB-1"
    roster = of_series(created("KXS-1", -10, 900), created("KXS-2", -10, 60), created("KXS-3", 30, 40))
    assert roster.foremost(NOW) == "KXS-2"
    assert roster.foremost(seconds(35)) == "KXS-3"
    assert roster.foremost(seconds(61)) == "KXS-1"
    assert of_series(created("KXS-2", 40, 60), created("KXS-1", 50, 60)).foremost(seconds(0)) == "KXS-2"
    assert of_series().foremost(NOW) is None


def test_what_opened_lately_is_known() -> None:
    roster = of_series(created("KXS-1", 10, 900), created("KXS-2", 20, 900))
    assert roster.opened_between(seconds(10), seconds(20)) == ("KXS-2",)


tickers = st.sampled_from(["KXS-1", "KXS-2", "KXN-1", "KXT-1"])
moments = st.integers(-3_000, 3_000)


@st.composite
def sayings(draw: st.DrawFn) -> tuple[float, MarketEvent]:
    kind = draw(st.sampled_from(["created", "close_date_updated", "determined", "settled", "activated", "deactivated"]))
    open_s = draw(moments)
    event = created(draw(tickers), open_s, open_s + draw(st.integers(1, 2_000)))
    if kind != "created":
        close_ts = event.close_ts if kind == "close_date_updated" else None
        event = MarketEvent(event.market_ticker, kind, close_ts=close_ts)
    return draw(st.integers(0, 3_000)), event


@given(st.lists(sayings(), max_size=12), st.lists(st.integers(0, 4_000), min_size=1, max_size=20))
def test_nothing_changes_before_the_next_change(said: list[tuple[float, MarketEvent]], later: list[int]) -> None:
    roster, last = Roster(("KXN-1",), ("KXS",)), 0.0
    for at_s, event in sorted(said, key=lambda one: one[0]):
        roster.hear(event, seconds(at_s))
        last = at_s
    now_ns = seconds(last)
    until = roster.next_change_ns(now_ns)
    assert until > now_ns
    for more in later:
        then = now_ns + more * SECOND
        if then < until:
            assert roster.markets(then) == roster.markets(now_ns)
    assert "KXN-1" in roster.followed(now_ns)
    assert "KXT-1" not in roster.followed(now_ns)


@given(open_s=moments, length_s=st.integers(1, 2_000), at_s=st.integers(0, 6_000))
def test_a_market_is_followed_at_every_moment_of_its_trading(open_s: int, length_s: int, at_s: int) -> None:
    roster = of_series(created("KXS-1", open_s, open_s + length_s))
    is_trading = open_s <= at_s < open_s + length_s
    assert not is_trading or roster.followed(seconds(at_s)) == ("KXS-1",)
    if roster.followed(seconds(at_s)):
        assert open_s - 60 <= at_s < open_s + length_s + 900


@given(st.permutations(["created", "sheet", "paused"]), moments, st.integers(100, 2_000))
def test_the_sources_may_speak_in_any_order(order: list[str], open_s: int, length_s: int) -> None:
    roster = of_series()
    for word in order:
        if word == "created":
            roster.hear(created("KXS-1", open_s, open_s + length_s), NOW)
        elif word == "sheet":
            roster.learn([sheet("KXS-1", "initialized", open_s, open_s + length_s)], NOW)
        else:
            roster.hear(MarketEvent("KXS-1", "deactivated", is_deactivated=True), NOW)
    expected = of_series(
        created("KXS-1", open_s, open_s + length_s), MarketEvent("KXS-1", "deactivated", is_deactivated=True)
    )
    assert roster.markets(NOW) == expected.markets(NOW)
    assert roster.next_change_ns(NOW) == expected.next_change_ns(NOW)


def test_markets_that_were_left_are_forgotten() -> None:
    roster = Roster(("KXN-1",), ("KXS",), attrs.evolve(MARGINS, lead_ns=0))
    for number in range(100):
        roster.hear(created(f"KXS-{number}", number * 60, number * 60 + 60), NOW)
    for minute in range(300):
        roster.forget_left(seconds(minute * 60))
    assert len(roster._markets) == 1
    assert roster.next_change_ns(seconds(18_000)) == math.inf
