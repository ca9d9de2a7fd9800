"""Health and readiness as pure functions of the figures."""

from typing import Any

import attrs
import pytest

from rlflow.api.health import Health, assess, unready
from rlflow.api.service import Figures
from tests.service_figures import FIGURES, NOW_NS, SECOND, lane


def with_part(part: str, **changes: Any) -> Figures:
    return attrs.evolve(FIGURES, **{part: attrs.evolve(getattr(FIGURES, part), **changes)})


def judge(figures: Figures) -> Health:
    return assess(figures, environment="sim", is_simulated=True)


def test_a_running_service_is_healthy_and_ready() -> None:
    health = judge(FIGURES)
    assert (health.status, health.needs_restart) == ("healthy", False)
    assert unready(FIGURES, health, ("A",), {"A"}.__contains__) == []


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
    assert unready(figures, health, ("A",), {"A"}.__contains__)


def test_two_recorders_of_one_store_are_worth_a_word_and_harm_nothing() -> None:
    figures = with_part("writer", other_recorders=("10.0.0.3",))
    health = judge(figures)
    assert health.components["database"].status == "degraded"
    assert "10.0.0.3" in str(health.components["database"].reason)
    assert unready(figures, health, ("A",), {"A"}.__contains__) == []


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
    assert unready(figures, health, ("A",), {"A"}.__contains__) == []


def test_readiness_names_the_markets_without_a_valid_book() -> None:
    assert unready(FIGURES, judge(FIGURES), ("A", "B"), {"A"}.__contains__) == ["no valid book of B"]


def test_one_of_two_connections_of_a_market_may_be_missed() -> None:
    lanes = (lane(), lane(name="feed 1b", copy=1, state="waiting", last_cause="lost"))
    figures = with_part("feeds", feeds=lanes, copies=2)
    health = judge(figures)
    assert health.status == "degraded"
    assert health.components["orderbook_client"].reason == "1 of 2 feeds: not connected: lost"
    assert not health.components["orderbook_client"].details["connected"]
    assert unready(figures, health, ("A",), {"A"}.__contains__) == []
    neither = attrs.evolve(figures, feeds=attrs.evolve(figures.feeds, copies=1))
    assert unready(neither, judge(neither), ("A",), {"A"}.__contains__)


def test_a_venue_without_rest_degrades_health_but_not_the_data() -> None:
    figures = with_part("following", last_error="away")
    health = judge(figures)
    assert health.components["market_lists"].reason == "REST: away"
    assert unready(figures, health, ("A",), {"A"}.__contains__) == []


def test_a_series_of_which_nothing_is_known_yet_is_not_ready() -> None:
    unknown = with_part("following", series=("KXS",), lists=0)
    assert unready(unknown, judge(unknown), (), {"A"}.__contains__) == ["no market of KXS is known yet"]
    without_markets = with_part("following", series=("KXS",), lists=1)
    assert unready(without_markets, judge(without_markets), (), {"A"}.__contains__) == []
