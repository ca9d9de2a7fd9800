"""The data sheets of all recorded markets, kept current in the store until the venue has nothing more to say of them.

Titles, tick grids, times, results and fees come by REST only. Every market that is followed, or that the store has
rows of, is asked for at the start, every five minutes, and when something was heard of it, until its status is final.
Nothing waits for this task: a venue or a database that is away only makes the sheets older.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.database import Database
from rlflow.data.database_thread import DatabaseThread
from rlflow.data.persevering import persevere
from rlflow.data.rest.client import TICKERS_PER_REQUEST, VenueClient
from rlflow.data.sheets.ask_schedule import AskSchedule
from rlflow.data.sheets.market_details import MarketDetails
from rlflow.data.sheets.sheet_rows import SheetBatch, store_sheets, unfinished
from rlflow.errors import AnswerRejectedError, RestRefusedError
from rlflow.kalshi.sheets import MarketSheet
from rlflow.units import Nanos

# What is due within this time is asked for together, and told tickers are gathered for as long.
GATHER_S: Final = 0.5
# How often to look whether others are followed, should nobody have told.
LOOK_S: Final = 60.0
# Sheets of some 2 KB in memory; the store has them all.
_REMEMBERED = 5_000

_log = structlog.get_logger(__name__)


@attrs.frozen
class SheetStatistics:
    """How current the data sheets are."""

    pending: int
    """Markets that are asked for until they are final."""
    missing: int
    """Of those, how many the venue does not know."""
    final: int
    """Markets that were asked for to their end since the start."""
    stored: int
    """Sheets written since the start."""
    refused: int
    """Sheets that PostgreSQL refused."""
    unread: tuple[str, ...]
    """Fields that could not be read in some sheet since the start; the sheet was stored without them."""
    last_stored_ns: Nanos | None
    last_error: str | None
    """None: the last attempt went well, and of each market all is known."""


def _nobody(_sheets: Sequence[MarketSheet]) -> None:
    """Tell nobody."""


@attrs.define(eq=False)
class MarketSheets:
    """Keeps `rl_markets` and `rl_fee_changes` current."""

    client: VenueClient
    connect: Callable[[], Database]
    followed: Callable[[], Iterable[str]]
    """The markets that are followed at the moment."""
    fetched: Callable[[Sequence[MarketSheet]], None] = _nobody
    """Is told of sheets as soon as they have come, stored or not."""
    wall_ns: Callable[[], Nanos] = time.time_ns
    make_backoff: Callable[[], Backoff] = Backoff
    _schedule: AskSchedule = attrs.field(factory=AskSchedule, init=False)
    _details: MarketDetails = attrs.field(
        default=attrs.Factory(lambda self: MarketDetails(self.client, self.wall_ns), takes_self=True), init=False
    )
    _told: set[str] = attrs.field(factory=set, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _database: DatabaseThread = attrs.field(
        default=attrs.Factory(lambda self: DatabaseThread(self.connect), takes_self=True), init=False
    )
    _is_loaded: bool = attrs.field(default=False, init=False)
    _sheets: dict[str, MarketSheet] = attrs.field(factory=dict, init=False)
    _stored: int = attrs.field(default=0, init=False)
    _refused: int = attrs.field(default=0, init=False)
    _unread: tuple[str, ...] = attrs.field(default=(), init=False)
    _last_stored_ns: Nanos | None = attrs.field(default=None, init=False)
    _last_error: str | None = attrs.field(default=None, init=False)

    def learn(self, tickers: Iterable[str]) -> None:
        """Ask for these markets soon: they are new, or something was heard of them. Any number of times."""
        self._told.update(tickers)
        self._wake.set()

    def learn_event(self, event_ticker: str) -> None:
        """Ask for an event's fee soon, with its markets that are known here."""
        self._details.forget_event(event_ticker)
        self.learn(sheet.ticker for sheet in self._sheets.values() if sheet.event_ticker == event_ticker)

    def sheet(self, ticker: str) -> MarketSheet | None:
        """Return a market's sheet as last fetched by this process, None if it was not, or long ago."""
        return self._sheets.get(ticker)

    def statistics(self) -> SheetStatistics:
        """Return the figures so far."""
        return SheetStatistics(
            pending=len(self._schedule),
            missing=self._schedule.missing,
            final=self._schedule.final,
            stored=self._stored,
            refused=self._refused,
            unread=self._unread,
            last_stored_ns=self._last_stored_ns,
            last_error=self._last_error,
        )

    async def run(self) -> None:
        """Keep the sheets current until cancelled.

        Raises:
            StoreError: the store is not one that we may write to.
        """
        await persevere(self._ask_what_is_due, self._wait_due, self._note_error, self.make_backoff)

    async def _ask_what_is_due(self) -> None:
        """Ask for all that is due, part by part, and store each part."""
        if not self._is_loaded:
            await self._learn_limits()
            self._schedule.add(await self._database.run(unfinished), trio.current_time())
            self._is_loaded = True
        now_s = trio.current_time()
        told, self._told, self._wake = self._told, set(), trio.Event()
        self._schedule.hasten(told, now_s)
        self._schedule.add(self.followed(), now_s)
        due = self._schedule.due(now_s + GATHER_S)
        for begin in range(0, len(due), TICKERS_PER_REQUEST):
            await self._ask_all(due[begin : begin + TICKERS_PER_REQUEST])

    async def _learn_limits(self) -> None:
        try:
            await self.client.limits()
        except (RestRefusedError, AnswerRejectedError) as error:
            _log.warning("limits of the account not known", error=str(error))

    async def _ask_all(self, tickers: list[str]) -> None:
        """Ask for some markets; where all are refused because of one, find it, so that it spoils no other."""
        try:
            await self._ask(tickers)
        except RestRefusedError as error:
            if error.status != 400:
                raise
            if len(tickers) == 1:
                self._schedule.missed(tickers[0], trio.current_time())
            else:
                await self._ask_all(tickers[: len(tickers) // 2])
                await self._ask_all(tickers[len(tickers) // 2 :])

    async def _ask(self, tickers: list[str]) -> None:
        """Ask for some markets at once; they stay due if this fails."""
        sheets = await self.client.markets(tickers=tickers)
        found = {sheet.ticker: sheet for sheet in sheets if sheet.ticker in tickers}
        self.fetched(tuple(found.values()))
        events = await self._details.refresh(sheet.event_ticker for sheet in found.values())
        batch = SheetBatch(tuple(found.values()), events, self._details.fees, self.wall_ns())
        if found:
            refused = await self._database.run(partial(store_sheets, batch=batch))
            self._details.forget_fees(batch.fees)
            self._refused += refused
            self._stored += len(found) - refused
            self._last_stored_ns = batch.fetched_ns
        now_s = trio.current_time()
        for ticker in tickers:
            if (sheet := found.get(ticker)) is None:
                self._schedule.missed(ticker, now_s)
                continue
            is_whole = sheet.event_ticker in events
            note = self._schedule.found if is_whole else self._schedule.found_in_part
            note(ticker, now_s, is_final=sheet.is_final)
            self._remember(sheet)

    async def _wait_due(self) -> None:
        """Wait until something is due, or was told."""
        deadline = min(self._schedule.next_s(), trio.current_time() + LOOK_S)
        with trio.move_on_at(deadline):
            await self._wake.wait()
        await trio.sleep(GATHER_S)

    def _remember(self, sheet: MarketSheet) -> None:
        if news := tuple(field for field in sheet.unread if field not in self._unread):
            _log.warning("fields of a market sheet not read", market=sheet.ticker, fields=", ".join(news))
            self._unread += news
        self._sheets.pop(sheet.ticker, None)
        self._sheets[sheet.ticker] = sheet
        if len(self._sheets) > _REMEMBERED:
            del self._sheets[next(iter(self._sheets))]

    def _note_error(self, error: str | None) -> None:
        """Remember the error, or one that nothing else had to wait for; log only what is news."""
        error = error or self._details.error
        if error is not None and self._last_error is None:
            _log.warning("market sheets not current", error=error)
        elif error is None and self._last_error is not None:
            _log.info("market sheets current again")
        self._last_error = error
