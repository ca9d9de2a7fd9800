"""What tests and demonstrations do to a simulated venue, beside what its markets do by the clock."""

from fractions import Fraction
from functools import partial
from typing import Any, Literal

from rlflow.exchange.markets import publications
from rlflow.exchange.markets.catalogue import Catalogue
from rlflow.exchange.markets.floor import Floor, Market
from rlflow.exchange.markets.listing import FeeChange
from rlflow.exchange.markets.market_life import IllegalStepError, MarketLife
from rlflow.exchange.markets.series import SECOND_NS
from rlflow.exchange.markets.switches import Switches
from rlflow.exchange.markets.venue_clock import VenueClock
from rlflow.exchange.matching.grid import named_grid
from rlflow.fees import FeeModel
from rlflow.units import ONE_DOLLAR, Nanos, Price


class UnknownMarketError(IllegalStepError):
    """No market of that name is listed."""


class VenueControl:
    """The verbs; all raise `IllegalStepError` and have then changed nothing."""

    def __init__(
        self, floor: Floor, life: MarketLife, catalogue: Catalogue, clock: VenueClock, switches: Switches
    ) -> None:
        self._floor = floor
        self._life = life
        self._catalogue = catalogue
        self._clock = clock
        self._switches = switches

    def pause(self, ticker: str, at_ns: Nanos) -> None:
        """Halt trading in an open market."""
        self._life.pause(self._market(ticker), self._clock.advance(at_ns))

    def unpause(self, ticker: str, at_ns: Nanos) -> None:
        """Let trading go on in a halted market, without the orders that rested there."""
        self._life.unpause(self._market(ticker), self._clock.advance(at_ns))

    def close_early(self, ticker: str, at_ns: Nanos) -> None:
        """Close a market now; the rest of its life follows as it would have."""
        self._life.close_early(self._market(ticker), self._clock.advance(at_ns))

    def move_close(self, ticker: str, close_ns: Nanos, at_ns: Nanos) -> None:
        """Move a market's close to a time to come; one that has closed, and has no result yet, opens again."""
        self._life.move_close(self._market(ticker), close_ns // SECOND_NS * SECOND_NS, self._clock.advance(at_ns))

    def determine(
        self, ticker: str, result: Literal["yes", "no", "scalar"], at_ns: Nanos, *, value: Price | None = None
    ) -> None:
        """Give a market a result, closing it first if need be; another one until it is paid out.

        `value` is what a YES contract pays; only a scalar result needs it.
        """
        paid = {"yes": ONE_DOLLAR, "no": 0}.get(result, value)
        if paid is None or not 0 <= paid <= ONE_DOLLAR:
            raise IllegalStepError("a scalar result needs a value from 0 to a dollar")
        self._life.determine(self._market(ticker), result, paid, self._clock.advance(at_ns))

    def set_price_structure(self, ticker: str, structure: str, at_ns: Nanos) -> None:
        """Change a market's ticks; resting orders stay where they are."""
        try:
            grid = named_grid(structure)
        except ValueError as error:
            raise IllegalStepError(str(error)) from error
        market = self._market(ticker)
        market.book.grid = grid
        fields = {"price_level_structure": grid.structure, "price_ranges": grid.ranges()}
        self._life.change_sheet(market, "price_level_structure_updated", fields, self._clock.advance(at_ns), grid=grid)

    def set_metadata(self, ticker: str, at_ns: Nanos, **fields: Any) -> None:
        """Change any of a market's `strike_type`, `floor_strike`, `cap_strike`, `custom_strike`, `yes_sub_title`."""
        if not fields.keys() <= {"strike_type", "floor_strike", "cap_strike", "custom_strike", "yes_sub_title"}:
            raise IllegalStepError(f"these cannot be changed: {', '.join(sorted(fields))}")
        self._life.change_sheet(self._market(ticker), "metadata_updated", fields, self._clock.advance(at_ns), **fields)

    def set_event_fees(
        self, event_ticker: str, fee_type: str | None, multiplier: Fraction | None, at_ns: Nanos
    ) -> None:
        """Give an event's markets fees of their own from now on; None: those of the series again."""
        if event_ticker not in self._catalogue.events:
            raise IllegalStepError(f"there is no event {event_ticker}")
        event = self._catalogue.override_fees(event_ticker, _known(fee_type), multiplier, self._clock.advance(at_ns))
        self._charge()
        self._floor.outlets.publish([publications.event_fees(event, self._floor.times(self._clock.now_ns))])

    def set_series_fees(self, series_ticker: str, fees: FeeModel, scheduled_ns: Nanos, at_ns: Nanos) -> None:
        """Announce a change of a series' fees, which happens when its time has come; the stream says nothing of it."""
        if series_ticker not in self._catalogue.series:
            raise IllegalStepError(f"there is no series {series_ticker}")
        change = self._catalogue.announce_fees(series_ticker, fees, scheduled_ns)
        self._floor.note(max(scheduled_ns, self._clock.advance(at_ns)), partial(self._change_series_fees, change))

    def _change_series_fees(self, change: FeeChange, _at_ns: Nanos) -> None:
        self._catalogue.change_fees(change)
        self._charge()

    def _charge(self) -> None:
        for ticker, market in self._floor.markets.items():
            self._floor.engine.set_fees(ticker, self._catalogue.fees(market.listing.sheet.event_ticker))

    def set_trading(self, at_ns: Nanos, *, is_on: bool) -> None:
        """Pause trading everywhere, or let it go on (protocol 8.2)."""
        at_ns = self._clock.advance(at_ns)
        self._switches.is_trading = is_on
        self._heed_switches(at_ns)

    def set_maintenance(self, at_ns: Nanos, *, is_on: bool, lowers_clock: bool = True) -> None:
        """Begin maintenance, which ends all connections, or end it; the clock may be lower then (protocol 8.2)."""
        at_ns = self._clock.advance(at_ns)
        self._switches.is_exchange_active = not is_on
        self._heed_switches(at_ns)
        if is_on:
            self._floor.outlets.disconnect()
        elif lowers_clock:
            self._floor.lower_clock()

    def _heed_switches(self, at_ns: Nanos) -> None:
        # Orders may ask to go at either kind of pause (docs.kalshi.com, maintenance_and_pauses, read 2026-11-29).
        if self._switches.takes_orders:
            self._life.let_in_waiting(at_ns)
        else:
            self._floor.publish_actions(self._floor.engine.halt(at_ns), at_ns)
        self._floor.outlets.wake()

    def _market(self, ticker: str) -> Market:
        market = self._floor.markets.get(ticker)
        if market is None and ticker in self._floor.listings:
            raise IllegalStepError(f"{ticker} is finalized")
        if market is None:
            raise UnknownMarketError(f"there is no market {ticker}")
        return market


def _known(fee_type: str | None) -> str | None:
    """Return a fee type that can be charged; IllegalStepError for others."""
    try:
        return None if fee_type is None else FeeModel(fee_type).fee_type
    except ValueError as error:
        raise IllegalStepError(str(error)) from error
