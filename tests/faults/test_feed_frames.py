"""Frames that are wrong, missing, doubled or strange: each makes a gap where one is due, and none where none is."""

from collections import Counter
from pathlib import Path

from rlflow.session.books import CONTRADICTED
from tests.faults.feed import RATE, Feed, everywhere, feeding
from tests.faults.scene import MARKETS, scene, written
from tests.running import wait_for

GAP = everywhere("sequence gap")


def test_strange_frames_that_lose_nothing_cost_no_gap(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, feeding(world) as feed:
        duplicates_are_dropped(feed)
        unknown_types_take_their_place(feed)
        unknown_fields_are_ignored(feed)
        bytes_that_are_no_text_cost_nothing_where_nothing_is_read(feed)
        a_missing_clock_is_no_loss(feed)
        a_large_frame_is_taken(feed)
        control_frames_between_deltas_are_no_loss(feed)
        late_frames_are_only_late(feed)
        a_quiet_market_alarms_nobody(feed)
        assert feed.first["connections"] == 1


def duplicates_are_dropped(feed: Feed) -> None:
    before = feed.count("duplicate")
    feed.strike({"kind": "duplicate", "count": 5})
    assert feed.count("duplicate") == before + 6  # with the mark
    feed.assert_whole()


def unknown_types_take_their_place(feed: Feed) -> None:
    before = feed.count("unknown")
    feed.strike({"kind": "unknown type", "count": 3})
    assert feed.count("unknown") == before + 3
    feed.assert_whole()


def unknown_fields_are_ignored(feed: Feed) -> None:
    before = feed.count("rejected")
    feed.strike({"kind": "unknown field", "count": 30})
    assert feed.count("rejected") == before
    feed.assert_whole()


def bytes_that_are_no_text_cost_nothing_where_nothing_is_read(feed: Feed) -> None:
    before = feed.count("rejected")
    feed.strike({"kind": "bad utf8", "count": 3})
    assert feed.count("rejected") == before
    feed.assert_whole()


def a_missing_clock_is_no_loss(feed: Feed) -> None:
    feed.strike({"kind": "no clock", "count": 20})
    without = feed.query("SELECT count(*) FROM rlflow_sim.rl_orderbook_deltas WHERE clock IS NULL")
    assert without == [(20,)]
    feed.assert_whole()


def a_large_frame_is_taken(feed: Feed) -> None:
    before = feed.count("unknown")
    feed.strike({"kind": "oversize", "size_bytes": 2_000_000})
    assert feed.count("unknown") == before + 1
    feed.assert_whole()


def control_frames_between_deltas_are_no_loss(feed: Feed) -> None:
    before = feed.query("SELECT count(*) FROM rlflow_sim.rl_orderbook_snapshots WHERE origin = 'venue'")[0][0]
    for _ in range(3):
        feed.running.post("/rl/admin/resnapshot")
        feed.strike({"kind": "unknown field"})
    after = feed.query("SELECT count(*) FROM rlflow_sim.rl_orderbook_snapshots WHERE origin = 'venue'")[0][0]
    assert after >= before + 3 * len(MARKETS)
    feed.assert_whole()


def late_frames_are_only_late(feed: Feed) -> None:
    feed.strike({"kind": "delay", "seconds": 0.5})
    feed.strike({"kind": "stall writes", "seconds": 0.5})
    feed.assert_whole()


def a_quiet_market_alarms_nobody(feed: Feed) -> None:
    feed.world.tell_venue("trading", {"is_on": False})
    for _ in range(10):
        assert feed.reasons == []
    feed.world.tell_venue("trading", {"is_on": True})
    feed.strike({"kind": "unknown field"})
    feed.assert_whole()


def test_frames_that_lose_something_cost_one_gap_each_and_soon_every_book_is_right(
    tmp_path: Path, database_url: str
) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, feeding(world) as feed:
        a_lost_frame_is_a_gap_of_every_book(feed)
        two_swapped_frames_are_a_gap(feed)
        a_frame_lost_while_the_last_gap_is_repaired_is_one_more(feed)
        a_frame_without_sense_is_kept_and_is_a_gap(feed)
        a_change_that_cannot_be_costs_its_own_market_only(feed)
        a_price_off_the_grid_is_asked_about(feed)
        three_frames_out_of_order_cost_the_subscription(feed)
        assert feed.first["connections"] == 1


def a_lost_frame_is_a_gap_of_every_book(feed: Feed) -> None:
    feed.strike({"kind": "drop"})
    feed.wait_well()
    assert feed.new_gaps() == GAP
    feed.strike({"kind": "drop", "count": 7})
    feed.wait_well()
    assert feed.new_gaps() == GAP


def two_swapped_frames_are_a_gap(feed: Feed) -> None:
    before = feed.count("rejected")
    feed.strike({"kind": "swap"})
    feed.wait_well()
    assert feed.new_gaps() == GAP
    assert feed.count("rejected") == before + 1


def a_frame_lost_while_the_last_gap_is_repaired_is_one_more(feed: Feed) -> None:
    feed.strike(*({"kind": "drop", "number": number} for number in (1, 2, 3, 5, 8, 13, 21)))
    feed.wait_well()
    found = feed.new_gaps()
    assert found.keys() == GAP.keys()
    assert all(2 <= rows <= 7 for rows in found.values()), found
    written(feed.running, feed.status()["write_queue"]["rows_written"] + 100)
    assert feed.open_gaps() == 0


def a_frame_without_sense_is_kept_and_is_a_gap(feed: Feed) -> None:
    causes = {"garble": "sequence gap", "legacy": "a frame was refused"}
    for kind, cause in causes.items():
        before = feed.count("rejected")
        feed.strike({"kind": kind})
        feed.wait_well()
        assert feed.new_gaps() == everywhere(cause), kind
        assert feed.count("rejected") == before + 1


def a_change_that_cannot_be_costs_its_own_market_only(feed: Feed) -> None:
    for kind, ticker in (("negative", MARKETS[0]), ("unknown level", MARKETS[1])):
        feed.arm({"kind": kind, "ticker": ticker})
        feed.strike({"kind": "duplicate", "ticker": ticker})
        feed.wait_well()
        assert feed.new_gaps() == Counter({("impossible size", ticker): 1}), kind


def a_price_off_the_grid_is_asked_about(feed: Feed) -> None:
    feed.arm({"kind": "off grid", "ticker": MARKETS[0]})
    found = wait_for("the gap", lambda: feed.new_gaps() or None)
    assert found == Counter({(CONTRADICTED, MARKETS[0]): 1})
    feed.wait_well()


def three_frames_out_of_order_cost_the_subscription(feed: Feed) -> None:
    feed.strike(*({"kind": "swap", "number": number} for number in (1, 3, 5)))
    feed.wait_well()
    assert feed.new_gaps().keys() >= GAP.keys()
