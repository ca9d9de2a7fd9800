"""Which markets are followed, over HTTP: seen and changed."""

from collections.abc import Sequence

import attrs

from rlflow.data.following.following import MarketLists
from rlflow.errors import VenueAwayError
from rlflow.kalshi.lifecycle import MarketEvent, MarketLifecycle
from rlflow.kalshi.notices import Heard
from rlflow.kalshi.sheets import MarketSheet
from tests.service_figures import NOW_NS, SECOND
from tests.test_api import World, get, post
from tests.test_roster import sheet

NOW_S = NOW_NS // SECOND
SERIES = {"RL_SERIES_TICKER": "KXS"}


@attrs.define
class Lists(MarketLists):
    """A REST interface that knows two markets, if it is there."""

    is_away: bool = False

    async def markets(
        self,
        *,
        tickers: Sequence[str] | None = None,
        series: str | None = None,  # noqa: ARG002  # part of the protocol
        status: str | None = None,  # noqa: ARG002  # part of the protocol
    ) -> list[MarketSheet]:
        if self.is_away:
            raise VenueAwayError("no answer")
        return [sheet(ticker, "active", -60, 60) for ticker in ("KX-A", "KX-B") if ticker in (tickers or ())]


def created(ticker: str, open_s: int, close_s: int) -> Heard:
    event = MarketEvent(ticker, "created", open_ts=NOW_S + open_s, close_ts=NOW_S + close_s)
    return Heard(MarketLifecycle(event, 4, 1))


async def test_followed_markets_are_listed_with_what_is_known_of_them() -> None:
    world = World(environ={"RL_MARKET_TICKER": "A"} | SERIES)
    world.following.hear(created("KXS-1", -60, 840))
    assert await get(world, "/rl/markets") == {
        "markets": [
            {
                "market_ticker": "A",
                "series_ticker": None,
                "status": "unknown",
                "open_time": None,
                "close_time": None,
                "feeds": ["feed 1"],
                "connected": True,
                "valid": True,
            },
            {
                "market_ticker": "KXS-1",
                "series_ticker": "KXS",
                "status": "open",
                "open_time": "2026-11-21T23:59:00Z",
                "close_time": "2026-11-22T00:14:00Z",
                "feeds": [],
                "connected": False,
                "valid": False,
            },
        ]
    }


async def test_readiness_wants_every_open_market_and_no_other() -> None:
    world = World(environ={"RL_MARKET_TICKER": "A"} | SERIES)
    world.following.hear(created("KXS-1", 30, 840))
    world.following.hear(created("KXS-2", -840, -1))
    assert (await get(world, "/rl/ready"))["ready"]
    world.following.hear(created("KXS-3", -1, 840))
    assert (await get(world, "/rl/ready", 503))["reasons"] == ["orderbook_state: no valid book of KXS-3"]


async def test_the_snapshot_of_a_series_is_of_the_open_market_that_closes_next() -> None:
    world = World(environ=SERIES)
    assert (await get(world, "/rl/orderbook/snapshot", 503))["error"] == "no market is followed at the moment"
    world.following.hear(created("KXS-1", -60, 840))
    world.following.hear(created("KXS-2", -60, 600))
    answer = await get(world, "/rl/orderbook/snapshot", 503)
    assert answer["market_ticker"] == "KXS-2"


async def test_markets_are_added_and_removed_until_the_process_ends() -> None:
    world = World(rest=Lists())
    answer = await post(world, "/rl/admin/markets", 200, json={"add": ["KX-A"], "remove": ["B"]})
    assert (answer["added"], answer["removed"], answer["markets"]) == (["KX-A"], ["B"], 2)
    assert answer["lasts"].startswith("until the process ends")
    assert [market["market_ticker"] for market in (await get(world, "/rl/markets"))["markets"]] == ["A", "KX-A"]
    assert (await get(world, "/rl/markets"))["markets"][1]["status"] == "open"


async def test_each_market_is_told_once_and_added_only_if_it_is_new() -> None:
    world = World(rest=Lists())
    body = {"add": ["KX-A", "A", "KX-A"], "remove": ["B", "B"]}
    answer = await post(world, "/rl/admin/markets", 200, json=body)
    assert (answer["added"], answer["kept"], answer["removed"], answer["markets"]) == (["KX-A"], ["A"], ["B"], 2)
    again = await post(world, "/rl/admin/markets", 200, json={"add": ["KX-A"]})
    assert (again["added"], again["kept"], again["markets"]) == ([], ["KX-A"], 2)


async def test_what_cannot_be_followed_is_refused_with_a_reason_and_changes_nothing() -> None:
    world = World(rest=Lists())
    refused = {
        404: [
            ({"add": ["KX-A", "KX-NONE"], "remove": ["B"]}, "not known to the venue: KX-NONE"),
            ({"remove": ["KX-A"]}, "not followed: KX-A"),
        ],
        400: [
            ({}, "name markets to add or to remove"),
            ({"add": ["A"], "remove": ["A"]}, "to be added and removed: A"),
            ({"add": ["KX A"]}, "'KX A' is not a ticker"),
            ({"add": ["A,B"]}, "'A,B' is not a ticker"),
            ({"add": [""]}, "'' is not a ticker"),
        ],
    }
    for status, cases in refused.items():
        for body, reason in cases:
            assert (await post(world, "/rl/admin/markets", status, json=body))["error"] == reason
    await post(world, "/rl/admin/markets", 400, json={"add": "KX-A"})
    assert world.following.followed() == ("A", "B")


async def test_while_rest_is_away_what_is_added_is_taken_on_trust() -> None:
    world = World(rest=Lists(is_away=True))
    await post(world, "/rl/admin/markets", 200, json={"add": ["KX-NONE"]})
    assert world.following.followed() == ("A", "B", "KX-NONE")
