"""Series and events of a venue, and what their markets charge."""

from collections import Counter
from fractions import Fraction
from itertools import count

import attrs

from rlflow.exchange.markets.listing import EventSheet, FeeChange, SeriesSheet
from rlflow.fees import FeeModel
from rlflow.units import Nanos


class Catalogue:
    """The sheets, replaced when they change."""

    def __init__(self) -> None:
        self.series: dict[str, SeriesSheet] = {}
        self.events: dict[str, EventSheet] = {}
        """By ticker, the oldest first."""
        self.fee_changes: list[FeeChange] = []
        """Of series, in the order of their announcement."""
        self._markets: Counter[str] = Counter()
        self._numbers = count()

    def add_event(self, event: EventSheet) -> None:
        """List an event; one that is listed already stays as it is."""
        if event.ticker not in self.events:
            self.events[event.ticker] = attrs.evolve(event, number=next(self._numbers))

    def add_market(self, event_ticker: str) -> None:
        """Note that an event has one more market."""
        self._markets[event_ticker] += 1

    def remove_market(self, event_ticker: str) -> None:
        """Note that one of an event's markets is forgotten; with the last one, the event is too."""
        self._markets[event_ticker] -= 1
        if not self._markets[event_ticker]:
            del self._markets[event_ticker], self.events[event_ticker]

    def fees(self, event_ticker: str) -> FeeModel:
        """Return what the markets of an event charge: its own override beats the series' value (protocol 7)."""
        event = self.events[event_ticker]
        series = self.series[event.series_ticker]
        multiplier = event.fee_multiplier_override
        return FeeModel(
            event.fee_type_override or series.fee_type, series.fee_multiplier if multiplier is None else multiplier
        )

    def override_fees(
        self, event_ticker: str, fee_type: str | None, multiplier: Fraction | None, at_ns: Nanos
    ) -> EventSheet:
        """Give an event fees of its own, or with None those of its series again; return the new sheet."""
        event = attrs.evolve(
            self.events[event_ticker],
            fee_type_override=fee_type,
            fee_multiplier_override=multiplier,
            updated_ns=at_ns,
        )
        self.events[event_ticker] = event
        return event

    def announce_fees(self, series_ticker: str, fees: FeeModel, scheduled_ns: Nanos) -> FeeChange:
        """Note a change of a series' fees to come; `change_fees` carries it out."""
        change = FeeChange(
            f"{series_ticker}-{len(self.fee_changes) + 1}", series_ticker, fees.fee_type, fees.multiplier, scheduled_ns
        )
        self.fee_changes.append(change)
        return change

    def change_fees(self, change: FeeChange) -> None:
        """Let an announced change be the series' fees."""
        series = self.series[change.series_ticker]
        self.series[change.series_ticker] = attrs.evolve(
            series, fee_type=change.fee_type, fee_multiplier=change.fee_multiplier
        )
