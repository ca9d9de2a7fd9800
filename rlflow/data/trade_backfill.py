"""Trades that were lost in gaps of their channel, fetched by REST and stored once (protocol 4.3, rule 5).

A gap is filled a minute after its end, when all that was received meanwhile is in the tables, so that what came by
another connection, or behind the gap, is not stored twice. Nothing waits for this task.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.database import Database
from rlflow.data.database_thread import DatabaseThread
from rlflow.data.rest_client import VenueClient
from rlflow.data.trade_rows import TradeGap, gaps_to_fill, markets_of, note_filled, store_missing
from rlflow.errors import AnswerRejectedError, DatabaseAwayError, RestRefusedError, VenueAwayError
from rlflow.kalshi.sheets import RestTrade
from rlflow.units import Nanos

INTERVAL_S: Final = 60.0
SETTLED_NS: Final = 60 * 10**9
"""After a gap's end, until the venue lists its trades and those behind it were received."""
FLUSH_LIMIT_S: Final = 30.0
# So much of a market's trades is in memory at once: some ten thousand in the busiest hour.
SLICE_S: Final = 3_600
_PASSING = (VenueAwayError, RestRefusedError, AnswerRejectedError, DatabaseAwayError)
# What the venue does not know has no trades.
_NOT_KNOWN = frozenset({400, 404})

_log = structlog.get_logger(__name__)


@attrs.frozen
class BackfillStatistics:
    """What was filled since the start."""

    gaps: int
    trades: int
    waiting: int
    """Gaps that were found but not filled when last looked."""
    last_error: str | None
    """None: the last attempt went well."""


@attrs.define(eq=False)
class TradeBackfill:
    """Fills gaps of the trade channel."""

    client: VenueClient
    connect: Callable[[], Database]
    flush: Callable[[], Awaitable[None]]
    """Returns when everything received so far is in the database; may take for ever."""
    wall_ns: Callable[[], Nanos] = time.time_ns
    make_backoff: Callable[[], Backoff] = Backoff
    settled_ns: Nanos = SETTLED_NS
    """How long after its end a gap is filled; the trades behind it, within `MARGIN_NS`, must be stored by then."""
    _database: DatabaseThread = attrs.field(
        default=attrs.Factory(lambda self: DatabaseThread(self.connect), takes_self=True), init=False
    )
    _statistics: BackfillStatistics = attrs.field(default=BackfillStatistics(0, 0, 0, None), init=False)

    def statistics(self) -> BackfillStatistics:
        """Return the figures so far."""
        return self._statistics

    async def run(self) -> None:
        """Fill gaps until cancelled.

        Raises:
            StoreError: the store is not one that we may write to.
        """
        backoff = self.make_backoff()
        while True:
            began_s = trio.current_time()
            try:
                await self.fill()
            except _PASSING as error:
                self._note_error(str(error))
                await trio.sleep(backoff.after(trio.current_time() - began_s))
            else:
                self._note_error(None)
                await trio.sleep(INTERVAL_S)

    async def fill(self) -> None:
        """Fill all gaps that have ended long enough ago."""
        ended_before_ns = self.wall_ns() - self.settled_ns
        find = partial(gaps_to_fill, ended_before_ns=ended_before_ns, now_ns=self.wall_ns())
        while gaps := await self._database.run(find):
            self._note(waiting=len(gaps))
            with trio.move_on_after(FLUSH_LIMIT_S) as limit:
                await self.flush()
            if limit.cancelled_caught:
                return
            for left, gap in zip(range(len(gaps) - 1, -1, -1), gaps, strict=True):
                await self._fill_one(gap)
                self._note(gaps=self._statistics.gaps + 1, waiting=left)

    async def _fill_one(self, gap: TradeGap) -> None:
        tickers = await self._database.run(partial(markets_of, gap=gap))
        found = 0
        for ticker in tickers:
            for begin in range(gap.from_ms // 1000, gap.to_ms // 1000 + 1, SLICE_S):
                trades = await self._trades(ticker, begin, min(begin + SLICE_S, gap.to_ms // 1000 + 1))
                if trades:
                    store = partial(store_missing, ticker=ticker, trades=trades, now_ns=self.wall_ns())
                    stored = await self._database.run(store)
                    found += stored
                    self._note(trades=self._statistics.trades + stored)
        await self._database.run(partial(note_filled, gap=gap, tickers=tickers, now_ns=self.wall_ns()))
        _log.info("trade gap filled", gap=gap.id, markets=len(tickers), trades=found)

    async def _trades(self, ticker: str, min_ts: int, max_ts: int) -> list[RestTrade]:
        try:
            return await self.client.trades(ticker, min_ts, max_ts)
        except RestRefusedError as error:
            if error.status not in _NOT_KNOWN:
                raise
            return []

    def _note(self, **figures: int) -> None:
        self._statistics = attrs.evolve(self._statistics, **figures)  # type: ignore[arg-type]  # none is the error

    def _note_error(self, error: str | None) -> None:
        """Remember the error; log only what is news."""
        if error is not None and self._statistics.last_error is None:
            _log.warning("trade gaps not filled", error=error)
        self._statistics = attrs.evolve(self._statistics, last_error=error)
