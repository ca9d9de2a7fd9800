"""Prices that a market's grid does not have are asked about."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing

from rlflow.config import Settings
from rlflow.data.sheets.grid_watch import AGAIN_S, CONFIRMED_S, LOOK_S, GridWatch
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.kalshi.price_grid import off_grid
from rlflow.kalshi.sheets import MarketSheet, PriceRange
from rlflow.orderbook import BookView, Levels
from rlflow.session.books import CONTRADICTED
from tests.following_world import World, following
from tests.pipeline import wait_until

CENTS = (PriceRange(0, 10_000, 100),)
TAPERED = (PriceRange(0, 1_000, 10), PriceRange(1_000, 9_000, 100), PriceRange(9_000, 10_000, 10))


@pytest.mark.parametrize(
    ("yes", "no", "ranges", "expected"),
    [
        ([4_000], [5_500], CENTS, set()),
        ([4_005, 4_000], [5_550], CENTS, {4_005, 4_450}),
        ([1_000, 990, 9_010], [9_090], TAPERED, set()),
        ([1_010], [1_010], TAPERED, {1_010, 8_990}),
        ([4_005], [], (), set()),
    ],
)
def test_a_price_is_on_the_grid_from_either_side(
    yes: list[int], no: list[int], ranges: tuple[PriceRange, ...], expected: set[int]
) -> None:
    assert off_grid(yes, no, ranges) == expected


def levels(prices: Iterable[int]) -> Levels:
    return tuple((price, 100) for price in prices)


def view(*prices: int, is_valid: bool = True) -> BookView:
    return BookView("A", UUID(int=1), 1, 1, 1, None, is_valid, None, levels(prices), ())


def sheet(ticker: str, ranges: tuple[PriceRange, ...] = CENTS) -> MarketSheet:
    read = MarketSheet.from_json(b'{"ticker": "%b", "event_ticker": "E", "status": "active"}' % ticker.encode())
    return attrs.evolve(read, price_ranges=ranges)


@attrs.define
class Sheets:
    ranges: tuple[PriceRange, ...] = CENTS
    learned: list[str] = attrs.Factory(list)

    def sheet(self, ticker: str) -> MarketSheet | None:
        return sheet(ticker, self.ranges)

    def learn(self, tickers: Iterable[str]) -> None:
        self.learned += tickers


@attrs.define
class OneBook:
    shown: BookView

    def tickers(self) -> tuple[str, ...]:
        return ("A",)

    def settled_view(self, ticker: str) -> BookView | None:
        return self.shown if ticker == "A" else None


async def test_a_price_off_the_grid_is_asked_about_and_when_confirmed_left_in_peace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    books, sheets = OneBook(view(4_000, 4_005)), Sheets()
    asked: list[tuple[float, Sequence[str]]] = []
    watch = GridWatch(books, sheets, lambda tickers: asked.append((trio.current_time(), tickers)))
    async with trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(watch.run)
        await trio.sleep(2 * LOOK_S + CONFIRMED_S)
        assert [(at - begun, tickers) for at, tickers in asked] == [(LOOK_S, ["A"]), (LOOK_S + CONFIRMED_S, ["A"])]
        assert sheets.learned == ["A", "A"]
        books.shown = view(4_000, 4_015)
        await trio.sleep(AGAIN_S + LOOK_S)
        assert watch.statistics().off_grid == 3
        books.shown = view(4_005, is_valid=False)
        await trio.sleep(2 * CONFIRMED_S)
        assert len(asked) == 3
        nursery.cancel_scope.cancel()


async def test_an_invented_price_becomes_a_gap(tmp_path: Path) -> None:
    tickers = ("KXGRID-1", "KXGRID-2")
    async with watched(tmp_path, tickers, CENTS) as world:
        assert world.exchange.inject(Fault(FaultKind.OFF_GRID, ticker=tickers[0])) == 1
        await wait_until(lambda: bool(world.gaps()))
        assert {(gap.market_ticker, gap.cause) for gap in world.gaps()} == {(tickers[0], CONTRADICTED)}
        seen = world.pipeline.books.view(tickers[0])
        assert seen is not None
        assert seen.is_valid
        assert not off_grid(dict(seen.yes_bids), dict(seen.no_bids), CENTS)


async def test_a_price_that_the_venue_confirms_makes_no_gap(tmp_path: Path) -> None:
    """By a grid of ten cents nearly all prices are wrong, as they are for a moment when a grid has become finer."""
    tickers = ("KXGRID-1", "KXGRID-2")
    async with watched(tmp_path, tickers, (PriceRange(0, 10_000, 1_000),)) as world:
        await wait_until(lambda: len(world.pipeline.store.snapshots) >= 4)
        assert not world.gaps()


@asynccontextmanager
async def watched(directory: Path, tickers: tuple[str, ...], ranges: tuple[PriceRange, ...]) -> AsyncIterator[World]:
    """A venue, a collector, and a watch that takes all markets to have this grid."""
    config = ExchangeConfig(keys={}, tickers=tickers, rate=200)
    async with following(directory, config, Settings(market_tickers=tickers)) as world:
        await world.wait_valid(len(tickers))
        watch = GridWatch(world.pipeline.books, Sheets(ranges), world.parts.feeds.resnapshot)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            yield world
            nursery.cancel_scope.cancel()
