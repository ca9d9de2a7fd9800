"""Many markets over several connections, against the simulated exchange."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
import trio

from rlflow.config import Settings
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.subscriptions import Limits
from tests.following_world import World, following
from tests.pipeline import wait_until

ORDERBOOK = "orderbook_delta"


def many(count: int) -> tuple[str, ...]:
    return tuple(f"KXMANY-{number:04d}" for number in range(count))


def markets_of(world: World) -> dict[str, set[str]]:
    """The markets of each feed."""
    found: dict[str, set[str]] = {}
    for ticker, lanes in world.parts.feeds.lanes_of().items():
        for name in lanes:
            found.setdefault(name, set()).add(ticker)
    return found


def are_valid(world: World, tickers: Sequence[str]) -> bool:
    return all(world.pipeline.books.is_valid(ticker) for ticker in tickers)


@pytest.mark.alone
async def test_of_two_thousand_markets_only_those_of_a_broken_connection_have_gaps(tmp_path: Path) -> None:
    tickers = many(2_000)
    venue = ExchangeConfig(keys={}, tickers=tickers)
    async with following(tmp_path, venue, Settings(market_tickers=tickers), limit_s=120) as world:
        await world.wait_valid(2_000)
        lanes = markets_of(world)
        assert Counter(len(markets) for markets in lanes.values()) == {500: 4}
        broken = [await world.break_connection(number) for number in (2, 5, 3)]
        assert markets_of(world) == lanes
        await world.pipeline.writer.flush()
        assert broken[0] == broken[1] != broken[2]
        with_gaps = Counter(gap.market_ticker for gap in world.gaps() if gap.channel == ORDERBOOK)
        assert with_gaps == Counter(dict.fromkeys(lanes[broken[0]], 2) | dict.fromkeys(lanes[broken[2]], 1))


async def test_with_redundant_feeds_readers_see_no_gap(tmp_path: Path) -> None:
    tickers = many(40)
    settings = Settings(market_tickers=tickers, markets_per_connection=25, redundant_feeds=2)
    async with following(tmp_path, ExchangeConfig(keys={}, tickers=tickers, rate=500), settings) as world:
        await world.wait_valid(40)
        await wait_until(lambda: len(world.pipeline.store.snapshots) >= 80)
        by_market = world.parts.feeds.lanes_of()
        assert {len(set(lanes)) for lanes in by_market.values()} == {2}
        broken = {await world.break_connection(number) for number in (1, 2, 3, 4)}
        assert broken == {"feed 1", "feed 2", "feed 1b", "feed 2b"}
        figures = world.pipeline.books.statistics()
        assert (figures.lapses, figures.valid) == (0, 40)
        # What is stored says which connection lacked what, and every view that was shown was valid.
        assert figures.gaps.rows >= 80
        assert {view.is_valid for ticker in tickers for view in world.seen[ticker]} == {True}
        assert any(len({view.capture for view in world.seen[ticker]}) > 1 for ticker in tickers)


async def test_what_one_subscription_cannot_hold_goes_over_more_connections(tmp_path: Path) -> None:
    tickers = many(150)
    venue = ExchangeConfig(keys={}, tickers=tickers, limits=Limits(markets=60))
    async with following(tmp_path, venue, Settings(market_tickers=tickers, markets_per_connection=100)) as world:
        await world.wait_valid(150)
        assert world.status().capacity == 50
        await wait_until(lambda: [lane.markets for lane in world.status().feeds] == [50, 50, 50])
        assert not world.gaps()


async def test_what_moves_to_another_connection_has_a_book_all_the_time(tmp_path: Path) -> None:
    tickers = many(150)
    venue = ExchangeConfig(keys={}, tickers=tickers, rate=500, limits=Limits(markets=130))
    async with following(tmp_path, venue, Settings(market_tickers=tickers, markets_per_connection=150)) as world:
        await wait_until(lambda: [lane.markets for lane in world.status().feeds] == [75, 75])
        await world.wait_valid(150)
        captures = [lane.feed.capture for lane in world.status().feeds for _ in range(lane.markets)]
        await wait_until(lambda: captures == [view.capture for ticker in tickers for view in world.seen[ticker][-1:]])
        assert not world.gaps()
        assert any(len({view.capture for view in world.seen[ticker]}) > 1 for ticker in tickers)
        shown = [[view.is_valid for view in world.seen[ticker]] for ticker in tickers]
        assert not any(before and not after for views in shown for before, after in pairwise(views))


async def test_a_full_connection_has_room_for_markets_that_take_others_places(tmp_path: Path) -> None:
    tickers = many(28)
    venue = ExchangeConfig(keys={}, tickers=tickers, limits=Limits(markets=10))
    async with following(tmp_path, venue, Settings(market_tickers=tickers[:10], markets_per_connection=10)) as world:
        await world.wait_valid(10)
        for come, go in ((tickers[10:18], tickers[:8]), (tickers[18:], (*tickers[8:10], *tickers[10:18]))):
            await world.parts.following.change(come, go)
            await wait_until(partial(are_valid, world, come))
            assert [lane.markets for lane in world.status().feeds] == [10]
        assert world.status().capacity == 10


async def test_connections_come_and_go_with_their_markets(tmp_path: Path) -> None:
    tickers = many(30)
    venue = ExchangeConfig(keys={}, tickers=tickers)
    async with following(tmp_path, venue, Settings(market_tickers=tickers[:20], markets_per_connection=10)) as world:
        await world.wait_valid(20)
        before = markets_of(world)
        await world.parts.following.change(tickers[20:], ())
        await world.wait_valid(30)
        assert markets_of(world) == before | {"feed 3": set(tickers[20:])}
        await world.parts.following.change((), tickers[10:20])
        await wait_until(lambda: [lane.name for lane in world.status().feeds] == ["feed 1", "feed 3"])
        await wait_until(lambda: world.valid() == 20)
        books = world.pipeline.books
        assert {ticker for ticker in tickers if books.is_valid(ticker)} == {*tickers[:10], *tickers[20:]}
        assert world.reconnects() == {"feed 1": 0, "feed 3": 0}
        # What the venue has ended for us is not missing.
        closed = world.pipeline.store.closed
        await wait_until(lambda: [end.cause for end in closed.values()] == ["no market left"])
        assert not world.pipeline.store.gaps


async def test_the_last_market_may_go_and_another_come(tmp_path: Path) -> None:
    tickers = many(2)
    settings = Settings(market_tickers=tickers[:1])
    async with following(tmp_path, ExchangeConfig(keys={}, tickers=tickers), settings) as world:
        await world.wait_valid(1)
        await world.parts.following.change((), tickers[:1])
        await wait_until(lambda: world.valid() == 0)
        await world.parts.following.change(tickers[1:], ())
        await world.wait_valid(1)
        assert world.reconnects() == {"feed 1": 0}


async def test_without_rest_lifecycle_events_are_enough(tmp_path: Path) -> None:
    series = SeriesSpec("KXSHORT", period_s=1, created_lead_s=1, settlement_timer_s=0.1)
    venue = ExchangeConfig(keys={}, tickers=(), series=(series,))
    async with following(tmp_path, venue, Settings(series_tickers=("KXSHORT",)), has_rest=False) as world:
        await world.wait_valid(3)
        assert world.parts.following.statistics().lists == 0
        assert world.status().is_hearing_lifecycle


async def test_without_lifecycle_events_lists_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.following.following.UNHEARD_S", 0.1)
    monkeypatch.setattr("rlflow.data.following.following.PAUSE_S", 0.1)
    series = SeriesSpec("KXSHORT", period_s=1, created_lead_s=2, settlement_timer_s=0.1)
    # Books come first; the second subscription is that of the lifecycle channel.
    refusal = Fault(FaultKind.REFUSAL, number=2, command="subscribe", code=5)
    venue = ExchangeConfig(keys={}, tickers=("KXNAMED-A",), series=(series,), faults=(refusal,))
    settings = Settings(market_tickers=("KXNAMED-A",), series_tickers=("KXSHORT",))
    async with following(tmp_path, venue, settings) as world:
        await world.wait_valid(1)
        seen: set[str] = set()
        # The first list has four of the series.
        while len(seen) < 8:
            seen |= {ticker for ticker in world.parts.following.followed() if world.pipeline.books.is_valid(ticker)}
            await trio.sleep(0.05)
        assert not world.status().is_hearing_lifecycle
        assert (world.parts.following.statistics().events, world.reconnects()) == (0, {"feed 1": 0})


async def test_after_a_disconnection_the_markets_are_listed_anew(tmp_path: Path) -> None:
    series = SeriesSpec("KXSHORT", period_s=2)
    venue = ExchangeConfig(keys={}, tickers=(), series=(series,))
    async with following(tmp_path, venue, Settings(series_tickers=("KXSHORT",))) as world:
        await world.wait_valid(1)
        await wait_until(lambda: world.parts.following.statistics().lists >= 1)
        lists = world.parts.following.statistics().lists
        with trio.fail_after(20):
            await world.exchange.disconnect()
            await wait_until(lambda: world.parts.following.statistics().lists > lists)
            await world.wait_valid(1)


async def test_a_line_that_stalls_is_passed_over_by_readers(tmp_path: Path) -> None:
    tickers = many(3)
    settings = Settings(market_tickers=tickers, redundant_feeds=2)
    async with following(tmp_path, ExchangeConfig(keys={}, tickers=tickers, rate=200), settings) as world:
        await world.wait_valid(3)
        await wait_until(lambda: len(world.pipeline.store.snapshots) >= 6)
        await wait_until(lambda: len(shown(world, tickers)) == 1)
        [older] = shown(world, tickers)
        captures = [lane.feed.capture for lane in world.status().feeds if lane.feed.capture is not None]
        # Which of the venue's connections is the older capture's is not known: each stalls once.
        for number in (1, 2):
            begun = [world.pipeline.books.last_frame(capture) or 0 for capture in captures]
            assert world.exchange.inject(Fault(FaultKind.STALL_WRITES, connection=number, seconds=3)) == 1
            await wait_until(lambda begun=begun: have_moved(world, captures, begun))  # type: ignore[misc]
        assert all(any(view.capture != older for view in world.seen[ticker][1:]) for ticker in tickers)
        assert world.pipeline.books.statistics().lapses == 0
        assert not world.gaps()


def shown(world: World, tickers: tuple[str, ...]) -> set[UUID]:
    """Return the captures whose books readers see."""
    views = [world.pipeline.books.view(ticker) for ticker in tickers]
    return {view.capture for view in views if view is not None}


def have_moved(world: World, captures: list[UUID], begun: list[int]) -> bool:
    """Return whether all captures have gone on for so long that none of them can be stalled any more."""
    frames = [world.pipeline.books.last_frame(capture) or 0 for capture in captures]
    return all(now > 400 + before for now, before in zip(frames, begun, strict=True))
