"""What a market's own sheet does not say: its event, its series, and the fees of both; fetched when due."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final, TypeVar

import attrs
import trio

from rlflow.data.rest.client import VenueClient
from rlflow.data.sheets.fee_changes import SeenFees
from rlflow.errors import RestRefusedError
from rlflow.kalshi.sheets import EventSheet

EVENT_INTERVAL_S: Final = 6 * 3_600.0
"""A change of an event's fee is told by the lifecycle channel too."""
SERIES_INTERVAL_S: Final = 3_600.0
"""Changes of a series' fee are announced ahead."""
# Of the events of the past we need no more; of a series of five-minute markets, this is a week.
_MAX_EVENTS = 2_000

T = TypeVar("T")


@attrs.define
class MarketDetails:
    """Events and series, asked for again when their time has come; a 404 is an answer too."""

    client: VenueClient
    clock: Callable[[], float] = trio.current_time
    _events: dict[str, EventSheet | None] = attrs.field(factory=dict, init=False)
    _event_due: dict[str, float] = attrs.field(factory=dict, init=False)
    _series_due: dict[str, float] = attrs.field(factory=dict, init=False)
    _fees: list[SeenFees] = attrs.field(factory=list, init=False)

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

    async def refresh(self, event_tickers: Iterable[str]) -> dict[str, EventSheet]:
        """Return those of these events that exist, and look at the fees of theirs and their series'.

        Raises:
            RestRefusedError, VenueAwayError, AnswerRejectedError: as the client does, but for a 404.
        """
        events: dict[str, EventSheet] = {}
        for ticker in sorted(set(event_tickers)):
            if self.clock() >= self._event_due.get(ticker, 0.0):
                await self._look_at_event(ticker)
            if (event := self._events.get(ticker)) is not None:
                events[ticker] = event
        for series in sorted({event.series_ticker for event in events.values() if event.series_ticker}):
            if self.clock() >= self._series_due.get(series, 0.0):
                await self._look_at_series(series)
        return events

    async def _look_at_event(self, ticker: str) -> None:
        sheet = await _unless_missing(self.client.event, ticker)
        if sheet is not None:
            self._fees.append(SeenFees.of_event(sheet))
        self._remember(ticker, sheet)

    async def _look_at_series(self, ticker: str) -> None:
        sheet = await _unless_missing(self.client.series, ticker)
        if sheet is not None and (sheet.fee_type is not None or sheet.fee_multiplier is not None):
            changes = await _unless_missing(self.client.fee_changes, ticker) or []
            own = [change for change in changes if change.series_ticker == ticker]
            self._fees.append(SeenFees.of_series(sheet, own))
        self._series_due[ticker] = self.clock() + SERIES_INTERVAL_S

    def _remember(self, ticker: str, sheet: EventSheet | None) -> None:
        self._events.pop(ticker, None)
        self._events[ticker] = sheet
        self._event_due[ticker] = self.clock() + EVENT_INTERVAL_S
        while len(self._events) > _MAX_EVENTS:
            oldest = next(iter(self._events))
            del self._events[oldest]
            self._event_due.pop(oldest, None)


async def _unless_missing(ask: Callable[[str], Awaitable[T]], ticker: str) -> T | None:
    """Return the answer, None where there is no such thing."""
    try:
        return await ask(ticker)
    except RestRefusedError as error:
        if error.status != 404:
            raise
        return None
