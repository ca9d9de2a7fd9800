"""A series is followed through its change-overs: every market from before its opening until it is settled."""

from collections import defaultdict
from pathlib import Path

import trio

from rlflow.config import Settings
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.kalshi.roster import SECOND
from rlflow.session.rows import DeltaRow, SnapshotRow
from tests.following_world import World, following

SERIES = "KXSHORT"
CHANGE_OVERS = 20


def config(*, count: int = 1, rate: float = 200.0) -> ExchangeConfig:
    series = SeriesSpec(SERIES, period_s=1, count=count, created_lead_s=3, settlement_timer_s=0.2)
    return ExchangeConfig(keys={}, tickers=(), series=(series,), rate=rate)


def snapshots(world: World) -> dict[str, list[SnapshotRow]]:
    found: dict[str, list[SnapshotRow]] = defaultdict(list)
    for row in world.pipeline.store.snapshots:
        found[row.market_ticker].append(row)
    return found


def deltas_of(world: World) -> dict[str, list[DeltaRow]]:
    found: dict[str, list[DeltaRow]] = defaultdict(list)
    for row in world.pipeline.store.deltas:
        found[row.market_ticker].append(row)
    return found


async def test_every_market_of_a_series_is_recorded_from_open_to_settlement_without_a_gap(tmp_path: Path) -> None:
    settings = Settings(series_tickers=(SERIES,))
    lives: dict[str, tuple[int, int]] = {}
    settled: set[str] = set()
    async with following(tmp_path, config(), settings) as world:
        while len(settled) < CHANGE_OVERS:
            for market in world.parts.following.markets():
                assert market.open_ns is not None
                assert market.close_ns is not None
                lives[market.ticker] = (market.open_ns, market.close_ns)
                if market.status == "settled":
                    settled.add(market.ticker)
            await trio.sleep(0.1)
        assert [lane.feed.connections for lane in world.status().feeds] == [1]
        figures = world.pipeline.books.statistics()
        assert (figures.lapses, figures.gaps.rows) == (0, 0)
        # What has long been settled is followed no more, and forgotten.
        assert min(lives) not in world.pipeline.books.tickers()
    whole, deltas = snapshots(world), deltas_of(world)
    began_ns = world.pipeline.store.snapshots[0].received_ns
    for ticker in settled:
        open_ns, close_ns = lives[ticker]
        rows = [row for row in whole[ticker] if row.origin == "venue"]
        # Some were open, or were opened, while we came.
        assert rows[0].received_ns < max(open_ns, began_ns + 5 * SECOND)
        assert all(row.action is not None for row in deltas[ticker])
        assert not deltas[ticker] or deltas[ticker][-1].received_ns > close_ns - SECOND // 2
        # The drained book is told once more, unasked.
        assert (rows[-1].received_ns > close_ns, rows[-1].yes_bids, rows[-1].no_bids) == (True, (), ())
    # A second is short enough for a busy machine to let one pass without any trade or order.
    assert sum(1 for ticker in settled if deltas[ticker]) > CHANGE_OVERS // 2


async def test_named_markets_are_recorded_beside_a_series(tmp_path: Path) -> None:
    venue = ExchangeConfig(keys={}, tickers=("KXNAMED-A", "KXNAMED-B"), series=config().series)
    settings = Settings(market_tickers=("KXNAMED-B",), series_tickers=(SERIES,))
    async with following(tmp_path, venue, settings) as world:
        await world.wait_valid(3)
        assert world.parts.following.followed()[0] == "KXNAMED-B"
        assert world.parts.following.foremost() == "KXNAMED-B"
        assert world.pipeline.books.is_valid("KXNAMED-B")
        assert "KXNAMED-A" not in world.pipeline.books.tickers()
