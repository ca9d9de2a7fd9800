"""The lives of markets (protocol 8.1): created, open, paused, closed, cleared, determined, paid out, forgotten.

Opening and closing happen in silence; everything else is told on the lifecycle channel. Each step checks the status
that it starts from, so that one whose market went another way in the meantime does nothing.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from rlflow.errors import RlflowError
from rlflow.exchange.crowd.traffic import Traffic
from rlflow.exchange.markets import publications
from rlflow.exchange.markets.catalogue import Catalogue
from rlflow.exchange.markets.floor import Floor, Market
from rlflow.exchange.markets.listing import Listing, MarketSheet, Result, Status, whole_seconds
from rlflow.exchange.markets.market_plan import EVEN, Plan
from rlflow.exchange.markets.series import SECOND_NS
from rlflow.exchange.markets.switches import Switches
from rlflow.exchange.matching.happenings import Change, Happening
from rlflow.exchange.wire.items import Item
from rlflow.units import ONE_DOLLAR, Nanos, Price

# How long a market that was paid out keeps its trades and candles, which are most of it, for whoever asks by REST.
_KEPT_NS: Nanos = 3_600 * SECOND_NS
# How many markets stay listed behind that, with their results: 16 hours of one-minute markets, or ten days of those of
# a quarter of an hour, in 2 MiB; to look through them for the open ones takes 2 ms. The venue keeps three months.
_KEPT_LISTINGS = 1_000


class IllegalStepError(RlflowError):
    """The market's status does not allow the step, and nothing was changed."""


class MarketLife:
    """Leads the markets of one floor through their lives."""

    def __init__(self, floor: Floor, traffic: Traffic, catalogue: Catalogue, switches: Switches) -> None:
        self._floor = floor
        self._catalogue = catalogue
        self._traffic = traffic
        self._plans: dict[str, Plan] = {}
        self._fair: dict[str, Price] = {}
        """Where the price stood when trading stopped, of markets without traffic."""
        self._past: deque[Listing] = deque()
        """Markets of which nothing is left but the listing, in the order of their payment."""
        self.forgotten_ns: Nanos = 0
        """When the last one was paid out that is listed no more; 0: there is none."""
        self._switches = switches
        self._waiting: dict[str, Market] = {}
        """Those that became active while no orders were taken, by ticker, the first of them first."""

    # By the clock

    def create(self, sheet: MarketSheet, plan: Plan, at_ns: Nanos) -> None:
        """List a market of a listed event, and note the steps to come."""
        event = self._catalogue.events[sheet.event_ticker]
        self._catalogue.add_market(event.ticker)
        market = self._floor.add(Listing(sheet, at_ns, at_ns), self._catalogue.fees(event.ticker))
        self._plans[sheet.ticker] = plan
        self._fair[sheet.ticker] = plan.fair
        self._publish([publications.created(sheet, event, self._floor.times(at_ns))])
        self._note(sheet.open_ns, self.open, market)
        self._note_close(sheet.close_ns, market)

    def _note(self, at_ns: Nanos, step: Callable[[Market, Nanos], None], market: Market) -> None:
        self._floor.note(at_ns, partial(step, market))

    def _note_close(self, close_ns: Nanos, market: Market) -> None:
        # From then on no order does anything (protocol 8.1), however late the other steps are.
        self._floor.note_deadline(close_ns, partial(self._close_in_time, market))

    def _publish(self, items: list[Item]) -> None:
        self._floor.outlets.publish(items)

    def open(self, market: Market, at_ns: Nanos) -> None:
        """Let trading begin, in silence but for the first orders."""
        if market.listing.status == "initialized":
            self._set_status(market, "active", at_ns)
            self._let_in(market, at_ns)

    def _close_in_time(self, market: Market, at_ns: Nanos) -> None:
        # A close that was moved has a step of its own.
        if at_ns >= market.listing.sheet.close_ns:
            self.close(market, at_ns)

    def close(self, market: Market, at_ns: Nanos) -> None:
        """Let trading end, in silence."""
        if market.listing.status not in {"initialized", "active", "inactive"}:
            return
        self._stop(market)
        self._set_status(market, "closed", at_ns)
        market.listing.closed_ns = at_ns
        drain_ns = at_ns + round(self._plans[market.listing.ticker].life.drain_s * 1e9)
        self._note(drain_ns, partial(self._clear_in_time, at_ns), market)

    def _clear_in_time(self, closed_ns: Nanos, market: Market, at_ns: Nanos) -> None:
        if market.listing.status != "closed" or market.listing.closed_ns != closed_ns:
            return
        self.clear(market, at_ns)
        determination_ns = at_ns + round(self._plans[market.listing.ticker].life.determination_s * 1e9)
        self._note(determination_ns, partial(self._determine_in_time, closed_ns), market)

    def clear(self, market: Market, at_ns: Nanos) -> None:
        """Remove every order by changes of one action; then comes a snapshot that nobody asked for, an empty one."""
        self._empty(market, self._floor.engine.close_market(market.listing.ticker, at_ns).happenings, at_ns)
        self._publish([publications.empty_snapshot(market.book, self._floor.times(at_ns))])

    def _determine_in_time(self, closed_ns: Nanos, market: Market, at_ns: Nanos) -> None:
        if market.listing.status == "closed" and market.listing.closed_ns == closed_ns:
            wins = self._fair[market.listing.ticker] >= EVEN
            self._determine(market, "yes" if wins else "no", ONE_DOLLAR if wins else 0, at_ns)

    def _determine(self, market: Market, result: Result, value: Price, at_ns: Nanos) -> None:
        listing = market.listing
        listing.result, listing.settlement_value, listing.determined_ns = result, value, at_ns
        self._set_status(market, "determined", at_ns)
        self._publish([publications.determined(listing, value, self._floor.times(at_ns))])
        self._note(at_ns + round(listing.sheet.settlement_timer_s * 1e9), partial(self._settle, at_ns), market)

    def _settle(self, determined_ns: Nanos, market: Market, at_ns: Nanos) -> None:
        listing = market.listing
        if listing.status != "determined" or listing.determined_ns != determined_ns:
            return
        assert listing.settlement_value is not None
        listing.settled_ns = at_ns
        self._set_status(market, "finalized", at_ns)
        self._floor.publish_actions(
            [self._floor.engine.settle(listing.ticker, listing.settlement_value, listing.result, at_ns)], at_ns
        )
        self._tell(market, "settled", at_ns, settled_ts=whole_seconds(at_ns))
        self._note(at_ns + _KEPT_NS, self._retire, market)

    def _retire(self, market: Market, _at_ns: Nanos) -> None:
        listing = market.listing
        self._floor.remove(listing.ticker)
        del self._plans[listing.ticker], self._fair[listing.ticker]
        self._past.append(listing)
        if len(self._past) > _KEPT_LISTINGS:
            self._forget(self._past.popleft())

    def _forget(self, listing: Listing) -> None:
        assert listing.settled_ns is not None
        self.forgotten_ns = listing.settled_ns
        del self._floor.listings[listing.ticker]
        self._catalogue.remove_market(listing.sheet.event_ticker)

    # On request

    def pause(self, market: Market, at_ns: Nanos) -> None:
        """Halt trading; resting orders stay."""
        self._demand(market, "active")
        self._stop(market)
        self._floor.publish_actions([self._floor.engine.pause(market.listing.ticker, at_ns)], at_ns)
        self._set_status(market, "inactive", at_ns)
        self._tell(market, "deactivated", at_ns, is_deactivated=True)

    def unpause(self, market: Market, at_ns: Nanos) -> None:
        """Let trading go on, from an empty book: all resting orders are cancelled (protocol 8.1)."""
        self._demand(market, "inactive")
        self._resume(market, at_ns)

    def _resume(self, market: Market, at_ns: Nanos) -> None:
        self._empty(market, self._floor.engine.wipe(market.listing.ticker, at_ns).happenings, at_ns)
        self._set_status(market, "active", at_ns)
        self._tell(market, "activated", at_ns, is_deactivated=False)
        self._let_in(market, at_ns)

    def close_early(self, market: Market, at_ns: Nanos) -> None:
        """Move the close to now."""
        self._demand(market, "initialized", "active", "inactive")
        self._move_close(market, at_ns, at_ns)
        self.close(market, at_ns)

    def move_close(self, market: Market, close_ns: Nanos, at_ns: Nanos) -> None:
        """Move the close to a time to come; a market that has closed, but not been determined, opens again."""
        self._demand(market, "initialized", "active", "inactive", "closed")
        if close_ns <= max(at_ns, market.listing.sheet.open_ns):
            raise IllegalStepError("the new close must lie ahead, and behind the opening")
        self._move_close(market, close_ns, at_ns)
        self._note_close(close_ns, market)
        if market.listing.status == "closed":
            self._resume(market, at_ns)

    def _move_close(self, market: Market, close_ns: Nanos, at_ns: Nanos) -> None:
        listing = market.listing
        listing.sheet = attrs.evolve(listing.sheet, close_ns=close_ns)
        listing.updated_ns = at_ns
        self._tell(market, "close_date_updated", at_ns, close_ts=whole_seconds(close_ns))

    def change_sheet(self, market: Market, event_type: str, told: dict[str, Any], at_ns: Nanos, **changes: Any) -> None:
        """Change a market's sheet and say so."""
        market.listing.sheet = attrs.evolve(market.listing.sheet, **changes)
        market.listing.updated_ns = at_ns
        self._tell(market, event_type, at_ns, **told)

    def determine(self, market: Market, result: Result, value: Price, at_ns: Nanos) -> None:
        """Give a market its result now, closing it early if need be; one that is not paid out yet gets another one."""
        self._demand(market, "initialized", "active", "inactive", "closed", "determined")
        if market.listing.status not in {"closed", "determined"}:
            self.close_early(market, at_ns)
        if market.listing.status == "closed":
            self.clear(market, at_ns)
        self._determine(market, result, value, at_ns)

    def _demand(self, market: Market, *statuses: str) -> None:
        if market.listing.status not in statuses:
            raise IllegalStepError(f"{market.listing.ticker} is {market.listing.status}, not {' or '.join(statuses)}")

    # Parts of steps

    def _set_status(self, market: Market, status: Status, at_ns: Nanos) -> None:
        market.listing.status = status
        market.listing.updated_ns = at_ns

    def _tell(self, market: Market, event_type: str, at_ns: Nanos, **fields: object) -> None:
        self._publish(
            [publications.market_event(market.listing.ticker, event_type, self._floor.times(at_ns), **fields)]
        )

    def _stop(self, market: Market) -> None:
        """Send the crowd away; its orders stay, and nothing new is taken."""
        ticker = market.listing.ticker
        self._waiting.pop(ticker, None)
        fair = self._traffic.close(ticker)
        if fair is not None:
            self._fair[ticker] = fair
        self._floor.engine.set_trading(ticker, "closed")

    def let_in_waiting(self, at_ns: Nanos) -> None:
        """Let trading begin, one by one and soon, in the markets that became active while no orders were taken."""
        for market in self._waiting.values():
            self._note(at_ns, self._let_in_late, market)

    def _let_in_late(self, market: Market, at_ns: Nanos) -> None:
        if self._waiting.pop(market.listing.ticker, None) is not None:
            self._let_in(market, at_ns)

    def _let_in(self, market: Market, at_ns: Nanos) -> None:
        """Let the crowd fill an empty book and trade; while no orders are taken, it waits, and so does everybody."""
        listing = market.listing
        if not self._switches.takes_orders:
            self._waiting[listing.ticker] = market
            return
        plan = self._plans[listing.ticker]
        closes_in_ns = None if plan.is_endless else listing.sheet.close_ns - at_ns
        self._floor.engine.set_trading(listing.ticker, "open")
        changes = self._traffic.open(
            market.book, self._fair[listing.ticker], weight=plan.weight, closes_in_ns=closes_in_ns, tempo=plan.tempo
        )
        self._publish(self._floor.announce(market, changes, at_ns))
        self._floor.outlets.wake()

    def _empty(self, market: Market, happenings: Iterable[Happening], at_ns: Nanos) -> None:
        """Remove the crowd's orders behind what became of the accounts', all in one action."""
        changes = [
            Change(side, price, -resting.crowd(price))
            for side, resting in market.book.sides.items()
            for price in reversed(resting.prices)
        ]
        for change in changes:
            market.book.sides[change.side].change(change.price, change.delta)
        told = [*happenings, *changes]
        if told:
            self._publish(self._floor.announce(market, told, at_ns))
