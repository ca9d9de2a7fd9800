"""The venue's REST interface, as far as following and describing markets needs it (protocol 6.1 and 6.2).

Every call is bounded (see `requests`, lists by `MAX_PAGES` too) and may raise:
    RestRefusedError: a refusal that the same request would get again; 404 for what does not exist (yet).
    VenueAwayError: no answer of use, however often asked.
    AnswerRejectedError: an answer of another form than the protocol's, however often asked.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar
from urllib.parse import quote

import attrs
import msgspec
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.rest.requests import ATTEMPT_S, Headers, Requester, RestStatistics, patient
from rlflow.data.tls import verifying_context
from rlflow.errors import AnswerRejectedError, VenueAwayError
from rlflow.kalshi.answers import AccountLimits, ExchangeStatus, RestOrderbook, Schedule, read_member, read_page
from rlflow.kalshi.sheets import EventSheet, FeeChange, MarketSheet, RestTrade, SeriesSheet

PAGE_ITEMS: Final = 1_000
MAX_PAGES: Final = 1_000
TICKERS_PER_REQUEST: Final = 100
"""Some 5 KB of URL."""
# Some 0.1 ms each; the loop has other things to do in between.
_ITEMS_AT_ONCE = 10
_MAINTENANCE = frozenset({503, 504})

T = TypeVar("T")


@attrs.frozen
class Listed(Generic[T]):
    """The items of all pages of a list."""

    items: list[T]
    unreadable: int
    """Items that could not be read, and are left out."""


class VenueClient:
    """Asks the venue. Use within `async with`, which ends its connections; tasks may share one."""

    def __init__(
        self,
        api_url: str,
        headers: Headers,
        *,
        ssl_context: ssl.SSLContext | None = None,
        make_backoff: Callable[[], Backoff] = patient,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            api_url: With the path that all requests begin with, such as "https://host/trade-api/v2".
            headers: Called for each attempt with "GET" and the path from the root.
            ssl_context: One that verifies; that of `verifying_context` if not given.
            make_backoff: Called for each request.
            attempt_s: For one attempt.
        """
        context = ssl_context or verifying_context()
        self._requests = Requester(api_url, headers, context, make_backoff=make_backoff, attempt_s=attempt_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._requests.aclose()

    def statistics(self) -> RestStatistics:
        """Return the figures so far."""
        return self._requests.statistics()

    # -- markets ----------------------------------------------------------------------------------------------------

    async def market(self, ticker: str) -> MarketSheet:
        """Return one market; refused with 404 too when it was created a moment ago."""
        return await self._member(f"/markets/{_quoted(ticker)}", "market", MarketSheet.from_json)

    async def markets(
        self,
        *,
        tickers: Sequence[str] | None = None,
        series: str | None = None,
        event: str | None = None,
        status: str | None = None,
        min_updated_ts: int | None = None,
    ) -> list[MarketSheet]:
        """Return the markets that fulfil all conditions; combos only where `tickers` names them.

        Args:
            tickers: Any number, asked for in several requests. Those that do not exist are missing from the answer.
            series: A series' ticker.
            event: An event's ticker.
            status: One of `STATUS_FILTERS`. What opened within the last half minute may be missing from "open".
            min_updated_ts: Unix seconds; goes with `series` at most.
        """
        conditions = {"series_ticker": series, "event_ticker": event, "status": status}
        if min_updated_ts is not None:
            conditions["min_updated_ts"] = str(min_updated_ts)
        wanted = {name: value for name, value in conditions.items() if value is not None}
        if tickers is None:
            return (
                await self._list("/markets", "markets", wanted | {"mve_filter": "exclude"}, MarketSheet.from_json)
            ).items
        found: list[MarketSheet] = []
        for begin in range(0, len(tickers), TICKERS_PER_REQUEST):
            part = wanted | {"tickers": ",".join(tickers[begin : begin + TICKERS_PER_REQUEST])}
            found += (await self._list("/markets", "markets", part, MarketSheet.from_json)).items
        return found

    async def orderbook(self, ticker: str) -> RestOrderbook:
        """Return a market's book at about now."""
        return await self._requests.ask(f"/markets/{_quoted(ticker)}/orderbook", {}, RestOrderbook.from_json)

    async def trades(self, ticker: str, min_ts: int, max_ts: int) -> Listed[RestTrade]:
        """Return a market's trades between two Unix times in seconds, newest first."""
        window = {"ticker": ticker, "min_ts": str(min_ts), "max_ts": str(max_ts)}
        return await self._list("/markets/trades", "trades", window, RestTrade.from_json)

    async def event(self, event_ticker: str) -> EventSheet:
        """Return one event."""
        return await self._member(f"/events/{_quoted(event_ticker)}", "event", EventSheet.from_json)

    async def series(self, series_ticker: str) -> SeriesSheet:
        """Return one series."""
        return await self._member(f"/series/{_quoted(series_ticker)}", "series", SeriesSheet.from_json)

    async def fee_changes(self, series_ticker: str) -> list[FeeChange]:
        """Return the fee changes of one series, those of the past and those to come."""
        wanted = {"series_ticker": series_ticker, "show_historical": "true"}
        field = "series_fee_change_arr"
        page = await self._requests.ask("/series/fee_changes", wanted, lambda raw: read_page(raw, field))
        return self._readable(page.items, FeeChange.from_json)

    # -- the exchange and the account -------------------------------------------------------------------------------

    async def exchange_status(self) -> ExchangeStatus:
        """Return whether the exchange works; its answer during maintenance counts, although it is an error."""
        return await self._requests.ask("/exchange/status", {}, ExchangeStatus.from_json, also=_MAINTENANCE)

    async def schedule(self) -> Schedule:
        """Return the announced maintenance."""
        return await self._requests.ask("/exchange/schedule", {}, Schedule.from_json)

    async def limits(self) -> AccountLimits:
        """Return what the account may ask, and keep to it from now on."""
        limits = await self._requests.ask("/account/limits", {}, AccountLimits.from_json)
        self._requests.adopt(limits.read)
        return limits

    async def _member(self, path: str, field: str, read: Callable[[msgspec.Raw], T]) -> T:
        """Return what stands under `field`."""
        return await self._requests.ask(path, {}, lambda raw: read(read_member(raw, field)))

    async def _list(
        self, path: str, field: str, wanted: Mapping[str, str], read: Callable[[msgspec.Raw], T]
    ) -> Listed[T]:
        """Return all items of all pages."""
        found: list[T] = []
        listed = 0
        cursor = ""
        for _ in range(MAX_PAGES):
            parameters = {**wanted, "limit": str(PAGE_ITEMS)} | ({"cursor": cursor} if cursor else {})
            page = await self._requests.ask(path, parameters, lambda raw: read_page(raw, field))
            listed += len(page.items)
            for begin in range(0, len(page.items), _ITEMS_AT_ONCE):
                found += self._readable(page.items[begin : begin + _ITEMS_AT_ONCE], read)
                await trio.lowlevel.checkpoint()
            if not page.cursor:
                return Listed(found, listed - len(found))
            cursor = page.cursor
        raise VenueAwayError(f"GET {path}: more than {MAX_PAGES} pages")

    def _readable(self, items: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> list[T]:
        """Return those items that can be read, and count the others."""
        found = []
        for item in items:
            try:
                found.append(read(item))
            except AnswerRejectedError as error:
                self._requests.note_unreadable(error)
        return found


def _quoted(ticker: str) -> str:
    return quote(ticker, safe="")
