"""The trading floor: every market's book and records, the engine's clock, and who hears of what happens there."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count

import attrs

from rlflow.exchange.markets import publications
from rlflow.exchange.markets.account_publications import about_account
from rlflow.exchange.markets.candles import CandleRecord
from rlflow.exchange.markets.listing import Listing
from rlflow.exchange.markets.open_interest import OpenInterest
from rlflow.exchange.markets.publications import Times
from rlflow.exchange.markets.timetable import Step, Timetable
from rlflow.exchange.markets.trade_history import TradeHistory, TradeRecord
from rlflow.exchange.markets.venue_clock import VenueClock
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.happenings import Change, Deal, Filled, Happening
from rlflow.exchange.matching.proceedings import Action
from rlflow.exchange.wire.items import Item
from rlflow.fees import FeeModel
from rlflow.units import Nanos, Side, complement, opposite

# The venue's `ticker` came about once a second; nobody needs each of a hundred changes a second.
_QUOTE_NS: Nanos = 500_000_000
# Quotes wait for the next tenth of a second, so that many markets' go out together.
_QUOTE_GRID_NS: Nanos = 100_000_000


@attrs.define(eq=False)
class Market:
    """Everything of one market but its accounts' orders, which the engine has."""

    listing: Listing
    book: SimulatedBook
    history: TradeHistory = attrs.field(factory=TradeHistory)
    candles: CandleRecord = attrs.field(factory=CandleRecord)
    open_interest: OpenInterest = attrs.field(factory=OpenInterest)
    is_quote_due: bool = False
    """Whether a `ticker` is on its way, should there be anything new to say."""
    quoted_ns: Nanos = 0
    quote: str = ""
    """What the last `ticker` said."""


def _ignore(*_: object) -> None:
    pass


@attrs.frozen
class Outlets:
    """How a venue, which does nothing by itself, reaches those who are connected to it."""

    publish: Callable[[Sequence[Item]], None] = _ignore
    """Queue publications for everyone."""
    disconnect: Callable[[], object] = _ignore
    """End all connections, as for maintenance."""
    wake: Callable[[], None] = _ignore
    """Look at the time of the next step again: there is a new one, or a market has opened."""


class Floor:
    """Carries what happens to the books into records and publications."""

    def __init__(self, engine: Engine, clock: VenueClock, outlets: Outlets) -> None:
        self.engine = engine
        self.timetable = Timetable()
        """What may be late: nobody's money hangs on it."""
        self.time = clock
        self.outlets = outlets
        self.markets: dict[str, Market] = {}
        self.listings: dict[str, Listing] = {}
        """Both by ticker, the oldest first; a market leaves the floor before it is listed no more."""
        self._removed_trade_ns: Nanos = 0
        self._numbers = count()
        self._by_id: dict[str, str] = {}
        self._clock = 0
        self._trades = 0
        self._times = Times(0, 0)

    def add(self, listing: Listing, fees: FeeModel) -> Market:
        """Give a listed market its place; it takes no orders yet."""
        sheet = listing.sheet
        market = self.markets[sheet.ticker] = Market(listing, SimulatedBook(sheet.ticker, sheet.market_id, sheet.grid))
        self.listings[sheet.ticker] = listing
        listing.number = next(self._numbers)
        self._by_id[sheet.market_id] = sheet.ticker
        self.engine.add_market(market.book, fees, "closed")
        return market

    def remove(self, ticker: str) -> None:
        """Let go of a market's book, trades and candles; it stays listed."""
        market = self.markets.pop(ticker)
        self._removed_trade_ns = max(self._removed_trade_ns, market.history.last_ns())
        del self._by_id[market.book.market_id]
        self.engine.remove_market(ticker)

    def forgotten_trade_ns(self) -> Nanos:
        """Return when the last trade was that is remembered no more; 0: there is none."""
        return max(self._removed_trade_ns, *(market.history.forgotten_ns for market in self.markets.values()), 0)

    def ticker_of(self, market_id: str) -> str | None:
        """Return the market that has this id, None if no market has."""
        return self._by_id.get(market_id)

    def lower_clock(self) -> None:
        """Let the clock go down, as it may across a maintenance (protocol 8.2)."""
        self._clock //= 2
        for market in self.markets.values():
            market.book.clock = min(market.book.clock, self._clock)

    def announce(self, market: Market, happenings: Iterable[Happening], at_ns: Nanos) -> list[Item]:
        """Return the publications of an action that changes the book, in the given order; they share clock and time."""
        self._clock += 1
        book = market.book
        book.clock = self._clock
        times = self.times(at_ns)
        items = [
            publications.delta(book, happening, times)
            if isinstance(happening, Change)
            else self._other(market, happening, times)
            for happening in happenings
        ]
        if not market.is_quote_due:
            self._note_quote(market, at_ns)
        return items

    def times(self, at_ns: Nanos) -> Times:
        """Return the times of what happened at a time and is published now."""
        times, queued_ns = self._times, self.time.wall_ns
        queued_ns = queued_ns if queued_ns > at_ns else at_ns
        if times.at_ns != at_ns or times.queued_ns != queued_ns:
            times = self._times = Times(at_ns, queued_ns)
        return times

    def _other(self, market: Market, happening: Happening, times: Times) -> Item:
        """Return the publication of what is no change of the book."""
        assert not isinstance(happening, Change)
        if isinstance(happening, Deal):
            return publications.trade(market.book, self._record(market, happening, times.at_ns), times)
        if isinstance(happening, Filled):
            market.open_interest.note_fill(happening)
            market.listing.open_interest = market.open_interest.total
        return about_account(happening, times)

    def publish_actions(self, actions: Iterable[Action], at_ns: Nanos) -> None:
        """Publish what the engine did, action by action."""
        for action in actions:
            market = self.markets[action.ticker]
            if action.changes_book:
                self.outlets.publish(self.announce(market, action.happenings, at_ns))
            elif action.happenings:
                times = self.times(at_ns)
                self.outlets.publish([self._other(market, happening, times) for happening in action.happenings])

    def collect(self, step: Callable[[], object]) -> list[Item]:
        """Return what a step publishes, in place of publishing it."""
        items: list[Item] = []
        outlets, self.outlets = self.outlets, attrs.evolve(self.outlets, publish=items.extend)
        try:
            step()
        finally:
            self.outlets = outlets
        return items

    def _record(self, market: Market, deal: Deal, at_ns: Nanos) -> TradeRecord:
        self._trades += 1
        listing = market.listing
        taker: Side = opposite(deal.maker)
        yes_price = deal.price if deal.maker == "yes" else complement(deal.price)
        listing.last_price, listing.last_count = yes_price, deal.count
        listing.volume += deal.count
        listing.dollar_volume += yes_price * deal.count
        if not deal.has_account:
            market.open_interest.note_crowd(deal.count)
            listing.open_interest = market.open_interest.total
        trade_id = deal.trade_id or self.engine.identifiers.next_trade_id()
        record = TradeRecord(trade_id, listing.ticker, yes_price, deal.count, taker, at_ns, self._trades)
        market.history.add(record)
        market.candles.note_trade(at_ns, yes_price, deal.count)
        return record

    # Quotes

    def _note_quote(self, market: Market, at_ns: Nanos) -> None:
        earliest = max(at_ns, market.quoted_ns + _QUOTE_NS)
        due_ns = -(-earliest // _QUOTE_GRID_NS) * _QUOTE_GRID_NS
        market.is_quote_due = True
        self.note(due_ns, partial(self._quote, market))

    def _quote(self, market: Market, at_ns: Nanos) -> None:
        market.is_quote_due = False
        market.quoted_ns = at_ns
        bid, no_bid = market.book.sides["yes"].best, market.book.sides["no"].best
        market.candles.note_quote(at_ns, bid, complement(no_bid), market.listing.open_interest)
        quote = publications.quote_text(market.listing, market.book)
        if quote != market.quote:
            market.quote = quote
            self.outlets.publish([publications.ticker(market.book, quote, self.times(at_ns))])

    def quote(self, market: Market, at_ns: Nanos) -> Item:
        """Return the market's `ticker` as of now."""
        return publications.ticker(market.book, publications.quote_text(market.listing, market.book), self.times(at_ns))

    # Steps to come

    @property
    def next_ns(self) -> Nanos | None:
        """When the next step or deadline is due, None if there is none."""
        return min((ns for ns in (self.timetable.next_ns, self.time.next_ns) if ns is not None), default=None)

    def note(self, at_ns: Nanos, step: Step) -> None:
        """Note a step for later, and wake whoever waits for a later one."""
        self._note_in(self.timetable.note, at_ns, step)

    def note_deadline(self, at_ns: Nanos, step: Step) -> None:
        """Note a cheap step that nothing at its time, or after it, may precede; wake whoever waits for a later one."""
        self._note_in(self.time.note_deadline, at_ns, step)

    def _note_in(self, note: Callable[[Nanos, Step], None], at_ns: Nanos, step: Step) -> None:
        first_ns = self.next_ns
        note(at_ns, step)
        if first_ns is None or at_ns < first_ns:
            self.outlets.wake()
