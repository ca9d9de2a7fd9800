"""What a venue lists: series, events and markets, as their data sheets say, and where each market stands now.

Sheets never change; a change of ticks or metadata gives the listing a new sheet. Times are nanoseconds since 1970.
"""

from fractions import Fraction
from typing import Any, Literal, TypeAlias

import attrs

from rlflow.exchange.matching.grid import Grid, named_grid
from rlflow.exchange.wire import frames
from rlflow.units import Count, Money, Nanos, Price

Status: TypeAlias = Literal["initialized", "active", "inactive", "closed", "determined", "finalized"]
"""`Market.status` of protocol 8.1, without what follows on a contested result."""
Result: TypeAlias = Literal["", "yes", "no", "scalar"]
"""Empty: not determined."""

FILTER_WORDS: dict[Status, str] = {
    "initialized": "unopened",
    "active": "open",
    "inactive": "paused",
    "closed": "closed",
    "determined": "closed",
    "finalized": "settled",
}
"""What `status=` of a query says for a status (protocol 8.1)."""


def whole_seconds(at_ns: Nanos) -> int:
    """Return a time as lifecycle messages carry it."""
    return at_ns // 1_000_000_000


def event_ticker_of(ticker: str) -> str:
    """Return the event of a market, listed or not: all but the part behind its last hyphen."""
    return ticker.rpartition("-")[0] or ticker


@attrs.frozen
class Horizon:
    """How far back a venue remembers everything; 0: to its beginning."""

    settled_ns: Nanos = 0
    """Markets that were settled from then on are listed."""
    traded_ns: Nanos = 0
    """Trades from then on are there."""


@attrs.frozen
class SeriesSheet:
    """A series: markets that differ in their dates and strikes alone."""

    ticker: str
    title: str = ""
    category: str = "Simulation"
    frequency: str = "custom"
    tags: tuple[str, ...] = ()
    fee_type: str = "quadratic"
    fee_multiplier: Fraction = Fraction(1)


@attrs.frozen
class FeeChange:
    """A change of a series' fees that was announced, or has happened."""

    id: str
    series_ticker: str
    fee_type: str
    fee_multiplier: Fraction
    scheduled_ns: Nanos


@attrs.frozen
class EventSheet:
    """An event: the markets of a series on one question."""

    ticker: str
    series_ticker: str
    title: str
    sub_title: str = ""
    collateral_return_type: str = ""
    """MECNET, DIRECNET, or nothing."""
    strike_ns: Nanos | None = None
    strike_period: str = ""
    fee_type_override: str | None = None
    """None: the series' fees hold."""
    fee_multiplier_override: Fraction | None = None
    updated_ns: Nanos = 0
    number: int = 0
    """Over all events of a venue, ascending in the order in which they were listed."""

    @property
    def mutually_exclusive(self) -> bool:
        """Whether one of its markets at most can end with YES."""
        return self.collateral_return_type == "MECNET"

    @property
    def has_own_fees(self) -> bool:
        """Whether its markets charge anything but what the series says."""
        return self.fee_type_override is not None or self.fee_multiplier_override is not None


@attrs.frozen
class MarketSheet:
    """What a market is."""

    ticker: str
    event_ticker: str
    series_ticker: str
    title: str
    open_ns: Nanos
    close_ns: Nanos
    yes_sub_title: str = ""
    no_sub_title: str = ""
    grid: Grid = attrs.field(factory=lambda: named_grid("linear_cent"), repr=False)
    """`price_level_structure` and `price_ranges`."""
    settlement_timer_s: float = 1.0
    """From determination to payment."""
    can_close_early: bool = True
    strike_type: str = ""
    """Such as `greater_or_equal`; empty: none."""
    floor_strike: float | None = None
    cap_strike: float | None = None
    custom_strike: dict[str, str] = attrs.field(factory=dict)
    rules_primary: str = ""
    rules_secondary: str = ""
    exchange_index: int = 0

    @property
    def market_id(self) -> str:
        """The UUID, the same in every run."""
        return frames.market_id(self.ticker)

    def strike(self) -> dict[str, Any]:
        """Return the strike's fields as the venue writes them, without those that it has not."""
        fields = {
            "strike_type": self.strike_type,
            "floor_strike": self.floor_strike,
            "cap_strike": self.cap_strike,
            "custom_strike": self.custom_strike,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", {})}


@attrs.define(eq=False)
class Listing:
    """A market as it stands. The venue alone changes it."""

    sheet: MarketSheet
    created_ns: Nanos
    updated_ns: Nanos
    """Of the last change of what is not trading: sheet, status, result."""
    status: Status = "initialized"
    result: Result = ""
    settlement_value: Price | None = None
    """What a YES contract pays; None before determination."""
    closed_ns: Nanos | None = None
    determined_ns: Nanos | None = None
    settled_ns: Nanos | None = None
    last_price: Price | None = None
    """The YES price of the last trade; None before the first."""
    last_count: Count = 0
    volume: Count = 0
    dollar_volume: Money = 0
    """YES price times contracts, of all trades."""
    open_interest: Count = 0
    number: int = 0
    """Over all markets of a venue, ascending in the order in which they were listed."""

    @property
    def ticker(self) -> str:
        """The market's name."""
        return self.sheet.ticker

    @property
    def is_tradable(self) -> bool:
        """Whether orders are taken."""
        return self.status == "active"

    @property
    def has_opened(self) -> bool:
        """Whether it has ever been open."""
        return self.status != "initialized"

    @property
    def filter_word(self) -> str:
        """What `status=` of a query says for it."""
        return FILTER_WORDS[self.status]
