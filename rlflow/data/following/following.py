"""The roster kept up to date: by lifecycle events, by REST lists, and by hand.

REST is asked at the start, every few minutes, and when lifecycle events may have been lost; while none can be heard, it
is asked for new markets all the time. Nobody waits for its answers: while it is away, markets are followed as far as
they are known.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import attrs
import structlog
import trio

from rlflow.errors import AnswerRejectedError, RestRefusedError, VenueAwayError
from rlflow.kalshi.lifecycle import LIFECYCLE, EventFeeUpdate, EventLifecycle, MarketLifecycle
from rlflow.kalshi.messages import Subscribed
from rlflow.kalshi.notices import BooksInvalid, Heard, Notice
from rlflow.kalshi.roster import Followed, Roster
from rlflow.kalshi.sheets import MarketSheet
from rlflow.units import Nanos

LIST_INTERVAL_S: Final = 300.0
"""Between two lists while all is well; lists trail by half a minute anyway (protocol 6.2)."""
UNHEARD_S: Final = 20.0
"""Between two lists of new markets while no lifecycle event can be heard: markets are followed from a minute before
they open, and some series have a new one every few minutes."""
RETRY_S: Final = 15.0
"""Before REST is asked again when it was away; each request is patient by itself."""
PAUSE_S: Final = 2.0
"""Between two lists at least: several feeds may lose their connection at once."""
# Of a series, everything that may still need a subscription; settled markets would be years of history.
STATUSES: Final = ("unopened", "open", "paused", "closed")
# Those of markets that nobody may have told us of.
NEW: Final = ("unopened", "open")
_LOOK_UP_S = 3.0
_FAILED = (VenueAwayError, AnswerRejectedError, RestRefusedError)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class MarketLists(Protocol):
    """What is needed of the venue's REST interface."""

    async def markets(
        self, *, tickers: Sequence[str] | None = None, series: str | None = None, status: str | None = None
    ) -> list[MarketSheet]:
        """Return the markets that fulfil all conditions."""
        ...


class News(Protocol):
    """Who keeps the data sheets of markets."""

    def learn(self, tickers: Iterable[str]) -> None:
        """Hear that something was said about these markets."""
        ...

    def learn_event(self, event_ticker: str) -> None:
        """Hear that something was said about an event."""
        ...


@attrs.frozen
class FollowingStatistics:
    """How the roster is kept."""

    series: tuple[str, ...]
    events: int
    """Lifecycle events about markets of ours."""
    lists: int
    """How often REST has said which markets there are, or which are new."""
    last_list_ns: Nanos | None
    last_error: str | None
    """Why not all could be listed the last time; None: it could."""
    unlisted: tuple[str, ...] = ()
    """Markets that were named and that the venue does not list: misspelt, or gone long ago."""
    without_markets: tuple[str, ...] = ()
    """Series of which neither a list nor an event ever had a market."""


class UnknownMarketError(Exception):
    """The venue knows no such market, or nobody follows it."""

    def __init__(self, what: str, tickers: Sequence[str]) -> None:
        self.tickers = tuple(tickers)
        super().__init__(f"{what}: {', '.join(tickers[:10])}{' and more' if len(tickers) > 10 else ''}")


class Following:
    """A roster and its sources. `run` is the task of the REST lists; the rest may be called from any task.

    Args:
        roster: what is kept; nobody else changes it.
        rest: where lists come from; None: there is no REST.
        wall_ns: the wall clock.
    """

    def __init__(
        self,
        roster: Roster,
        rest: MarketLists | None = None,
        *,
        wall_ns: Callable[[], Nanos] = time.time_ns,
    ) -> None:
        self._roster = roster
        self._rest = rest
        self.news: News | None = None
        """Who is told that there is something new to ask REST."""
        self.is_hearing: Callable[[], bool] = lambda: True
        """Says whether lifecycle events can be heard at present."""
        self._wall_ns = wall_ns
        self._has_changed = trio.Event()
        self._is_list_wanted = trio.Event()
        self._events = self._lists = 0
        self._last_list_ns: Nanos | None = None
        self._last_error: str | None = None
        self._unlisted: tuple[str, ...] = ()

    # -- what is followed -------------------------------------------------------------------------------------------

    def followed(self) -> tuple[str, ...]:
        """Return the markets to follow now."""
        now_ns = self._wall_ns()
        self._roster.forget_left(now_ns)
        return self._roster.followed(now_ns)

    def markets(self) -> tuple[Followed, ...]:
        """Return the markets that are followed now, with what is known of each."""
        return self._roster.markets(self._wall_ns())

    def tradable(self, tickers: Iterable[str]) -> tuple[str, ...]:
        """Return those of some followed markets that should have a book now."""
        return self._roster.tradable(tickers, self._wall_ns())

    def foremost(self) -> str | None:
        """Return the market that is meant when none is named."""
        return self._roster.foremost(self._wall_ns())

    def opened_since(self, since_ns: Nanos) -> tuple[str, ...]:
        """Return the followed markets that have opened since then."""
        return self._roster.opened_between(since_ns, self._wall_ns())

    async def wait_changed(self, limit_s: float) -> None:
        """Wait until the roster may have changed: news, or a time that has come, or `limit_s`."""
        now_ns = self._wall_ns()
        # The wall clock may be set while we sleep, hence the limit.
        until_s = (self._roster.next_change_ns(now_ns) - now_ns) / 1e9
        with trio.move_on_after(min(until_s, limit_s)):
            await self._has_changed.wait()
        self._has_changed = trio.Event()

    def wake(self) -> None:
        """End `wait_changed`."""
        self._has_changed.set()

    def statistics(self) -> FollowingStatistics:
        """Return the figures so far."""
        return FollowingStatistics(
            self._roster.series,
            self._events,
            self._lists,
            self._last_list_ns,
            self._last_error,
            self._unlisted,
            self._roster.unmet_series if self._lists else (),
        )

    # -- sources ----------------------------------------------------------------------------------------------------

    def hear(self, notice: Notice) -> None:
        """Take what a connection with the lifecycle channel hears."""
        match notice:
            case Heard(message=MarketLifecycle(msg=event)):
                if self._roster.hear(event, self._wall_ns()):
                    self._events += 1
                    self._tell((event.market_ticker,))
                    self.wake()
            case Heard(message=EventLifecycle() | EventFeeUpdate() as message):
                event_ticker = message.msg.event_ticker
                followed = self._roster.followed(self._wall_ns())
                if self.news is not None and any(ticker.startswith(f"{event_ticker}-") for ticker in followed):
                    self.news.learn_event(event_ticker)
            case Heard(message=Subscribed(msg=body)) if body.channel == LIFECYCLE:
                self._is_list_wanted.set()
            case BooksInvalid(tickers=()):
                # Of a channel without books something was lost; it may have been this one.
                self._is_list_wanted.set()
            case _:
                pass

    def take_sheets(self, sheets: Sequence[MarketSheet]) -> None:
        """Take data sheets that somebody else has just asked for: of a settled market no list tells that it is over."""
        self._roster.learn(sheets, self._wall_ns())
        self.wake()

    def _tell(self, tickers: Iterable[str]) -> None:
        if self.news is not None:
            self.news.learn(tickers)

    async def run(self) -> None:
        """Ask REST for lists until cancelled; does nothing without REST."""
        if self._rest is None:
            return
        all_due_s = -math.inf
        while True:
            is_all_due = self._is_list_wanted.is_set() or trio.current_time() >= all_due_s
            self._is_list_wanted = trio.Event()
            if is_all_due:
                is_done = await self._ask(self._all(self._rest))
                all_due_s = trio.current_time() + (LIST_INTERVAL_S if is_done else RETRY_S)
            elif not self.is_hearing():
                await self._ask(self._new(self._rest))
            with trio.move_on_at(min(all_due_s, trio.current_time() + UNHEARD_S)):
                await self._is_list_wanted.wait()
            await trio.sleep(PAUSE_S)

    def _all(self, rest: MarketLists) -> list[Callable[[], Awaitable[None]]]:
        """Return the questions for every market that may be ours."""
        lists = [partial(self._ask_series, rest, series, STATUSES) for series in self._roster.series]
        return [*lists, partial(self._ask_named, rest)] if self._roster.named else [*lists]

    def _new(self, rest: MarketLists) -> list[Callable[[], Awaitable[None]]]:
        """Return the questions for those that may have been created of late."""
        return [partial(self._ask_series, rest, series, NEW) for series in self._roster.series]

    async def _ask(self, lists: Sequence[Callable[[], Awaitable[None]]]) -> bool:
        """Ask all that is not refused; return whether it is of no use to ask again soon."""
        errors: list[VenueAwayError | AnswerRejectedError | RestRefusedError] = []
        for ask in lists:
            try:
                await ask()
            except _FAILED as error:
                errors.append(error)
                if isinstance(error, VenueAwayError):
                    break
        self._note_errors([str(error) or type(error).__name__ for error in errors])
        return all(isinstance(error, RestRefusedError) and not error.is_about_key for error in errors)

    async def _ask_series(self, rest: MarketLists, series: str, statuses: Sequence[str]) -> None:
        for status in statuses:
            found = await rest.markets(series=series, status=status)
            self._roster.learn(found, self._wall_ns(), series)
            self.wake()

    async def _ask_named(self, rest: MarketLists) -> None:
        named = self._roster.named
        self._learn_named(named, await rest.markets(tickers=named))
        self.wake()

    def _note_errors(self, errors: Sequence[str]) -> None:
        if not errors:
            self._lists += 1
            self._last_list_ns, self._last_error = self._wall_ns(), None
            return
        if self._last_error is None:
            _log.warning("markets not listed", reason=errors[0])
        self._last_error = errors[0]

    def _learn_named(self, named: Sequence[str], sheets: Sequence[MarketSheet]) -> None:
        self._roster.learn(sheets, self._wall_ns())
        listed = {sheet.ticker for sheet in sheets}
        unlisted = tuple(ticker for ticker in named if ticker not in listed)
        # The venue lets anybody subscribe to anything: nothing else would show it.
        if unlisted and unlisted != self._unlisted:
            _log.warning("markets unknown to the venue", markets=", ".join(unlisted))
        self._unlisted = unlisted

    # -- by hand ----------------------------------------------------------------------------------------------------

    async def change(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """Follow some markets from now on and others no more, until the process ends.

        While REST is away, what is added is taken on trust.

        Raises:
            UnknownMarketError: the venue does not know a market that was to be added, or nobody follows one that was to
                be removed; nothing was changed.
        """
        followed = set(self._roster.followed(self._wall_ns()))
        if not_followed := tuple(ticker for ticker in remove if ticker not in followed):
            raise UnknownMarketError("not followed", not_followed)
        sheets = await self._look_up([ticker for ticker in add if ticker not in followed])
        self._roster.name(add)
        self._roster.remove(remove)
        self._roster.learn(sheets, self._wall_ns())
        self._tell(add)
        self.wake()

    async def _look_up(self, tickers: Sequence[str]) -> list[MarketSheet]:
        if self._rest is None or not tickers:
            return []
        sheets: list[MarketSheet] | None = None
        with trio.move_on_after(_LOOK_UP_S):
            with suppress(*_FAILED):
                sheets = await self._rest.markets(tickers=tickers)
        if sheets is None:
            return []
        known = {sheet.ticker for sheet in sheets}
        if unknown := tuple(ticker for ticker in tickers if ticker not in known):
            raise UnknownMarketError("not known to the venue", unknown)
        return sheets
