"""What the feeds of a service are made of: the roster, the connections, and what is asked by REST beside them."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

import attrs

from rlflow.config import Settings
from rlflow.data.database import Database
from rlflow.data.feed.capture_log import CaptureLog
from rlflow.data.following.feeds import Feeds
from rlflow.data.following.following import Following
from rlflow.data.following.lanes import Lane
from rlflow.data.orderbook_client import Admission, OrderbookClient
from rlflow.data.orderbook_state import OrderbookState
from rlflow.data.rest.client import VenueClient
from rlflow.data.sheets.grid_watch import GridWatch
from rlflow.data.sheets.market_sheets import MarketSheets
from rlflow.data.sheets.trade_backfill import TradeBackfill
from rlflow.data.tls import verifying_context
from rlflow.kalshi.commander import Commander
from rlflow.kalshi.roster import Roster
from rlflow.session.records import Opened
from rlflow.supervisor.venue import Venue


def venue_client(venue: Venue) -> AbstractAsyncContextManager[VenueClient | None]:
    """Return the client of the venue's REST interface, to be entered; None inside if the venue has none."""
    if not venue.api_url:
        return nullcontext()
    return VenueClient(venue.api_url, venue.rest_headers)


@attrs.frozen
class FollowingParts:
    """What follows the markets of a service, and the tasks beside it that nothing waits for."""

    following: Following
    feeds: Feeds
    background: Mapping[str, Callable[[], Awaitable[None]]]
    """By the name of the task; each runs until cancelled."""
    figures: Mapping[str, Callable[[], attrs.AttrsInstance]]
    """Of those tasks, by the name under which status shows them."""

    @classmethod
    def build(
        cls,
        settings: Settings,
        venue: Venue,
        *,
        client: VenueClient | None,
        captures: CaptureLog,
        books: OrderbookState,
        connect: Callable[[], Database],
        flush: Callable[[], Awaitable[None]],
    ) -> "FollowingParts":
        """Make the parts; nothing runs yet."""
        following = Following(Roster(settings.tickers, settings.series_tickers), client)
        context = verifying_context() if venue.ws_url.startswith("wss:") else None
        make_feed = _FeedMaker(settings=settings, venue=venue, captures=captures, books=books, context=context)
        feeds = Feeds(
            following,
            make_feed,
            books,
            capacity=settings.markets_per_connection,
            copies=settings.redundant_feeds,
        )
        following.is_hearing = lambda: feeds.statistics().is_hearing_lifecycle
        background: dict[str, Callable[[], Awaitable[None]]] = {"market lists": following.run}
        figures: dict[str, Callable[[], attrs.AttrsInstance]] = {}
        if client is not None:
            sheets = following.news = MarketSheets(client, connect, following.followed, following.take_sheets)
            background["market sheets"] = sheets.run
            backfill = TradeBackfill(client, connect, flush)
            background["trade backfill"] = backfill.run
            grid = GridWatch(books, sheets, feeds.resnapshot)
            background["price grids"] = grid.run
            figures |= {"price_grids": grid.statistics}
            figures |= {"trade_backfill": backfill.statistics}
            figures |= {"rest": client.statistics, "market_sheets": sheets.statistics}
        return cls(following, feeds, background, figures)


@attrs.frozen(kw_only=True)
class _FeedMaker:
    """Makes the feed of a lane; all feeds share one admission and one TLS context."""

    settings: Settings
    venue: Venue
    captures: CaptureLog
    books: OrderbookState
    admission: Admission = attrs.Factory(Admission)
    context: ssl.SSLContext | None

    def __call__(self, lane: Lane) -> OrderbookClient:
        return OrderbookClient(
            url=self.venue.ws_url,
            headers=self.venue.headers,
            make_commander=lambda: Commander(lane.tickers, hears_lifecycle=lane.hears_lifecycle),
            capture_log=self.captures,
            books=self.books,
            opened=lambda: self._opened(lane),
            ssl_context=self.context,
            admission=self.admission,
            heard=lane.heard,
            overfilled=lane.overfilled,
        )

    def _opened(self, lane: Lane) -> Opened:
        settings = self.settings
        return Opened(
            url=self.venue.ws_url,
            environment=settings.environment,
            sample_rate=settings.sample_rate,
            tickers=lane.tickers,
        )
