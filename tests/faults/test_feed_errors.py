"""The venue's errors, and commands whose answers are late, lost or wrong: every book is there again soon."""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.feed import RATE, Feed, everywhere, hasty_feeding
from tests.faults.scene import MARKETS, scene
from tests.running import wait_for

CLOSED = everywhere("peer closed: fault on request")
SUBSCRIBE = {"command": "subscribe"}
ASK = {"command": "update_subscription"}


def test_a_dead_subscription_and_a_lost_answer_cost_one_gap_and_no_connection(
    tmp_path: Path, database_url: str
) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, hasty_feeding(world) as feed:
        a_subscription_that_dies_is_made_anew(feed)
        a_snapshot_that_is_asked_for_comes_whatever_becomes_of_the_command(feed)
        assert connections(feed) == 1


def a_subscription_that_dies_is_made_anew(feed: Feed) -> None:
    for kind, code in (("channel failure", 10), ("slow consumer", 25)):
        feed.strike({"kind": kind})
        feed.wait_well()
        assert feed.new_gaps() == everywhere(f"error {code}")
    feed.strike({"kind": "channel failure", "channel": "trade"})
    feed.assert_whole()


def a_snapshot_that_is_asked_for_comes_whatever_becomes_of_the_command(feed: Feed) -> None:
    for fault in (
        {"kind": "ignore", **ASK},
        {"kind": "late", "seconds": 1.5, **ASK},
        {"kind": "time out", **ASK},
        {"kind": "refusal", "code": 27, **ASK},
        {"kind": "no snapshot", "count": 3},
    ):
        feed.strike(fault, {"kind": "drop"})
        feed.wait_well()
        assert feed.new_gaps() == everywhere("sequence gap"), fault


def test_every_book_comes_whatever_becomes_of_the_command_that_subscribes_it(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, hasty_feeding(world) as feed:
        one_connection_is_enough_whatever_becomes_of_the_command(feed)
        a_market_whose_snapshot_never_comes_has_a_gap_and_is_not_ready(feed)
        markets_that_one_connection_cannot_hold_go_to_others(feed)


def one_connection_is_enough_whatever_becomes_of_the_command(feed: Feed) -> None:
    for fault in (
        {"kind": "ignore"},
        {"kind": "late", "seconds": 1.5},
        {"kind": "time out"},
        {"kind": "time out afterwards"},
        {"kind": "refusal", "code": 18},
        {"kind": "refusal", "code": 27},
        {"kind": "lost answer"},
        {"kind": "data first", "seconds": 0.3},
    ):
        before = connections(feed)
        anew(feed, {**SUBSCRIBE, **fault})
        feed.wait_well()
        assert connections(feed) == before + 1, fault
        assert feed.new_gaps() == CLOSED, fault


def a_market_whose_snapshot_never_comes_has_a_gap_and_is_not_ready(feed: Feed) -> None:
    lacking = MARKETS[1]
    anew(feed, {"kind": "no snapshot", "ticker": lacking, "count": 5})
    wait_for("the gap of the missing market", lambda: has_gap(feed, lacking))
    assert [f"no valid book of {lacking}" in reason for reason in feed.reasons] == [True]
    before = feed.number
    feed.wait_well()
    assert feed.number == before
    assert feed.open_gaps() == 0
    due = Counter({("a delta before its snapshot", lacking): 1, ("the venue sends no snapshot", lacking): 1})
    assert feed.new_gaps() == CLOSED + due


def markets_that_one_connection_cannot_hold_go_to_others(feed: Feed) -> None:
    anew(feed, {"kind": "refusal", "code": 26, **SUBSCRIBE})
    feed.wait_well()
    lanes = feed.status()["feeds"]
    assert sum(lane["markets"] for lane in lanes) == len(MARKETS)
    assert len(lanes) > 1
    assert feed.new_gaps() == CLOSED


def anew(feed: Feed, *faults: dict[str, Any]) -> None:
    """Let the connection end, and faults wait for the next one."""
    feed.arm(*faults, behind=1)
    feed.break_off()


def connections(feed: Feed) -> int:
    return int(feed.first["connections"])


def has_gap(feed: Feed, ticker: str) -> bool | None:
    rows = feed.query("SELECT cause, market_ticker FROM rlflow_sim.rl_feed_gaps WHERE to_ns IS NULL")
    return ("the venue sends no snapshot", ticker) in rows or None
