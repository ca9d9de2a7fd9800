"""Which markets are to be followed now, and when that changes next.

A market that was named is followed for as long as it is named. Of a series, every market is followed from a little
before it opens until it is settled, or until a while after its close. What is known of a market comes from lifecycle
events, from REST lists and from the clock, for opening and closing are never announced (protocol 8.1); each source may
be late or missing, so nothing depends on the order in which they speak.

A market belongs to a series if its ticker begins with the series' and a hyphen, or if a REST list of the series has it:
lifecycle events name no series.
"""

import math
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import attrs

from rlflow.kalshi.lifecycle import MarketEvent
from rlflow.kalshi.sheets import MarketSheet
from rlflow.units import Nanos

SECOND: Final = 1_000_000_000
Status: TypeAlias = Literal["unknown", "unopened", "open", "paused", "closed", "determined", "settled"]

LIST_LAG_NS: Final = 60 * SECOND
"""A list may be so much older than what an event has just said: twice what they trail by (protocol 6.2)."""
# The venue's words in REST (protocol 8.1).
_DETERMINED = frozenset({"determined", "disputed", "amended"})
# Of events.
_OVER = frozenset({"determined", "settled"})
_ABOUT_ITS_END = _OVER | {"activated", "close_date_updated"}


@attrs.frozen
class Margins:
    """How long before and after its trading a market of a series is followed."""

    lead_ns: Nanos = 60 * SECOND
    """Before it opens: enough for a subscription to be made twice."""
    drain_ns: Nanos = 15 * 60 * SECOND
    """After it closes, if nobody says that it is settled; a book drains within 8 s (recordings of 2026-05)."""
    settled_ns: Nanos = 10 * SECOND
    """After it is settled, for what may still be on its way."""


@attrs.frozen
class Followed:
    """A market of the roster, as it is at one moment."""

    ticker: str
    series: str | None
    """None: it was named."""
    status: Status
    open_ns: Nanos | None
    close_ns: Nanos | None

    @property
    def should_have_book(self) -> bool:
        """Whether it can be traded, or is merely paused, as far as is known."""
        return self.status in ("unknown", "open", "paused")


@attrs.define
class _Market:
    """What is known of one market."""

    ticker: str
    series: str | None = None
    open_ns: Nanos | None = None
    close_ns: Nanos | None = None
    ended_ns: Nanos | None = None
    """When it was heard that its trading is over, whatever `close_ns` says."""
    settled_ns: Nanos | None = None
    told_ns: Nanos | None = None
    """When an event last said something about its end."""
    is_paused: bool = False
    is_determined: bool = False
    is_known: bool = False
    """Whether the venue has ever said anything about it."""

    @property
    def end_ns(self) -> float:
        """When its trading ends or ended."""
        ends = [end for end in (self.close_ns, self.ended_ns) if end is not None]
        return min(ends, default=math.inf)

    def begin_ns(self, margins: Margins) -> float:
        return -math.inf if self.open_ns is None else self.open_ns - margins.lead_ns

    def leave_ns(self, margins: Margins) -> float:
        # A market that is settled long after its close is not begun again for that.
        settled_ns = math.inf if self.settled_ns is None else self.settled_ns + margins.settled_ns
        return min(self.end_ns + margins.drain_ns, settled_ns)

    def is_due(self, margins: Margins, now_ns: Nanos) -> bool:
        """Whether it is to be followed as a market of a series."""
        return self.begin_ns(margins) <= now_ns < self.leave_ns(margins)

    def status(self, now_ns: Nanos) -> Status:
        if self.settled_ns is not None:
            return "settled"
        if self.is_determined:
            return "determined"
        if self.end_ns <= now_ns:
            return "closed"
        if self.open_ns is not None and now_ns < self.open_ns:
            return "unopened"
        if self.is_paused:
            return "paused"
        return "open" if self.is_known else "unknown"

    def reopen(self) -> None:
        self.ended_ns = None
        self.is_determined = False

    def end(self, now_ns: Nanos) -> None:
        if self.ended_ns is None and self.end_ns > now_ns:
            self.ended_ns = now_ns

    def settle(self, now_ns: Nanos) -> None:
        self.end(now_ns)
        if self.settled_ns is None:
            self.settled_ns = now_ns


class Roster:
    """The markets to follow. Pure: every time is an argument, in nanoseconds since 1970 UTC.

    Args:
        named: the markets that are followed whatever happens.
        series: the series whose markets are followed as they come.
        margins: around the trading of a series' market.
    """

    def __init__(self, named: Iterable[str], series: Iterable[str] = (), margins: Margins | None = None) -> None:
        self._named = dict.fromkeys(named)
        self._series = tuple(dict.fromkeys(series))
        self._margins = margins or Margins()
        self._markets = {ticker: _Market(ticker) for ticker in self._named}
        self._removed: set[str] = set()
        self._met: set[str] = set()
        """The series of which a market was ever heard."""

    # -- what is followed -------------------------------------------------------------------------------------------

    @property
    def series(self) -> tuple[str, ...]:
        """The series that are followed."""
        return self._series

    @property
    def unmet_series(self) -> tuple[str, ...]:
        """The series of which no market was ever heard: misspelt, or between two markets."""
        return tuple(series for series in self._series if series not in self._met)

    @property
    def named(self) -> tuple[str, ...]:
        """The markets that are followed whatever happens, in order."""
        return tuple(self._named)

    def followed(self, now_ns: Nanos) -> tuple[str, ...]:
        """Return the markets to follow now: the named ones, then those of series as they open. O(markets)."""
        due = [
            market
            for market in self._markets.values()
            if market.ticker not in self._named and self._is_due(market, now_ns)
        ]
        due.sort(key=lambda market: (market.open_ns or 0, market.ticker))
        return (*self._named, *(market.ticker for market in due))

    def markets(self, now_ns: Nanos) -> tuple[Followed, ...]:
        """Return the markets that are followed now, in the same order. O(markets)."""
        return tuple(self._view(self._markets[ticker], now_ns) for ticker in self.followed(now_ns))

    def tradable(self, tickers: Iterable[str], now_ns: Nanos) -> tuple[str, ...]:
        """Return those of some followed markets that should have a book, as far as is known."""
        views = (self._view(self._markets[ticker], now_ns) for ticker in tickers)
        return tuple(view.ticker for view in views if view.should_have_book)

    def next_change_ns(self, now_ns: Nanos) -> float:
        """Return the next time at which a market is begun, opens, closes or is left; infinite: none is known."""
        moments = (
            moment
            for market in self._markets.values()
            for moment in (
                market.begin_ns(self._margins),
                math.inf if market.open_ns is None else market.open_ns,
                market.end_ns,
                market.leave_ns(self._margins),
            )
        )
        return min((moment for moment in moments if moment > now_ns), default=math.inf)

    def opened_between(self, after_ns: Nanos, now_ns: Nanos) -> tuple[str, ...]:
        """Return the followed markets that have opened in (after, now]."""
        return tuple(
            ticker
            for ticker in self.followed(now_ns)
            if (open_ns := self._markets[ticker].open_ns) is not None and after_ns < open_ns <= now_ns
        )

    def foremost(self, now_ns: Nanos) -> str | None:
        """Return the first named market, else of all series the open market that closes next, else the next to open."""
        if self._named:
            return next(iter(self._named))
        markets = self.markets(now_ns)
        tradable = [market for market in markets if market.should_have_book]
        if tradable:
            return min(tradable, key=lambda market: (market.close_ns or math.inf, market.ticker)).ticker
        unopened = [market for market in markets if market.status == "unopened"]
        return min(unopened, key=lambda market: (market.open_ns or 0, market.ticker)).ticker if unopened else None

    # -- what is said -----------------------------------------------------------------------------------------------

    def name(self, tickers: Iterable[str]) -> None:
        """Follow these whatever happens."""
        for ticker in tickers:
            self._removed.discard(ticker)
            self._named[ticker] = None
            self._markets.setdefault(ticker, _Market(ticker))

    def remove(self, tickers: Iterable[str]) -> None:
        """Follow these no more, whether they were named or are a series'."""
        for ticker in tickers:
            self._named.pop(ticker, None)
            market = self._markets.get(ticker)
            if market is not None and market.series is None and self._series_of(ticker) is None:
                del self._markets[ticker]
            # A list may call it a series' later.
            self._removed.add(ticker)

    def hear(self, event: MarketEvent, now_ns: Nanos) -> bool:
        """Take a lifecycle event; return whether it is about a market of ours."""
        series = self._series_of(event.market_ticker)
        if event.event_type in _OVER and event.market_ticker not in self._markets:
            # Of what was over before it was known, nothing is left to follow.
            return series is not None
        market = self._find(event.market_ticker, series)
        if market is None:
            return False
        market.is_known = True
        if event.event_type in _ABOUT_ITS_END:
            market.told_ns = now_ns
        if event.open_ts is not None:
            market.open_ns = event.open_ts * SECOND
        if event.close_ts is not None:
            self._move_close(market, event.close_ts * SECOND, now_ns)
        match event.event_type:
            case "activated" | "deactivated":
                market.is_paused = bool(event.is_deactivated) or event.event_type == "deactivated"
                if not market.is_paused:
                    market.reopen()
            case "determined":
                market.is_determined = True
                market.end(now_ns)
            case "settled":
                market.settle(now_ns)
            case _:
                pass
        return True

    def learn(self, sheets: Iterable[MarketSheet], now_ns: Nanos, series: str | None = None) -> None:
        """Take what REST says of markets; with `series` they are that series'. Those that are not ours do not count."""
        for sheet in sheets:
            is_over = sheet.is_final and sheet.ticker not in self._markets
            market = None if is_over else self._find(sheet.ticker, series or self._series_of(sheet.ticker))
            if market is not None:
                self._take_sheet(market, sheet, now_ns)

    def forget_left(self, now_ns: Nanos) -> None:
        """Forget the markets of series that were left long ago, so that they do not pile up."""
        old_ns = now_ns - self._margins.drain_ns
        left = [
            market.ticker
            for market in self._markets.values()
            if market.ticker not in self._named and market.leave_ns(self._margins) < old_ns
        ]
        for ticker in left:
            del self._markets[ticker]
            self._removed.discard(ticker)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _is_due(self, market: _Market, now_ns: Nanos) -> bool:
        if market.series is None or market.ticker in self._removed:
            return False
        return market.is_due(self._margins, now_ns)

    def _series_of(self, ticker: str) -> str | None:
        return next((series for series in self._series if ticker.startswith(f"{series}-")), None)

    def _find(self, ticker: str, series: str | None) -> _Market | None:
        """Return the market, a new one if it belongs to a series; None if it is none of ours."""
        market = self._markets.get(ticker)
        if series is not None:
            self._met.add(series)
        if market is None and series is not None:
            market = self._markets[ticker] = _Market(ticker)
        if market is not None and market.series is None:
            market.series = series
        return market

    def _move_close(self, market: _Market, close_ns: Nanos, now_ns: Nanos) -> None:
        market.close_ns = close_ns
        if close_ns > now_ns and not market.is_determined:
            market.ended_ns = None

    def _take_sheet(self, market: _Market, sheet: MarketSheet, now_ns: Nanos) -> None:
        market.is_known = True
        market.open_ns = sheet.open_ns if sheet.open_ns is not None else market.open_ns
        is_late = market.told_ns is not None and now_ns < market.told_ns + LIST_LAG_NS
        if sheet.close_ns is not None and not (is_late and market.close_ns is not None):
            self._move_close(market, sheet.close_ns, now_ns)
        if sheet.status in ("active", "inactive"):
            market.is_paused = sheet.status == "inactive"
            if not is_late and sheet.close_ns is not None and sheet.close_ns > now_ns:
                market.reopen()
        elif sheet.is_final:
            market.settle(now_ns)
        elif not is_late and (sheet.status == "closed" or sheet.status in _DETERMINED):
            market.is_determined |= sheet.status in _DETERMINED
            market.end(now_ns)

    def _view(self, market: _Market, now_ns: Nanos) -> Followed:
        series = None if market.ticker in self._named else market.series
        return Followed(market.ticker, series, market.status(now_ns), market.open_ns, market.close_ns)
