"""What a market's own sheet does not say: its event, its series, and the fees of both; fetched when due."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Final

import attrs
import trio

from rlflow.data.rest.client import VenueClient
from rlflow.data.sheets.fee_changes import Moment, SeenFees
from rlflow.data.sheets.retries import Retries
from rlflow.errors import AnswerRejectedError, RestRefusedError
from rlflow.kalshi.sheets import EventSheet, FeeChange, SeriesSheet
from rlflow.units import Nanos

EVENT_INTERVAL_S: Final = 6 * 3_600.0
"""A change of an event's fee is told by the lifecycle channel too."""
SERIES_INTERVAL_S: Final = 3_600.0
"""Changes of a series' fee are announced ahead."""
FIRST_RETRY_S: Final = 2.5
"""After an event or a series was asked for in vain, as where it is not there yet (protocol 6.2); then twice as long.
Half of what a market waits for that lacks its event, so that the event may be asked for whenever the market is."""
# Of the events of the past we need no more; of a series of five-minute markets, this is a week.
_MAX_EVENTS = 2_000


@attrs.define
class MarketDetails:
    """Events and series, asked for again when their time has come.

    What one of them is refused, or answered that cannot be read, is no concern of the others.
    """

    client: VenueClient
    wall_ns: Callable[[], Nanos] = time.time_ns
    clock: Callable[[], float] = trio.current_time
    _events: dict[str, EventSheet] = attrs.field(factory=dict, init=False)
    _event_due: dict[str, float] = attrs.field(factory=dict, init=False)
    _series_due: dict[str, float] = attrs.field(factory=dict, init=False)
    _failures: Retries[str] = attrs.field(
        default=attrs.Factory(lambda: Retries(FIRST_RETRY_S, SERIES_INTERVAL_S)), init=False
    )
    _fees: list[SeenFees] = attrs.field(factory=list, init=False)

    @property
    def error(self) -> str | None:
        """Why an event or a series is not known; None: all are, but for those that the venue does not know (yet)."""
        return self._failures.reason

    @property
    def fees(self) -> tuple[SeenFees, ...]:
        """What was seen of fees and is not forgotten, the oldest first."""
        return tuple(self._fees)

    def forget_fees(self, stored: Collection[SeenFees]) -> None:
        """Let go of what is stored."""
        self._fees = [seen for seen in self._fees if seen not in stored]

    def forget_event(self, event_ticker: str) -> None:
        """Ask for an event anew when next needed: its fee has changed."""
        self._event_due.pop(event_ticker, None)
        self._failures.forget(f"event {event_ticker}")

    async def refresh(self, event_tickers: Iterable[str]) -> dict[str, EventSheet]:
        """Return those of these events that are known, and look at the fees of theirs and their series'.

        Raises:
            RestRefusedError: the key was refused.
            VenueAwayError: as the client does.
        """
        events: dict[str, EventSheet] = {}
        for ticker in sorted(set(event_tickers)):
            if self.clock() >= self._event_due.get(ticker, 0.0):
                await self._attempt(f"event {ticker}", partial(self._look_at_event, ticker))
            if (event := self._events.get(ticker)) is not None:
                events[ticker] = event
        for series in sorted({event.series_ticker for event in events.values() if event.series_ticker}):
            if self.clock() >= self._series_due.get(series, 0.0):
                await self._attempt(f"series {series}", partial(self._look_at_series, series))
        return events

    async def _attempt(self, what: str, look: Callable[[], Awaitable[None]]) -> None:
        """Look at one thing, unless it has failed a moment ago."""
        if not self._failures.is_due(what, self.clock()):
            return
        try:
            await look()
        except (RestRefusedError, AnswerRejectedError) as error:
            if error.is_about_key:
                raise
            is_missing = isinstance(error, RestRefusedError) and error.status == 404
            self._failures.failed(what, self.clock(), None if is_missing else f"{what}: {error}")
        else:
            self._failures.forget(what)

    async def _look_at_event(self, ticker: str) -> None:
        asked_ms = self._wall_ms()
        sheet = await self.client.event(ticker)
        self._remember(ticker, sheet)
        _check_fees(sheet)
        self._fees.append(SeenFees.of_event(sheet, Moment(asked_ms, self._wall_ms())))

    async def _look_at_series(self, ticker: str) -> None:
        asked_ms = self._wall_ms()
        sheet = await self.client.series(ticker)
        at = Moment(asked_ms, self._wall_ms())
        _check_fees(sheet)
        if sheet.fee_type is not None or sheet.fee_multiplier is not None:
            own = [change for change in await self._fee_changes(ticker) if change.series_ticker == ticker]
            self._fees.append(SeenFees.of_series(sheet, own, at))
        self._series_due[ticker] = self.clock() + SERIES_INTERVAL_S

    def _wall_ms(self) -> int:
        return self.wall_ns() // 10**6

    async def _fee_changes(self, series: str) -> list[FeeChange]:
        try:
            return await self.client.fee_changes(series)
        except RestRefusedError as error:
            if error.status != 404:
                raise
            return []

    def _remember(self, ticker: str, sheet: EventSheet) -> None:
        self._events.pop(ticker, None)
        self._events[ticker] = sheet
        self._event_due[ticker] = self.clock() + EVENT_INTERVAL_S
        while len(self._events) > _MAX_EVENTS:
            oldest = next(iter(self._events))
            del self._events[oldest]
            self._event_due.pop(oldest, None)


def _check_fees(sheet: EventSheet | SeriesSheet) -> None:
    """Raise if a fee stands there and could not be read: to note it as none would be wrong."""
    if unread := [field for field in sheet.unread if field.startswith("fee_")]:
        raise AnswerRejectedError("fees", f"{', '.join(unread)} cannot be read")
