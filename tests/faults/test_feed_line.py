"""The line to the venue: half-open, silent, slow, torn, closed with any code, or by a venue that lets nobody stay."""

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from rlflow.session.books import CONTRADICTED
from tests.faults.feed import RATE, Feed, everywhere, feeding, hasty_feeding
from tests.faults.hasty import SILENT_S
from tests.faults.scene import MARKETS, scene, written
from tests.running import wait_for

LARGEST = 8 * 2**20
CODES = (1000, 1001, 1011, 1012, 1013, 4_001)


def test_a_line_that_breaks_in_any_way_costs_one_gap(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, hasty_feeding(world) as feed:
        a_half_open_line_is_left_and_says_so(feed)
        a_venue_that_falls_silent_is_left(feed)
        books_that_are_mute_on_a_living_line_are_missed(feed)
        a_quiet_market_is_asked_for_and_left_in_peace(feed)
        a_market_that_is_mute_beside_others_is_asked_for(feed)
        a_mute_market_for_which_nobody_answers_is_not_ready(feed)
        a_frame_that_is_cut_in_two_is_no_frame(feed)
        a_slow_line_is_only_late(feed)
        every_way_to_close_is_one_gap_with_its_code(feed)


def test_a_frame_that_is_too_large_ends_the_connection_only(tmp_path: Path, database_url: str) -> None:
    """With the usual limit of silence: such a frame takes a busy machine seconds."""
    with scene(tmp_path, database_url, rate=RATE) as world, feeding(world) as feed:
        a_frame_that_is_too_large_ends_the_connection_only(feed)


def a_half_open_line_is_left_and_says_so(feed: Feed) -> None:
    before = feed.number
    feed.world.to_venue.is_frozen = True
    wait_for("an unready service", lambda: feed.reasons or None)
    wait_for("the end", lambda: feed.first["last_cause"] == silent() or None)
    feed.world.to_venue.is_frozen = False
    feed.wait_connection(before)
    feed.wait_well()
    assert feed.new_gaps() == everywhere(silent())


def a_venue_that_falls_silent_is_left(feed: Feed) -> None:
    before = feed.number
    feed.arm({"kind": "mute"})
    feed.wait_connection(before)
    feed.wait_well()
    assert feed.new_gaps() == everywhere(silent())


def books_that_are_mute_on_a_living_line_are_missed(feed: Feed) -> None:
    before = feed.number
    feed.arm({"kind": "drop", "count": 0})
    feed.wait_connection(before)
    feed.wait_well()
    causes = {cause for cause, _ in feed.new_gaps()}
    assert causes >= {"the venue does not answer about books", "sequence gap"}


def a_quiet_market_is_asked_for_and_left_in_peace(feed: Feed) -> None:
    before, snapshots = feed.number, stored_snapshots(feed)
    feed.world.tell_venue("trading", {"is_on": False})
    reasons: set[str] = set()

    def is_asked() -> bool | None:
        reasons.update(feed.reasons)
        return stored_snapshots(feed) >= snapshots + 3 or None

    wait_for("three snapshots", is_asked)
    assert not reasons
    feed.world.tell_venue("trading", {"is_on": True})
    feed.strike({"kind": "unknown field"})
    feed.assert_whole()
    assert feed.number == before


def a_market_that_is_mute_beside_others_is_asked_for(feed: Feed) -> None:
    before = feed.number
    feed.arm({"kind": "mute market", "ticker": MARKETS[0], "count": 0})
    found: Counter[tuple[str, str]] = Counter()

    def look() -> bool | None:
        found.update(feed.new_gaps())
        return found.total() >= 3 or None

    wait_for("three gaps", look)
    assert found.keys() == {(CONTRADICTED, MARKETS[0])}
    assert feed.number == before
    leave_fault(feed)


def a_mute_market_for_which_nobody_answers_is_not_ready(feed: Feed) -> None:
    lacking = MARKETS[0]
    feed.arm(
        {"kind": "mute market", "ticker": lacking, "count": 0}, {"kind": "no snapshot", "ticker": lacking, "count": 0}
    )
    wait_for("an unready service", lambda: any(f"no valid book of {lacking}" in each for each in feed.reasons) or None)
    leave_fault(feed)


def leave_fault(feed: Feed) -> None:
    """Go on with a new connection, which the fault is not for."""
    feed.break_off()
    feed.wait_well()
    feed.new_gaps()


def a_frame_that_is_cut_in_two_is_no_frame(feed: Feed) -> None:
    for bytes_left in (20_001, 7_777, 33_333):
        before, rejected = feed.number, feed.count("rejected")
        feed.world.to_venue.cut_after_bytes = bytes_left
        feed.wait_connection(before)
        feed.wait_well()
        assert feed.new_gaps() == everywhere("connection lost")
        assert feed.count("rejected") == rejected


def a_slow_line_is_only_late(feed: Feed) -> None:
    before = feed.number
    line = feed.world.to_venue
    line.bytes_per_s, line.delay_s = 50_000.0, 0.05
    written(feed.running, feed.status()["write_queue"]["rows_written"] + 200)
    line.bytes_per_s, line.delay_s = None, 0.0
    feed.strike({"kind": "unknown field"})
    feed.assert_whole()
    assert feed.number == before


def every_way_to_close_is_one_gap_with_its_code(feed: Feed) -> None:
    for code in CODES:
        feed.break_off(code=code)
        feed.wait_well()
        assert feed.new_gaps() == everywhere("peer closed: fault on request")
    before = feed.number
    feed.arm({"kind": "abort"})  # 1006 is what a close without a frame is called
    feed.wait_connection(before)
    feed.wait_well()
    assert feed.new_gaps() == everywhere("connection lost")
    assert stored_codes(feed)[-len(CODES) - 1 :] == [*CODES, 1006]


def a_frame_that_is_too_large_ends_the_connection_only(feed: Feed) -> None:
    unknown = feed.count("unknown")
    feed.strike({"kind": "oversize", "size_bytes": LARGEST})
    assert feed.count("unknown") == unknown + 1
    feed.assert_whole()
    for size_bytes in (LARGEST + 1, 8 * LARGEST):
        before = feed.number
        feed.arm({"kind": "oversize", "size_bytes": size_bytes})
        feed.wait_connection(before)
        feed.wait_well()
        assert feed.new_gaps() == everywhere(f"protocol error: Exceeded maximum message size: {LARGEST} bytes")
    written(feed.running, feed.status()["write_queue"]["rows_written"] + 400)


def stored_snapshots(feed: Feed) -> int:
    rows = feed.query("SELECT count(*) FROM rlflow_sim.rl_orderbook_snapshots WHERE origin = 'venue'")
    return int(rows[0][0])


def stored_codes(feed: Feed) -> list[int]:
    rows = feed.query("SELECT closed_code FROM rlflow_sim.rl_captures WHERE closed_ns IS NOT NULL ORDER BY capture")
    return [code for (code,) in rows]


def silent() -> str:
    return f"silent for {SILENT_S:g} s"


@pytest.mark.slow_fault
@pytest.mark.timeout(600)
def test_silence_is_missed_with_the_waits_of_every_day_too(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, feeding(world) as feed:
        before = feed.number
        feed.arm({"kind": "mute"})
        feed.wait_connection(before)
        feed.wait_well()
        assert feed.new_gaps() == everywhere("silent for 25 s")
        before = feed.number
        feed.arm({"kind": "drop", "count": 0})
        feed.wait_connection(before, limit_s=240)
        feed.wait_well()
        assert {cause for cause, _ in feed.new_gaps()} >= {"the venue does not answer about books", "sequence gap"}
        written(feed.running, feed.status()["write_queue"]["rows_written"] + 400)


def test_a_venue_that_lets_nobody_stay_is_asked_ever_more_seldom_until_a_connection_lasts(
    tmp_path: Path, database_url: str
) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world, hasty_feeding(world) as feed:
        a_connection_that_lasted_is_no_failure(feed)
        closed = 6
        for behind in range(1, closed):
            feed.arm({"kind": "close", "number": 1}, behind=behind)
        before = feed.number
        feed.arm({"kind": "close"})
        accepted = [moment_of(feed, before + nth) for nth in range(1, closed + 1)]
        assert feed.first["failures"] >= closed
        waits = [later - sooner for sooner, later in pairwise(accepted)]
        assert sum(waits[-2:]) > 2 * sum(waits[:2]), waits
        feed.wait_well()
        assert feed.open_gaps() == 0
        feed.new_gaps()
        a_connection_that_lasted_is_no_failure(feed)


def moment_of(feed: Feed, number: int) -> float:
    """Return when the venue had accepted so many connections, as soon as it has."""
    wait_for(f"connection {number}", lambda: feed.number >= number or None)
    return time.monotonic()


def a_connection_that_lasted_is_no_failure(feed: Feed) -> None:
    wait_for("a connection that lasts", lambda: (feed.first["connected_s"] or 0) > SILENT_S * 1.5 or None)
    feed.break_off()
    feed.wait_well()
    assert feed.first["failures"] == 1
    assert feed.new_gaps() == everywhere("peer closed: fault on request")
