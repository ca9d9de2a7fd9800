"""The simulated venue as a whole: what is listed, who trades, what moves by itself, and what can be done to it.

Everything is synchronous and pure but for its outlets: times are arguments, and what happens is published at once.
Times should not go back; one that does counts as the last one. Who drives it calls `keep_time` when `next_ns` has come,
and `act` as often as the crowd is to act, publishing what that returns.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import attrs

from rlflow.exchange.crowd.traffic import Traffic
from rlflow.exchange.markets import founding, publications
from rlflow.exchange.markets.candles import Candle
from rlflow.exchange.markets.catalogue import Catalogue
from rlflow.exchange.markets.floor import Floor, Outlets
from rlflow.exchange.markets.listing import EventSheet, FeeChange, Horizon, Listing, SeriesSheet
from rlflow.exchange.markets.market_life import MarketLife
from rlflow.exchange.markets.series import SeriesSchedule, SeriesSpec
from rlflow.exchange.markets.switches import Switches
from rlflow.exchange.markets.timetable import Step
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.markets.venue_clock import VenueClock
from rlflow.exchange.markets.venue_control import VenueControl
from rlflow.exchange.matching.accounts import Account
from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest
from rlflow.exchange.wire.items import Image, Item, Top
from rlflow.units import Nanos, complement

# Later than this (a laptop that slept), the markets of the time in between are left out.
_LATEST_PERIODS = 10

_MILLISECOND_NS: Nanos = 1_000_000


@attrs.frozen
class VenueSpec:
    """Which markets a venue has, and how they move."""

    tickers: tuple[str, ...] = ()
    """Markets that are open from the start, and by themselves for a year; the first is the busiest."""
    series: tuple[SeriesSpec, ...] = ()
    seed: int = 1
    rate: float = 50.0
    """Mean messages a second of all markets together; infinite: as many as the driver asks for."""


class Venue:
    """The venue. The same specification, times and calls give the same publications, byte for byte."""

    def __init__(self, spec: VenueSpec, now_ns: Nanos, outlets: Outlets | None = None) -> None:
        """Open it: what would be listed by now is listed, and nobody has heard of it."""
        self.engine = Engine(spec.seed)
        self._spec = spec
        self._outlets = outlets or Outlets()
        self._clock = VenueClock(now_ns)
        self._switches = Switches()
        self._floor = Floor(self.engine, self._clock, self._outlets)
        self._traffic = Traffic(spec.seed, spec.rate)
        self._catalogue = Catalogue()
        self._life = MarketLife(self._floor, self._traffic, self._catalogue, self._switches)
        self.control = VenueControl(self._floor, self._life, self._catalogue, self._clock, self._switches)
        """What can be done to it."""
        for number, ticker in enumerate(dict.fromkeys(spec.tickers)):
            self._found_market(ticker, number)
        for series in spec.series:
            self._found_series(series)
        self.keep_time(now_ns)

    def _found_market(self, ticker: str, number: int) -> None:
        series, event = founding.series_of(ticker), founding.event_of(ticker, self._clock.now_ns)
        self._catalogue.series.setdefault(series.ticker, series)
        self._catalogue.add_event(event)
        sheet = founding.sheet_of(ticker, number, self._clock.now_ns)
        self._life.create(sheet, founding.plan_of(sheet, number, self._spec.seed), self._clock.now_ns)

    def _found_series(self, spec: SeriesSpec) -> None:
        self._catalogue.series[spec.ticker] = spec.sheet()
        schedule = SeriesSchedule(spec, self._spec.seed)
        self._note_period(schedule, schedule.period_at(self._clock.now_ns))

    def _note_period(self, schedule: SeriesSchedule, period: int) -> None:
        # Never before what is under way: the markets of the period before this one.
        due_ns = max(schedule.creation_ns(period), self._clock.now_ns)
        self._floor.note(due_ns, partial(self._create_period, schedule, period))

    def _create_period(self, schedule: SeriesSchedule, period: int, at_ns: Nanos) -> None:
        current = schedule.period_at(self._clock.wall_ns)
        if period < current - _LATEST_PERIODS:
            period = current
        event = schedule.event(period)
        self._catalogue.add_event(event)
        self._outlets.publish([publications.event_created(event, self._floor.times(at_ns))])
        for number in range(schedule.spec.count):
            # A step each: there may be thousands.
            self._floor.note(at_ns, partial(self._create_market, schedule, period, number))
        self._note_period(schedule, period + 1)

    def _create_market(self, schedule: SeriesSchedule, period: int, number: int, at_ns: Nanos) -> None:
        sheet = schedule.market(period, number)
        self._life.create(sheet, schedule.plan(sheet), at_ns)

    # What there is

    @property
    def is_exchange_active(self) -> bool:
        """Whether anything works; not during maintenance."""
        return self._switches.is_exchange_active

    @property
    def is_trading(self) -> bool:
        """Whether orders are taken; otherwise cancels work, and resting orders stay but for those that asked to go."""
        return self._switches.takes_orders

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every market by ticker, the oldest first; the venue alone changes them."""
        return self._floor.listings

    @property
    def series(self) -> Mapping[str, SeriesSheet]:
        """Every series by ticker."""
        return self._catalogue.series

    def events(self) -> Mapping[str, EventSheet]:
        """Return every event by ticker, the oldest first."""
        return self._catalogue.events

    def fee_changes(self) -> Sequence[FeeChange]:
        """Return the announced changes of series' fees, and those that have happened."""
        return self._catalogue.fee_changes

    def horizon(self) -> Horizon:
        """Return how far back it remembers everything."""
        return Horizon(_behind(self._life.forgotten_ns), _behind(self._floor.forgotten_trade_ns()))

    def trades(self, ticker: str) -> Iterable[TradeRecord]:
        """Return what is remembered of a market's trades, the newest first; nothing for a market that nobody knows."""
        market = self._floor.markets.get(ticker)
        return () if market is None else market.history

    def candles(self, ticker: str, minutes: int) -> Iterable[Candle]:
        """Return a market's candles of periods of so many minutes, the oldest first; nothing for an unknown market."""
        market = self._floor.markets.get(ticker)
        return () if market is None else market.candles.candles(minutes)

    def account(self, key_id: str) -> Account:
        """Return the account of an API key."""
        return self.engine.account(key_id)

    def image(self, ticker: str) -> Image:
        """Return the market's book, an empty one with clock 0 for a ticker that nobody knows."""
        market = self._floor.markets.get(ticker)
        return Image(ticker) if market is None else market.book.image()

    def top(self, ticker: str) -> Top:
        """Return the best prices of a market's book, which are none for a ticker that nobody knows."""
        market = self._floor.markets.get(ticker)
        if market is None:
            return Top()
        yes, no = market.book.sides["yes"], market.book.sides["no"]
        return Top(yes.best, yes.sizes.get(yes.best, 0), complement(no.best), no.sizes.get(no.best, 0))

    def quote(self, ticker: str) -> Item | None:
        """Return the market's `ticker` publication as of now; None for a market that nobody knows."""
        market = self._floor.markets.get(ticker)
        return None if market is None else self._floor.quote(market, self._clock.now_ns)

    def ticker_of(self, market_id: str) -> str | None:
        """Return the market that has this id, None if no market has."""
        return self._floor.ticker_of(market_id)

    def objection(self, *, use_yes_price: bool) -> str | None:  # noqa: ARG002  # part of the protocol
        """Return None: both price conventions can be served."""
        return None

    # What moves by itself

    @property
    def next_ns(self) -> Nanos | None:
        """When `keep_time` has something to do."""
        return self._floor.next_ns

    def see_wall(self, now_ns: Nanos) -> None:
        """Take note of the time, at which actions of the crowd are published that may have been due before."""
        self._clock.see_wall(now_ns)

    def keep_time(self, now_ns: Nanos, most_steps: int | None = None) -> None:
        """Carry out what is due by now, or so much of it, each step as of the time at which it was due.

        The opening of a market takes a millisecond, everything else less. Closes and expiries are not counted.
        """
        self._clock.see_wall(now_ns)
        for step in islice(self._due(), most_steps):
            step(self._clock.now_ns)

    def _due(self) -> Iterator[Step]:
        """Yield what is due by the clock on the wall, that of the venue standing at its time."""
        while (due_ns := self._floor.next_ns) is not None and due_ns <= self._clock.wall_ns:
            self._clock.advance(due_ns)
            yield from (step for _, step in self._floor.timetable.due(due_ns))

    @property
    def is_moving(self) -> bool:
        """Whether the crowd is there."""
        return self._switches.takes_orders and not self._traffic.is_empty

    def gap_s(self) -> float:
        """Return how long after its last action the crowd acts next, in seconds; infinite unless `is_moving`."""
        return self._traffic.gap_s() if self.is_moving else math.inf

    def act(self, at_ns: Nanos) -> list[Item]:
        """Let the crowd act once, and return what is to be published; nothing unless `is_moving`, and seldom else."""
        if self._clock.is_due(at_ns):
            # Published at once, it would overtake the actions before this one, which the caller may not have published.
            return self._floor.collect(partial(self._clock.advance, at_ns)) + self.act(at_ns)
        at_ns = self._clock.advance(at_ns)
        turn = self._traffic.turn() if self.is_moving else None
        if turn is None or not turn.happenings:
            return []
        book = turn.book
        market = self._floor.markets[book.ticker]
        if book.taken:
            return self._floor.announce(market, self.engine.crowd_trade(book.ticker, turn.happenings, at_ns), at_ns)
        return self._floor.announce(market, turn.happenings, at_ns)

    # What accounts do; all raise `OrderRefusedError`. Closes and expiries that are due go before: the clock sees to it.

    def place(self, account: str, request: OrderRequest, at_ns: Nanos) -> Answer:
        """Place an order."""
        self._check_trading()
        return self._done(self.engine.place(account, request, self._clock.advance(at_ns)))

    def cancel(self, account: str, order_id: str, at_ns: Nanos, *, ticker: str = "") -> Answer:
        """Cancel a resting order; a `ticker` that is not its own is refused."""
        self._check_active()
        return self._done(self.engine.cancel(account, order_id, self._clock.advance(at_ns), ticker=ticker))

    def cancel_all(self, account: str, at_ns: Nanos) -> None:
        """Cancel everything that rests where cancels are taken."""
        self._check_active()
        self._floor.publish_actions(self.engine.cancel_all(account, self._clock.advance(at_ns)), self._clock.now_ns)

    def decrease(self, account: str, order_id: str, request: DecreaseRequest, at_ns: Nanos) -> Answer:
        """Make a resting order smaller; it keeps its place."""
        self._check_active()
        return self._done(self.engine.decrease(account, order_id, request, self._clock.advance(at_ns)))

    def amend(self, account: str, order_id: str, request: AmendRequest, at_ns: Nanos) -> Answer:
        """Change a resting order."""
        self._check_trading()
        return self._done(self.engine.amend(account, order_id, request, self._clock.advance(at_ns)))

    def _check_active(self) -> None:
        if not self.is_exchange_active:
            raise OrderRefusedError(503, "exchange_unavailable", "the exchange is in maintenance")

    def _check_trading(self) -> None:
        self._check_active()
        if not self.is_trading:
            raise OrderRefusedError(409, "trading_paused", "trading is paused")

    def _done(self, answer: Answer) -> Answer:
        self._floor.publish_actions([answer.action], self._clock.now_ns)
        if answer.order.expiration_ns is not None and answer.order.status == "resting":
            self._floor.note_deadline(answer.order.expiration_ns, self._expire)
        return answer

    def _expire(self, at_ns: Nanos) -> None:
        self._floor.publish_actions(self.engine.expire(at_ns), at_ns)


def _behind(forgotten_ns: Nanos) -> Nanos:
    """Return the time from which on everything is known, in whole milliseconds, as the venue tells it."""
    return (forgotten_ns // _MILLISECOND_NS + 1) * _MILLISECOND_NS if forgotten_ns else 0
