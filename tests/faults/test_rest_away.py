"""The venue's REST interface away, refusing or slow, and the venue's maintenance: recording waits for neither."""

from pathlib import Path
from typing import Any

from tests.faults.feed import RATE, Feed, everywhere, feeding
from tests.faults.scene import MARKETS, Scene, scene, written
from tests.running import wait_for


def test_recording_goes_on_whatever_rest_answers(tmp_path: Path, database_url: str) -> None:
    with scene(tmp_path, database_url, rate=RATE) as world:
        trouble(world, 503)
        with feeding(world) as feed:
            a_service_that_starts_without_rest_records_and_says_so(feed)
            what_rest_would_have_said_is_learnt_when_it_is_back(feed)
            refusals_cost_no_frame(feed)
            maintenance_is_a_gap_and_no_alarm_that_stays(feed)


def a_service_that_starts_without_rest_records_and_says_so(feed: Feed) -> None:
    lists = wait_for("a list that failed", lambda: is_degraded(feed))
    assert "503" in lists["reason"]
    written(feed.running, 200)
    feed.assert_whole()


def what_rest_would_have_said_is_learnt_when_it_is_back(feed: Feed) -> None:
    trouble(feed.world, None)
    feed.running.wait_status("a list", lambda status: status["following"]["lists"] > 0)
    feed.running.wait_status("data sheets", lambda status: status["market_sheets"]["stored"] >= len(MARKETS))
    assert component(feed)["status"] == "healthy"


def refusals_cost_no_frame(feed: Feed) -> None:
    for status, counter in ((429, "throttled"), (500, "failures")):
        trouble(feed.world, status)
        before = feed.status()["rest"][counter]
        # A new connection asks for lists, since it may have missed what became of markets.
        feed.break_off()
        feed.running.wait_status("a refusal", lambda now: now["rest"][counter] > before)  # noqa: B023
        feed.wait_well()
        assert feed.new_gaps() == everywhere("peer closed: fault on request")
    trouble(feed.world, None)


def maintenance_is_a_gap_and_no_alarm_that_stays(feed: Feed) -> None:
    before = feed.number
    feed.world.tell_venue("maintenance", {"is_on": True})
    feed.running.wait_status("refused attempts", lambda _: feed.first["failures"] >= 3)
    assert feed.running.ask("/rl/health", status=200)["status"] == "degraded"
    assert feed.reasons
    feed.world.tell_venue("maintenance", {"is_on": False, "lowers_clock": False})
    feed.wait_connection(before)
    feed.wait_well()
    assert feed.new_gaps() == everywhere("peer closed: maintenance")
    assert feed.open_gaps() == 0


def trouble(world: Scene, status: int | None) -> None:
    world.tell_venue("rest", {"status": status})


def component(feed: Feed) -> Any:
    return feed.running.ask("/rl/health", status=200)["components"]["market_lists"]


def is_degraded(feed: Feed) -> Any:
    found = component(feed)
    return found if found["status"] == "degraded" else None
