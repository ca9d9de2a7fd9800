"""The roster's sources: REST that may be away, events, the clock; and what feeds do when a market opens."""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing

from rlflow.data.books.silences import Silence
from rlflow.data.following.feeds import CLOCK_LIMIT_S, MUTE_S, Feeds
from rlflow.data.following.following import (
    LIST_INTERVAL_S,
    NEW,
    PAUSE_S,
    RETRY_S,
    UNHEARD_S,
    Following,
    MarketLists,
)
from rlflow.data.following.lanes import Lane
from rlflow.data.following.quiet_feeds import ANSWER_S, QUIET_S
from rlflow.data.orderbook_client import FeedState, FeedStatus
from rlflow.errors import FeedLostError, RestRefusedError, VenueAwayError
from rlflow.kalshi.lifecycle import LIFECYCLE, EventFeeUpdate, FeeUpdate, MarketEvent, MarketLifecycle
from rlflow.kalshi.messages import Subscribed, SubscribedBody
from rlflow.kalshi.notices import BooksInvalid, Heard
from rlflow.kalshi.roster import SECOND, Roster
from rlflow.kalshi.sheets import MarketSheet
from tests.service_figures import LANE
from tests.test_roster import NOW, created, seconds, sheet


@attrs.define
class Lists(MarketLists):
    """A REST interface; `found` are the open markets."""

    found: list[MarketSheet] = attrs.Factory(list)
    is_away: bool = False
    refused: str = ""
    """A series that is refused."""
    asked: list[str] = attrs.Factory(list)

    async def markets(
        self, *, tickers: Sequence[str] | None = None, series: str | None = None, status: str | None = None
    ) -> list[MarketSheet]:
        await trio.lowlevel.checkpoint()
        self.asked.append(status or ",".join(tickers or ()))
        if self.is_away:
            raise VenueAwayError("no answer")
        if series is not None and series == self.refused:
            raise RestRefusedError(400, "bad_request", "no series")
        if tickers is not None:
            return [each for each in self.found if each.ticker in tickers]
        return self.found if status == "open" and series == "KXS" else []


@attrs.define
class Told:
    markets: list[str] = attrs.Factory(list)
    events: list[str] = attrs.Factory(list)

    def learn(self, tickers: Iterable[str]) -> None:
        self.markets += tickers

    def learn_event(self, event_ticker: str) -> None:
        self.events.append(event_ticker)


def wall(base_ns: int = NOW) -> Callable[[], int]:
    """A wall clock that goes with Trio's."""
    start = trio.current_time()
    return lambda: base_ns + round((trio.current_time() - start) * SECOND)


SUBSCRIBED = Heard(Subscribed(SubscribedBody(LIFECYCLE, 3), id=2))
A_ROUND = ["unopened", "open", "paused", "closed"]


async def test_lists_come_at_the_start_every_five_minutes_and_after_a_lost_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rest = Lists([sheet("KXS-1", "active", -5, 600)])
    following = Following(Roster((), ("KXS",)), rest, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        assert following.followed() == ("KXS-1",)
        assert rest.asked == A_ROUND
        await trio.sleep(LIST_INTERVAL_S + PAUSE_S + 1)
        assert rest.asked == A_ROUND * 2
        for notice in (SUBSCRIBED, BooksInvalid(3, (), "sequence gap"), SUBSCRIBED):
            following.hear(notice)
        await trio.sleep(PAUSE_S + 1)
        assert rest.asked == A_ROUND * 3
        following.hear(BooksInvalid(1, ("KXS-1",), "sequence gap"))
        await trio.sleep(PAUSE_S + 1)
        assert rest.asked == A_ROUND * 3
        nursery.cancel_scope.cancel()


async def test_while_nothing_can_be_heard_new_markets_are_listed_all_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rest, is_hearing = Lists(), [False]
    following = Following(Roster(("KXA-1",), ("KXS",)), rest, wall_ns=wall())
    following.is_hearing = lambda: is_hearing[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        assert rest.asked == [*A_ROUND, "KXA-1"]
        rest.asked.clear()
        rest.found = [sheet("KXS-1", "active", -5, 600)]
        await trio.sleep(UNHEARD_S + PAUSE_S + 1)
        assert rest.asked == [*NEW]
        assert following.followed() == ("KXA-1", "KXS-1")
        is_hearing[0] = True
        await trio.sleep(LIST_INTERVAL_S - 2 * UNHEARD_S)
        assert rest.asked == [*NEW]
        is_hearing[0] = False
        await trio.sleep(3 * UNHEARD_S)
        assert rest.asked[:2] == rest.asked[-2:] == [*NEW]
        assert "paused" in rest.asked, "a whole round was due"
        nursery.cancel_scope.cancel()


async def test_while_rest_is_away_events_are_followed_and_rest_is_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rest = Lists([sheet("KXS-2", "active", -5, 600)], is_away=True)
    following = Following(Roster(("KXA-1",), ("KXS",)), rest, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        assert following.statistics().last_error == "no answer"
        following.hear(Heard(MarketLifecycle(created("KXS-1", 0, 900), 3, 1)))
        assert following.followed() == ("KXA-1", "KXS-1")
        rest.is_away = False
        await trio.sleep(RETRY_S + PAUSE_S + 1)
        assert following.followed() == ("KXA-1", "KXS-2", "KXS-1")
        figures = following.statistics()
        assert (figures.last_error, figures.lists, figures.events) == (None, 1, 1)
        nursery.cancel_scope.cancel()


async def test_a_series_that_is_refused_keeps_no_other_market_from_being_listed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rest = Lists([sheet("KXS-1", "active", -5, 600), sheet("KXA-1", "active", -5, 600)], refused="KXBAD")
    following = Following(Roster(("KXA-1",), ("KXBAD", "KXS")), rest, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        assert following.followed() == ("KXA-1", "KXS-1")
        a_round = ["unopened", *A_ROUND, "KXA-1"]
        assert (rest.asked, following.statistics().lists) == (a_round, 0)
        assert "no series" in str(following.statistics().last_error)
        await trio.sleep(RETRY_S + PAUSE_S + 1)
        assert rest.asked == a_round, "it would be refused again"
        rest.refused = ""
        await trio.sleep(LIST_INTERVAL_S)
        assert (following.statistics().lists, following.statistics().last_error) == (1, None)
        nursery.cancel_scope.cancel()


async def test_a_named_market_that_the_venue_does_not_list_is_told(autojump_clock: trio.testing.MockClock) -> None:
    rest = Lists([sheet("KXA-1", "active", -5, 600)])
    following = Following(Roster(("KXA-1", "KXA-TYPO")), rest, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        assert following.statistics().unlisted == ("KXA-TYPO",)
        await following.change([], ["KXA-TYPO"])
        await trio.sleep(LIST_INTERVAL_S + PAUSE_S + 1)
        assert following.statistics().unlisted == ()
        nursery.cancel_scope.cancel()


async def test_a_market_that_was_settled_unheard_is_left_when_its_sheet_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rest = Lists([sheet("KXS-1", "active", -5, 86_400)])
    following = Following(Roster((), ("KXS",)), rest, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.testing.wait_all_tasks_blocked()
        await following.wait_changed(1)
        rest.found = []
        await trio.sleep(LIST_INTERVAL_S + PAUSE_S + 1)
        assert following.followed() == ("KXS-1",)
        following.take_sheets([sheet("KXS-1", "finalized", -5, 60)])
        began = trio.current_time()
        await following.wait_changed(1_000)
        assert trio.current_time() == began
        assert [market.status for market in following.markets()] == ["settled"]
        await trio.sleep(11)
        assert following.followed() == ()
        nursery.cancel_scope.cancel()


async def test_what_is_heard_of_our_markets_is_passed_on_to_who_keeps_their_sheets() -> None:
    following = Following(Roster(("KXA-1-T",), ("KXS",)), wall_ns=lambda: NOW)
    following.news = told = Told()
    following.hear(Heard(MarketLifecycle(created("KXS-1", 0, 900), 3, 1)))
    following.hear(Heard(MarketLifecycle(MarketEvent("KXOTHER-1", "settled"), 3, 2)))
    following.hear(Heard(EventFeeUpdate(FeeUpdate("KXA-1"), 3, 3)))
    following.hear(Heard(EventFeeUpdate(FeeUpdate("KXOTHER-1"), 3, 4)))
    assert (told.markets, told.events) == (["KXS-1"], ["KXA-1"])


async def test_a_wait_ends_when_a_time_of_a_market_comes(autojump_clock: trio.testing.MockClock) -> None:
    following = Following(Roster((), ("KXS",)), wall_ns=wall())
    following.hear(Heard(MarketLifecycle(created("KXS-1", 100, 900), 3, 1)))
    await following.wait_changed(1)
    began = trio.current_time()
    await following.wait_changed(1_000)
    assert trio.current_time() - began == pytest.approx(40)
    await following.wait_changed(30)
    assert trio.current_time() - began == pytest.approx(70)


@attrs.define
class StillFeed:
    """A feed that does nothing but remember."""

    lane: Lane
    asked: list[str] = attrs.Factory(list)
    follows: list[Sequence[str]] = attrs.Factory(list)
    is_connected: bool = True
    books_silent_s: float = 0.0
    distrusted: list[str] = attrs.Factory(list)

    async def run(self, stop: trio.Event) -> None:
        await stop.wait()

    def distrust(self, cause: str, tickers: Sequence[str] | None = None) -> None:
        self.distrusted.append(cause if tickers is None else ", ".join(tickers))

    def retire(self) -> None:
        raise FeedLostError("not connected")

    def follow(self, tickers: Sequence[str]) -> None:
        self.follows.append(tickers)

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        if not self.is_connected:
            raise FeedLostError("not connected")
        self.asked += tickers or ()

    def statistics(self) -> FeedStatus:
        state: FeedState = "connected" if self.is_connected else "waiting"
        return attrs.evolve(LANE.feed, state=state, books_silent_s=self.books_silent_s)


@attrs.define
class StillBooks:
    valid: set[str] = attrs.Factory(set)
    retained: tuple[str, ...] = ()
    silent: list[Silence] = attrs.Factory(list)

    def silences(self, capture: UUID | None, tickers: Iterable[str], now_ns: int) -> list[Silence]:  # noqa: ARG002
        return [silence for silence in self.silent if silence.ticker in tickers]

    def is_valid(self, ticker: str) -> bool:
        return ticker in self.valid

    def retain(self, tickers: Iterable[str]) -> None:
        self.retained = tuple(tickers)


async def test_a_feed_that_says_nothing_about_books_is_asked_and_then_not_believed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane))
        return made[-1]

    books, stop = StillBooks({"B"}), trio.Event()
    feeds = Feeds(Following(Roster(("A", "B"), ())), make, books, capacity=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.sleep(100)
        assert [(feed.asked, feed.distrusted) for feed in made] == [([], []), ([], [])]
        made[1].books_silent_s = 61
        await trio.sleep(200)
        made[1].books_silent_s = 0
        await trio.sleep(100)
        stop.set()
    cause = "the venue does not answer about books"
    assert [(feed.asked, feed.distrusted) for feed in made] == [([], []), (["B"], [cause])]


async def test_a_book_that_is_quiet_beside_others_is_asked_for_and_then_not_believed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane))
        return made[-1]

    books, stop = StillBooks({"A", "B"}), trio.Event()
    feeds = Feeds(Following(Roster(("A", "B"), ())), make, books, capacity=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.sleep(1)
        books.silent = [Silence("B", 7, QUIET_S, has_changed=True, is_contradicted=False)]
        await trio.sleep(CLOCK_LIMIT_S)
        assert (made[0].asked, made[0].distrusted) == (["B"], [])
        await trio.sleep(ANSWER_S + CLOCK_LIMIT_S)
        assert (made[0].asked[0], made[0].distrusted[0]) == ("B", "B")
        stop.set()


async def test_a_feed_is_mute_if_asking_has_not_made_it_speak_and_something_can_be_traded() -> None:
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane))
        return made[-1]

    following = Following(Roster(("A",), ("KXS",)), wall_ns=lambda: NOW)
    feeds, stop = Feeds(following, make, StillBooks(), capacity=1), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.testing.wait_all_tasks_blocked()
        for silent_s, is_mute in ((MUTE_S, False), (MUTE_S + 1, True)):
            made[0].books_silent_s = silent_s
            assert [lane.is_mute for lane in feeds.statistics().feeds] == [is_mute]
        over = MarketEvent("A", "settled")
        following.hear(Heard(MarketLifecycle(over, 3, 1)))
        assert [lane.is_mute for lane in feeds.statistics().feeds] == [False]
        stop.set()


async def test_a_series_of_which_no_list_ever_has_a_market_is_told(autojump_clock: trio.testing.MockClock) -> None:
    lists = Lists([sheet("KXS-1", "active", 0, 900)])
    following = Following(Roster((), ("KXS", "KXTYPO")), lists, wall_ns=wall())
    assert following.statistics().without_markets == ()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(following.run)
        await trio.sleep(10)
        assert following.statistics().without_markets == ("KXTYPO",)
        lists.found.clear()
        await trio.sleep(2 * LIST_INTERVAL_S)
        assert following.statistics().without_markets == ("KXTYPO",)
        nursery.cancel_scope.cancel()


async def test_a_quiet_feed_is_asked_for_a_book_that_it_has(autojump_clock: trio.testing.MockClock) -> None:
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane, books_silent_s=61))
        return made[-1]

    books, stop = StillBooks({"GOOD"}), trio.Event()
    feeds = Feeds(Following(Roster(("REFUSED", "GOOD"), ())), make, books, capacity=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.sleep(1)
        assert made[0].asked == ["GOOD"]
        stop.set()


async def test_a_quiet_feed_without_any_book_is_not_asked(autojump_clock: trio.testing.MockClock) -> None:
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane, books_silent_s=61))
        return made[-1]

    feeds, stop = Feeds(Following(Roster(("REFUSED",), ())), make, StillBooks(), capacity=2), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.sleep(100)
        assert (made[0].asked, made[0].distrusted) == ([], [])
        stop.set()


async def test_a_market_that_opens_without_a_book_is_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    following = Following(Roster((), ("KXS",)), wall_ns=wall())
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane))
        return made[-1]

    books, stop = StillBooks({"KXS-1"}), trio.Event()
    feeds = Feeds(following, make, books, capacity=10, wall_ns=wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        for number in (1, 2):
            following.hear(Heard(MarketLifecycle(created(f"KXS-{number}", 100, 900), 3, number)))
        await trio.sleep(99)
        assert made[0].follows == [("KXS-1", "KXS-2")]
        assert made[0].asked == []
        await trio.sleep(2)
        assert made[0].asked == ["KXS-2"]
        assert books.retained == ("KXS-1", "KXS-2")
        stop.set()


async def test_snapshots_are_asked_of_the_feeds_that_have_the_markets() -> None:
    following = Following(Roster(("A-1", "A-2", "A-3")), wall_ns=lambda: seconds(0))
    made: list[StillFeed] = []

    def make(lane: Lane) -> StillFeed:
        made.append(StillFeed(lane))
        return made[-1]

    feeds, stop = Feeds(following, make, StillBooks(), capacity=2), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.run, stop)
        await trio.testing.wait_all_tasks_blocked()
        assert [feed.lane.hears_lifecycle for feed in made] == [True, False]
        feeds.resnapshot(["A-1", "A-3"])
        assert [feed.asked for feed in made] == [["A-1"], ["A-3"]]
        made[1].is_connected = False
        feeds.resnapshot()
        assert [feed.asked for feed in made] == [["A-1", "A-1", "A-2"], ["A-3"]]
        with pytest.raises(FeedLostError):
            feeds.resnapshot(["A-3"])
        assert not feeds.statistics().is_connected
        stop.set()
