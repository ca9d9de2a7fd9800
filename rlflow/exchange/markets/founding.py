"""The sheets of simulated markets that are known by name alone: what is not in the name is made up."""

from rlflow.exchange.crowd.activity import LIVELY
from rlflow.exchange.markets.listing import EventSheet, MarketSheet, SeriesSheet, event_ticker_of
from rlflow.exchange.markets.market_plan import Plan
from rlflow.exchange.markets.series import SECOND_NS, life_of
from rlflow.exchange.matching.grid import named_grid
from rlflow.units import Nanos, Price

# Where the markets start, so that they do not look like one market.
_FAIR: tuple[Price, ...] = (5_000, 4_300, 5_700, 4_700, 5_300)
_STRUCTURES = ("linear_cent", "linear_cent", "tapered_deci_cent")
_OPEN_FOR_NS: Nanos = 365 * 86_400 * SECOND_NS


def series_of(ticker: str) -> SeriesSheet:
    """Return the series of a named market: the part before its first hyphen."""
    name = ticker.partition("-")[0]
    return SeriesSheet(name, title=f"Simulated series {name}", tags=("simulated",))


def event_of(ticker: str, now_ns: Nanos) -> EventSheet:
    """Return the event of a named market: all but the part behind its last hyphen."""
    name = event_ticker_of(ticker)
    return EventSheet(name, ticker.partition("-")[0], title=f"Simulated event {name}", updated_ns=now_ns)


def sheet_of(ticker: str, number: int, now_ns: Nanos) -> MarketSheet:
    """Return a named market, open from now on for a year; every third ticks in tenths of a cent in its tails."""
    event = event_of(ticker, now_ns)
    return MarketSheet(
        ticker,
        event.ticker,
        event.series_ticker,
        title=f"Will {ticker} happen?",
        open_ns=now_ns,
        close_ns=(now_ns + _OPEN_FOR_NS) // SECOND_NS * SECOND_NS,
        yes_sub_title="Happens",
        no_sub_title="Does not happen",
        grid=named_grid(_STRUCTURES[number % len(_STRUCTURES)]),
        rules_primary=f"If {ticker} happens, the market resolves to Yes.",
        rules_secondary="The price is made up; nothing of this is real.",
    )


def plan_of(sheet: MarketSheet, number: int, seed: int) -> Plan:
    """Return how a named market lives: the first is the busiest, and none is silent for long."""
    weight = (number + 1) ** 0.5 - number**0.5
    fair = _FAIR[number % len(_FAIR)]
    return Plan(life_of(sheet, seed), fair=fair, weight=weight, tempo=LIVELY, is_endless=True)
