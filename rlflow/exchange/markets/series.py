"""Series whose markets open and close by the clock: which markets there are, and when each step of their lives is due.

Market lives are back to back, aligned to multiples of the period since 1970. Everything follows from the specification,
the seed and the number of the period, so that any part of the schedule can be computed without what came before.
"""

import random
import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Self

import attrs

from rlflow.exchange.markets.listing import EventSheet, MarketSheet, SeriesSheet
from rlflow.exchange.markets.market_plan import Life, Plan
from rlflow.exchange.matching.grid import named_grid
from rlflow.units import ONE_DOLLAR, Nanos, complement

SECOND_NS: Nanos = 1_000_000_000

_PERIOD = re.compile(r"(\d{1,6})(s|m|h|)", re.ASCII)
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3_600}
_TICKER = re.compile(r"[A-Za-z0-9._]{1,40}", re.ASCII)

# Seen on 33 of 45 closes of a 15-minute series: the books were cleared 5.4 to 8.2 s after the close.
_DRAIN_S = (5.4, 8.2)
# From there to the result; the recorded markets were paid out about ten seconds after their close.
_DETERMINATION_S = (1.0, 3.0)
_FIRST_STRIKE, _STRIKE_STEP = 1_000.0, 5.0
# Markets shorter than this do everything faster in proportion.
_UNHURRIED_S = 60


@attrs.frozen
class SeriesSpec:
    """A series to simulate."""

    ticker: str = attrs.field(validator=attrs.validators.matches_re(_TICKER))
    period_s: int = attrs.field(default=900, validator=[attrs.validators.ge(1), attrs.validators.le(86_400)])
    """From a market's opening to its close, where the next opens: whole seconds, as the venue's times are."""
    count: int = attrs.field(default=1, validator=[attrs.validators.ge(1), attrs.validators.le(10_000)])
    """Markets open at once, which are one event."""
    created_lead_s: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(0)))
    """How long before its opening a market is created; None: one period."""
    settlement_timer_s: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    """From determination to payment; the recorded markets had 1 s."""
    price_level_structure: str = "linear_cent"
    fee_type: str = "quadratic"
    fee_multiplier: Fraction = Fraction(1)

    @property
    def lead_s(self) -> int:
        """How long before its opening a market is created."""
        return self.period_s if self.created_lead_s is None else self.created_lead_s

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the series of `TICKER` or `TICKER:PERIOD`, the period like 90, 90s, 15m or 1h; ValueError if not."""
        ticker, colon, period = text.partition(":")
        if not _TICKER.fullmatch(ticker):
            raise ValueError(f"no series ticker: {ticker[:40]!r}; letters, digits, dots and underscores")
        if not colon:
            return cls(ticker)
        match = _PERIOD.fullmatch(period)
        seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
        if not 1 <= seconds <= 86_400:
            raise ValueError(f"no period from 1s to 24h: {period[:40]!r}; 90s, 15m and 1h are some")
        return cls(ticker, seconds)

    def sheet(self) -> SeriesSheet:
        """Return the series' data sheet."""
        return SeriesSheet(
            self.ticker,
            title=f"Simulated price up in the next {_duration(self.period_s)}",
            frequency=_duration(self.period_s),
            tags=("simulated",),
            fee_type=self.fee_type,
            fee_multiplier=self.fee_multiplier,
        )


class SeriesSchedule:
    """The markets of one series, by the number of their period: 0 began in 1970."""

    def __init__(self, spec: SeriesSpec, seed: int) -> None:
        self.spec = spec
        self._seed = seed
        self._period_ns = spec.period_s * SECOND_NS

    def period_at(self, at_ns: Nanos) -> int:
        """Return the number of the period whose markets are open then."""
        return at_ns // self._period_ns

    def creation_ns(self, period: int) -> Nanos:
        """Return when the markets of a period are created."""
        return period * self._period_ns - self.spec.lead_s * SECOND_NS

    def event(self, period: int) -> EventSheet:
        """Return the event of a period."""
        close_ns = (period + 1) * self._period_ns
        return EventSheet(
            f"{self.spec.ticker}-{_stamp(close_ns)}",
            self.spec.ticker,
            title=f"Simulated price at {_clock(close_ns)} UTC",
            sub_title=f"{_clock(close_ns - self._period_ns)} to {_clock(close_ns)} UTC",
            strike_ns=close_ns,
            updated_ns=self.creation_ns(period),
        )

    def markets(self, period: int) -> list[MarketSheet]:
        """Return the markets of a period, ascending by strike."""
        return [self.market(period, number) for number in range(self.spec.count)]

    def market(self, period: int, number: int) -> MarketSheet:
        """Return one market of a period; its strikes count from 0."""
        event = self.event(period)
        open_ns = period * self._period_ns
        strike = _FIRST_STRIKE + _STRIKE_STEP * number
        return MarketSheet(
            f"{event.ticker}-{number + 1}",
            event.ticker,
            event.series_ticker,
            title=f"Simulated price up in the next {_duration(self.spec.period_s)}?",
            open_ns=open_ns,
            close_ns=open_ns + self._period_ns,
            yes_sub_title=f"Target price: ${strike:,.2f}",
            no_sub_title=f"Target price: ${strike:,.2f}",
            grid=named_grid(self.spec.price_level_structure),
            settlement_timer_s=self.spec.settlement_timer_s,
            strike_type="greater_or_equal",
            floor_strike=strike,
            rules_primary=f"If the simulated price is at least {strike:,.2f} at the close, the market resolves to Yes.",
            rules_secondary="The price is made up; nothing of this is real.",
        )

    def plan(self, sheet: MarketSheet) -> Plan:
        """Return how one of these markets lives: the lower its strike, the likelier it starts."""
        assert sheet.floor_strike is not None
        number = round((sheet.floor_strike - _FIRST_STRIKE) / _STRIKE_STEP)
        fair = complement(ONE_DOLLAR * (number + 1) // (self.spec.count + 1))
        return Plan(life_of(sheet, self._seed), fair=fair)


def life_of(sheet: MarketSheet, seed: int) -> Life:
    """Return what follows a market's close, in proportion for one that is short."""
    draw = random.Random(f"rlflow {seed} life of {sheet.ticker}").random  # noqa: S311  # no secret
    haste = min(1.0, (sheet.close_ns - sheet.open_ns) / SECOND_NS / _UNHURRIED_S)

    def between(low: float, high: float) -> float:
        return (low + (high - low) * draw()) * haste

    return Life(drain_s=between(*_DRAIN_S), determination_s=between(*_DETERMINATION_S))


def _utc(at_ns: Nanos) -> datetime:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC)


def _stamp(at_ns: Nanos) -> str:
    """Return a close as tickers carry it, like 26NOV230215, with seconds where it has some."""
    at = _utc(at_ns)
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    return f"{at:%y}{months[at.month - 1]}{at:%d%H%M}" + (f"{at:%S}" if at.second else "")


def _clock(at_ns: Nanos) -> str:
    return f"{_utc(at_ns):%H:%M:%S}"


def _duration(seconds: int) -> str:
    for unit, length in (("h", 3_600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
