"""Trades that were lost in gaps of their channel, fetched by REST and stored once (protocol 4.3, rule 5).

A gap is filled a minute after its end, when all that was received meanwhile is in the tables, so that what came by
another connection, or behind the gap, is not stored twice. Where the connection had ended, each market's trades are
fetched up to when it was heard again, by whichever connection, or closed. Nothing waits for this task, and no gap for
another: one that the venue refuses to fill, or fills with what cannot be read, is tried again ever more seldom.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.database import Database
from rlflow.data.database_thread import DatabaseThread
from rlflow.data.persevering import persevere
from rlflow.data.rest.client import Listed, VenueClient
from rlflow.data.sheets.retries import Retries
from rlflow.data.sheets.trade_rows import TradeGap, gaps_to_fill, markets_of, note_filled, store_missing
from rlflow.errors import AnswerRejectedError, RestRefusedError
from rlflow.kalshi.sheets import RestTrade
from rlflow.units import Nanos

INTERVAL_S: Final = 60.0
SETTLED_NS: Final = 60 * 10**9
"""After a gap's end, until the venue lists its trades and those behind it were received."""
PATIENCE_NS: Final = 3_600 * 10**9
"""So long is waited for a market to be heard again whose connection ended, before its trades are fetched up to now."""
FLUSH_LIMIT_S: Final = 30.0
LAST_RETRY_S: Final = 6 * 3_600.0
"""Between two attempts at a gap at most."""
# So much of a market's trades is in memory at once: some ten thousand in the busiest hour.
SLICE_S: Final = 3_600
# What the venue does not know has no trades.
_NOT_KNOWN = 404

_log = structlog.get_logger(__name__)


@attrs.frozen
class BackfillStatistics:
    """What was filled since the start."""

    gaps: int
    trades: int
    waiting: int
    """Gaps that were found but not filled when last looked."""
    last_error: str | None
    """None: the last attempt went well, and no gap is tried in vain."""


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
    _failures: Retries[int] = attrs.field(default=attrs.Factory(lambda: Retries(INTERVAL_S, LAST_RETRY_S)), init=False)
    """By the numbers of gaps."""
    _statistics: BackfillStatistics = attrs.field(default=BackfillStatistics(0, 0, 0, None), init=False)

    def statistics(self) -> BackfillStatistics:
        """Return the figures so far."""
        return self._statistics

    async def run(self) -> None:
        """Fill gaps until cancelled.

        Raises:
            StoreError: the store is not one that we may write to.
        """
        await persevere(self.fill, partial(trio.sleep, INTERVAL_S), self._note_error, self.make_backoff)

    async def fill(self) -> None:
        """Fill all gaps that have ended long enough ago."""
        ended_before_ns = self.wall_ns() - self.settled_ns
        find = partial(gaps_to_fill, ended_before_ns=ended_before_ns, now_ns=self.wall_ns())
        put_off: set[int] = set()
        while gaps := await self._database.run(partial(find, but=put_off)):
            self._note(waiting=len(gaps) + len(put_off))
            with trio.move_on_after(FLUSH_LIMIT_S) as limit:
                await self.flush()
            if limit.cancelled_caught:
                return
            before = self._statistics
            for left, gap in zip(range(len(gaps) - 1, -1, -1), gaps, strict=True):
                if await self._attempt(gap):
                    self._note(gaps=self._statistics.gaps + 1)
                else:
                    put_off.add(gap.id)
                self._note(waiting=left + len(put_off))
            if filled := self._statistics.gaps - before.gaps:
                _log.info("trade gaps filled", gaps=filled, trades=self._statistics.trades - before.trades)

    async def _attempt(self, gap: TradeGap) -> bool:
        """Fill a gap, unless it was tried in vain a moment ago; return whether that was done."""
        if not self._failures.is_due(gap.id, trio.current_time()):
            return False
        try:
            is_filled = await self._fill_one(gap)
        except (RestRefusedError, AnswerRejectedError) as error:
            if error.is_about_key:
                raise
            self._failures.failed(gap.id, trio.current_time(), f"gap {gap.id}: {error}")
            return False
        self._failures.forget(gap.id)
        return is_filled

    async def _fill_one(self, gap: TradeGap) -> bool:
        """Fill a gap, unless a market of it may come back yet; return whether that was done."""
        now_ns = self.wall_ns()
        markets = await self._database.run(partial(markets_of, gap=gap, now_ns=now_ns))
        if gap.to_ns > now_ns - PATIENCE_NS and any(market.until_ns is None for market in markets):
            return False
        until = {market.ticker: market.until_ns or now_ns for market in markets}
        whole = attrs.evolve(gap, to_ns=max([gap.to_ns, *until.values()]))
        await self._fill_markets(gap, until)
        await self._database.run(partial(note_filled, gap=whole, tickers=list(until), now_ns=self.wall_ns()))
        return True

    async def _fill_markets(self, gap: TradeGap, until: Mapping[str, Nanos]) -> None:
        """Store the trades of markets that were lost in a gap, each until its time.

        Raises:
            RestRefusedError, AnswerRejectedError: of one of them not all could be had; of the others they are stored.
        """
        failure: RestRefusedError | AnswerRejectedError | None = None
        for ticker, until_ns in until.items():
            try:
                await self._fill_market(ticker, attrs.evolve(gap, to_ns=until_ns))
            except (RestRefusedError, AnswerRejectedError) as error:
                if error.is_about_key:
                    raise
                failure = error
        if failure is not None:
            raise failure

    async def _fill_market(self, ticker: str, gap: TradeGap) -> None:
        """Store the trades of a market that were lost in a gap."""
        unreadable = 0
        for begin in range(gap.from_ms // 1000, gap.to_ms // 1000 + 1, SLICE_S):
            trades = await self._trades(ticker, begin, min(begin + SLICE_S, gap.to_ms // 1000 + 1))
            unreadable += trades.unreadable
            if trades.items:
                store = partial(store_missing, ticker=ticker, trades=trades.items, now_ns=self.wall_ns())
                stored = await self._database.run(store)
                self._note(trades=self._statistics.trades + stored)
        if unreadable:
            raise AnswerRejectedError("a list of trades", f"{unreadable} of {ticker} cannot be read")

    async def _trades(self, ticker: str, min_ts: int, max_ts: int) -> Listed[RestTrade]:
        try:
            return await self.client.trades(ticker, min_ts, max_ts)
        except RestRefusedError as error:
            if error.status != _NOT_KNOWN:
                raise
            return Listed([], unreadable=0)

    def _note(self, **figures: int) -> None:
        self._statistics = attrs.evolve(self._statistics, **figures)  # type: ignore[arg-type]  # none is the error

    def _note_error(self, error: str | None) -> None:
        """Remember the error, or that of a gap that no other waits for; log only what is news."""
        error = error or self._failures.reason
        if error is not None and self._statistics.last_error is None:
            _log.warning("trade gaps not filled", error=error)
        self._statistics = attrs.evolve(self._statistics, last_error=error)
