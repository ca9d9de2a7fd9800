"""Health and readiness as pure functions of the figures."""

from typing import Any

import attrs
import pytest

from rlflow.api.health import Health, assess, unready
from rlflow.api.service import Figures
from tests.service_figures import FIGURES, NOW_NS, SECOND, lane


def with_part(part: str, **changes: Any) -> Figures:
    return attrs.evolve(FIGURES, **{part: attrs.evolve(getattr(FIGURES, part), **changes)})


def with_progress(figures: Figures, **changes: float) -> Figures:
    return attrs.evolve(figures, progress=attrs.evolve(figures.progress, **changes))


def judge(figures: Figures) -> Health:
    return assess(figures, environment="sim", is_simulated=True)


def test_a_running_service_is_healthy_and_ready() -> None:
    health = judge(FIGURES)
    assert (health.status, health.needs_restart) == ("healthy", False)
    assert unready(FIGURES, health) == []


@pytest.mark.parametrize(
    ("part", "changes", "component", "status"),
    [
        ("writer", {"is_connected": False, "last_error": "refused"}, "database", "degraded"),
        ("writer", {"is_catching_up": True, "backlog_bytes": 9}, "write_queue", "degraded"),
        ("writer", {"backlog_bytes": 1, "stalled_s": 20.0}, "write_queue", "degraded"),
        ("writer", {"backlog_bytes": 1, "stalled_s": 400.0}, "write_queue", "unhealthy"),
        ("feeds", {"feeds": (lane(state="waiting", last_cause="lost"),)}, "orderbook_client", "degraded"),
        ("feeds", {"feeds": (lane(), lane(state="refused", last_cause="no"))}, "orderbook_client", "unhealthy"),
        ("feeds", {"feeds": (lane(silent_s=26.0),)}, "orderbook_client", "degraded"),
        ("feeds", {"feeds": ()}, "orderbook_client", "degraded"),
        ("books", {"dropped": 1}, "orderbook_state", "unhealthy"),
        ("captures", {"is_protected": False}, "journal", "degraded"),
        ("captures", {"dropped": 3}, "journal", "unhealthy"),
        ("self_check", {"differences": 1, "last_difference": "A"}, "write_queue", "unhealthy"),
    ],
)
def test_a_part_that_is_not_well_says_so_and_the_data_is_not_ready(
    part: str, changes: dict[str, Any], component: str, status: str
) -> None:
    figures = with_part(part, **changes)
    health = judge(figures)
    assert health.components[component].status == status
    assert health.components[component].reason
    assert health.status == status
    assert unready(figures, health)


def test_two_recorders_of_one_store_are_worth_a_word_and_harm_nothing() -> None:
    figures = with_part("writer", other_recorders=("10.0.0.3",))
    health = judge(figures)
    assert health.components["database"].status == "degraded"
    assert "10.0.0.3" in str(health.components["database"].reason)
    assert unready(figures, health) == []


def test_only_a_writer_that_hangs_asks_for_a_restart() -> None:
    hanging = with_part("writer", backlog_bytes=1, stalled_s=400.0)
    assert judge(hanging).needs_restart
    away = with_part("writer", is_connected=False, backlog_bytes=1, last_commit_ns=NOW_NS - 400 * SECOND)
    assert not judge(away).needs_restart


def test_a_quiet_writer_is_well_also_when_work_has_just_come() -> None:
    for backlog_bytes in (0, 1):
        figures = with_part("writer", last_commit_ns=NOW_NS - 4000 * SECOND, backlog_bytes=backlog_bytes)
        assert judge(figures).status == "healthy"


def test_a_held_up_loop_degrades_health_but_not_the_data() -> None:
    figures = attrs.evolve(FIGURES, worst_lag_s=2.0)
    health = judge(figures)
    assert health.status == "degraded"
    assert unready(figures, health) == []


def test_markets_without_a_valid_book_are_named() -> None:
    figures = attrs.evolve(FIGURES, lacking=("B",))
    assert judge(figures).components["orderbook_state"].status == "degraded"
    assert unready(figures, judge(figures)) == ["orderbook_state: no valid book of B"]


def test_before_the_first_frame_nothing_is_ready() -> None:
    figures = with_part("captures", frames=0, journalled=0)
    assert unready(figures, judge(figures)) == ["nothing has been received yet"]


def test_catching_up_says_how_far_and_how_old() -> None:
    figures = with_progress(with_part("writer", is_catching_up=True, backlog_bytes=900), backlog_age_s=61.0)
    found = judge(figures).components["write_queue"]
    assert (found.status, found.reason) == ("degraded", "catching up, 900 bytes and 61 s behind")
    assert found.details["backlog_age_s"] == 61.0


def test_a_writer_that_makes_progress_but_not_enough_is_degraded() -> None:
    figures = with_progress(with_part("writer", backlog_bytes=900), backlog_age_s=80.0)
    assert judge(figures).components["write_queue"].reason == "900 bytes and 80 s behind"
    assert unready(figures, judge(figures))


def test_live_books_that_do_not_read_on_are_unhealthy_and_then_need_a_restart() -> None:
    slow, hanging = (with_progress(FIGURES, books_stalled_s=seconds) for seconds in (11.0, 91.0))
    assert judge(slow).components["orderbook_state"].status == "unhealthy"
    assert not judge(slow).needs_restart
    assert judge(hanging).needs_restart
    assert unready(slow, judge(slow))


def test_a_journal_that_does_not_reach_the_disk_is_degraded_but_the_data_are_good() -> None:
    figures = with_progress(FIGURES, sync_stalled_s=91.0)
    assert judge(figures).components["journal"].status == "degraded"
    assert unready(figures, judge(figures)) == []


@pytest.mark.parametrize(("part", "component"), [("captures", "journal"), ("books", "orderbook_state")])
def test_after_a_while_a_loss_is_told_by_its_gap_row_alone(part: str, component: str) -> None:
    figures = with_progress(with_part(part, dropped=3), loss_age_s=301.0)
    assert judge(figures).components[component].status == "degraded"
    assert unready(figures, judge(figures)) == []


def test_one_of_two_connections_of_a_market_may_be_missed() -> None:
    lanes = (lane(), lane(name="feed 1b", copy=1, state="waiting", last_cause="lost"))
    figures = with_part("feeds", feeds=lanes, copies=2)
    health = judge(figures)
    assert health.status == "degraded"
    assert health.components["orderbook_client"].reason == "1 of 2 feeds: not connected: lost"
    assert not health.components["orderbook_client"].details["connected"]
    assert unready(figures, health) == []
    neither = attrs.evolve(figures, feeds=attrs.evolve(figures.feeds, copies=1))
    assert unready(neither, judge(neither))


def test_a_venue_without_rest_degrades_health_but_not_the_data() -> None:
    figures = with_part("following", last_error="away")
    health = judge(figures)
    assert health.components["market_lists"].reason == "REST: away"
    assert unready(figures, health) == []


def test_a_market_that_the_venue_does_not_list_degrades_health_but_not_the_data_of_the_others() -> None:
    figures = with_part("following", unlisted=("KXTYPO",))
    health = judge(figures)
    assert health.components["market_lists"].reason == "the venue lists no market KXTYPO"
    assert unready(figures, health) == []


def test_a_lifecycle_channel_that_is_missing_degrades_health_but_not_the_data() -> None:
    figures = with_part("following", series=("KXS",))
    assert judge(figures).components["market_lists"].reason is None
    unheard = attrs.evolve(figures, feeds=attrs.evolve(figures.feeds, feeds=(lane(is_hearing_lifecycle=False),)))
    health = judge(unheard)
    assert "new markets are found by lists alone" in str(health.components["market_lists"].reason)
    assert unready(unheard, health) == []


def test_a_series_of_which_nothing_is_known_yet_is_not_ready() -> None:
    unknown = attrs.evolve(with_part("following", series=("KXS",), lists=0), books=attrs.evolve(FIGURES.books, valid=0))
    assert unready(unknown, judge(unknown)) == ["no market of KXS is known yet"]
    between_markets = attrs.evolve(with_part("following", series=("KXS",), lists=1), books=unknown.books)
    assert unready(between_markets, judge(between_markets)) == []


def test_a_series_that_never_had_a_market_is_worth_a_word_and_alone_not_ready() -> None:
    beside_others = with_part("following", series=("KXS", "KXTYPO"), without_markets=("KXTYPO",))
    health = judge(beside_others)
    assert health.components["market_lists"].reason == "no market of series KXTYPO was ever listed"
    assert (health.status, unready(beside_others, health)) == ("degraded", [])
    alone = attrs.evolve(
        with_part("following", series=("KXTYPO",), without_markets=("KXTYPO",)),
        books=attrs.evolve(FIGURES.books, valid=0),
    )
    assert unready(alone, judge(alone)) == ["no market of KXTYPO was ever listed"]


def test_old_lists_are_not_ready_unless_somebody_tells_of_new_markets() -> None:
    old = with_part("following", series=("KXS",), last_list_ns=NOW_NS - 901 * SECOND, last_error="away")
    assert unready(old, judge(old)) == []
    unheard = attrs.evolve(old, feeds=attrs.evolve(old.feeds, feeds=(lane(is_hearing_lifecycle=False),)))
    assert unready(unheard, judge(unheard)) == ["markets were last listed 901 s ago"]
    unknown = attrs.evolve(old, books=attrs.evolve(FIGURES.books, valid=0))
    assert unready(unknown, judge(unknown)) == ["markets were last listed 901 s ago"]


def test_a_feed_that_pings_but_says_nothing_about_books_is_not_ready() -> None:
    mute = with_part("feeds", feeds=(lane(is_mute=True, books_silent_s=3_000.0),))
    assert unready(mute, judge(mute)) == ["orderbook_client: no word about any book for 3000 s"]
