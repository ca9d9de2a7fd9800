"""The data sheets of the markets in the store: kept current, to their end, whatever is away meanwhile."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rlflow.data.backoff import Backoff
from rlflow.data.database import Database
from rlflow.data.sheets.ask_schedule import FIRST_RETRY_S, INTERVAL_S, LAST_RETRY_S, AskSchedule
from rlflow.data.sheets.fee_changes import (
    CLOCKS_DIFFER_MS,
    Fee,
    FeeRow,
    Moment,
    Scope,
    SeenFees,
    fee_at,
    market_fee_at,
    read_fees,
    updated,
)
from rlflow.data.sheets.market_sheets import MarketSheets
from rlflow.data.sheets.sheet_rows import unfinished
from rlflow.errors import DatabaseAwayError
from rlflow.kalshi.sheets import MarketSheet
from tests.rest_venue import Answer, Asked, RestVenue, answer, by_path, rest_venue
from tests.rows_by_hand import MARKET, NOON_NS, first

LIMIT_S = 30
EVENT, SERIES = "KXTEST-26NOV22", "KXTEST"


@attrs.define
class Listing:
    """What a venue says of its markets, changeable while it is asked."""

    markets: dict[str, dict[str, Any]] = attrs.Factory(dict)
    event: dict[str, Any] = attrs.Factory(dict)
    series: dict[str, Any] = attrs.Factory(lambda: {"fee_type": "quadratic", "fee_multiplier": 1})
    changes: list[dict[str, Any]] = attrs.Factory(list)
    refused: set[str] = attrs.Factory(set)
    """Tickers that are refused with all others of the request."""
    more: dict[str, Answer] = attrs.Factory(dict)
    """Answers by path, before those that come of the rest."""
    is_away: bool = False

    def list(self, ticker: str = MARKET, **fields: Any) -> None:
        """List a market, or change it."""
        old = self.markets.get(ticker, {"ticker": ticker, "event_ticker": EVENT, "status": "active", "title": "T?"})
        self.markets[ticker] = old | fields

    def settle(self, ticker: str = MARKET) -> None:
        self.list(ticker, status="finalized", result="yes", settlement_value_dollars="1.0000")

    def answer(self, asked: Asked) -> Answer:
        if self.is_away:
            return Answer(503)
        wanted = asked.query.get("tickers", "").split(",")
        if self.refused.intersection(wanted):
            return answer(400, code="bad_request")
        listed = [self.markets[ticker] for ticker in wanted if ticker in self.markets]
        return by_path(
            {
                "/markets": answer(markets=listed, cursor=""),
                f"/events/{EVENT}": answer(event={"event_ticker": EVENT, "series_ticker": SERIES} | self.event),
                f"/series/{SERIES}": answer(series={"ticker": SERIES} | self.series),
                "/series/fee_changes": answer(series_fee_change_arr=self.changes),
            }
            | self.more
        )(asked)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.sheets.market_sheets.GATHER_S", 0.02)


@attrs.frozen
class Running:
    """A running task and what it asks."""

    sheets: MarketSheets
    venue: RestVenue
    fetched: list[MarketSheet]
    """What was told of sheets."""

    async def wait(self, is_so: Callable[[], bool]) -> None:
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.005)

    async def stored(self, number: int) -> None:
        """Wait until so many sheets were written."""
        await self.wait(lambda: self.sheets.statistics().stored >= number)


@asynccontextmanager
async def running(
    listing: Listing, connect: Callable[[], Database], *followed: str, wall_ns: Callable[[], int] = lambda: NOON_NS
) -> AsyncIterator[Running]:
    fetched: list[MarketSheet] = []
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(LIMIT_S))
        venue = await stack.enter_async_context(rest_venue(listing.answer))
        client = await stack.enter_async_context(venue.client())
        quick = partial(Backoff, first_s=0.01, cap_s=0.02)
        sheets = MarketSheets(client, connect, lambda: followed, fetched.extend, wall_ns, quick)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(sheets.run)
        yield Running(sheets, venue, fetched)
        nursery.cancel_scope.cancel()


def connector(url: str) -> Callable[[], Database]:
    return lambda: Database.connect(url, environment="sim", wall_ns=lambda: NOON_NS)


def row(database: Database, columns: str, ticker: str = MARKET) -> tuple[Any, ...] | None:
    return database.connection.execute(
        f"SELECT {columns} FROM rl_markets WHERE market_ticker = %s".encode(), (ticker,)
    ).fetchone()


async def test_a_followed_market_gets_its_sheet(database: Database, database_url: str) -> None:
    listing = Listing()
    listing.list(
        title="",
        yes_sub_title="above 4,184.96",
        open_time="2026-11-22T12:00:00Z",
        close_time="2026-11-22T12:15:00.5Z",
        settlement_timer_seconds=5,
        price_level_structure="tapered_deci_cent",
        price_ranges=[{"start": "0", "end": "0.1", "step": "0.001"}],
        floor_strike=4184.96,
    )
    listing.event = {"title": "Gold price up?"}
    async with running(listing, connector(database_url), MARKET) as now:
        await now.stored(1)
        assert now.sheets.sheet(MARKET) is not None
    columns = "event_ticker, series_ticker, title, status, yes_sub_title, open_ts_ms, close_ts_ms, settlement_timer_s"
    assert row(database, columns) == (
        *(EVENT, SERIES, "Gold price up?", "active", "above 4,184.96"),
        *(NOON_NS // 10**6, NOON_NS // 10**6 + 900_500, 5),
    )
    assert row(database, "price_ranges, sheet->>'floor_strike', result, fetched_ns") == (
        [{"start": "0.0000", "end": "0.1000", "step": "0.0010"}],
        *("4184.96", None, NOON_NS),
    )


async def test_a_recorded_market_is_asked_for_until_it_is_final_and_not_after(
    database: Database, database_url: str
) -> None:
    database.commit([first()])
    assert unfinished(database) == [MARKET]
    listing = Listing()
    listing.list(status="closed")
    async with running(listing, connector(database_url)) as now:
        await now.stored(1)
        listing.list(status="determined", result="yes", settlement_value_dollars="1.0000")
        now.sheets.learn([MARKET])
        await now.stored(2)
        listing.settle()
        now.sheets.learn([MARKET])
        await now.stored(3)
        await now.wait(lambda: now.sheets.statistics().final == 1)
        asked = len(now.venue.asked)
        now.sheets.learn([MARKET])
        await trio.sleep(0.1)
        assert (len(now.venue.asked), now.sheets.statistics().pending) == (asked, 0)
    assert row(database, "status, result, settlement_value_e4") == ("finalized", "yes", 10_000)
    assert unfinished(database) == []


async def test_a_market_that_is_not_there_yet_is_found_later(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlflow.data.sheets.ask_schedule.FIRST_RETRY_S", 0.01)
    listing = Listing()
    async with running(listing, connector(database_url)) as now:
        now.sheets.learn([MARKET])
        await now.wait(lambda: now.sheets.statistics().missing == 1)
        listing.list()
        await now.stored(1)
        assert now.sheets.statistics().missing == 0


async def test_a_venue_that_is_away_is_waited_for(database: Database, database_url: str) -> None:
    listing = Listing(is_away=True)
    listing.list()
    async with running(listing, connector(database_url), MARKET) as now:
        await now.wait(lambda: "503" in str(now.sheets.statistics().last_error))
        listing.is_away = False
        await now.stored(1)
        await now.wait(lambda: now.sheets.statistics().last_error is None)


async def test_a_database_that_is_away_is_waited_for(database: Database, database_url: str) -> None:
    listing = Listing()
    listing.list()
    listing.changes = [_change("quadratic", 1, "2026-11-01T00:00:00Z")]
    is_away = [True]

    def connect() -> Database:
        if is_away[0]:
            raise DatabaseAwayError("gone")
        return connector(database_url)()

    async with running(listing, connect, MARKET) as now:
        await now.wait(lambda: now.sheets.statistics().last_error == "gone")
        assert not now.fetched
        is_away[0] = False
        await now.stored(1)
        listing.settle()
        is_away[0] = True
        now.sheets.learn([MARKET])
        await now.wait(lambda: now.sheets.statistics().last_error == "gone")
        assert now.fetched[-1].is_final
        is_away[0] = False
        await now.stored(2)
    assert row(database, "result") == ("yes",)
    assert len(read_fees(database.connection, "series", SERIES)) == 1


async def test_a_sheet_that_postgresql_refuses_spoils_no_other(database: Database, database_url: str) -> None:
    listing = Listing()
    listing.list(settlement_timer_seconds=2**40)
    listing.list(f"{MARKET}2", title="a\x00b", custom_strike={"\x00": "\x00"})
    async with running(listing, connector(database_url), MARKET, f"{MARKET}2") as now:
        await now.stored(1)
        assert now.sheets.statistics().refused == 1
    assert row(database, "title", f"{MARKET}2") == ("a\ufffdb",)


@pytest.mark.parametrize("bad", [answer(400, code="bad_request"), answer(event={"event_ticker": ""})])
async def test_an_event_that_fails_spoils_no_other(database: Database, database_url: str, bad: Answer) -> None:
    listing = Listing(more={"/events/A": bad, "/account/limits": answer(read={})})
    listing.list("A-1", event_ticker="A")
    listing.list(MARKET)
    async with running(listing, connector(database_url), "A-1", MARKET) as now:
        await now.stored(2)
        await now.wait(lambda: "event A" in str(now.sheets.statistics().last_error))
        listing.more = {"/events/A": answer(event={"event_ticker": "A", "series_ticker": "S"})}
        now.sheets.learn_event("A")
        await now.wait(lambda: now.sheets.statistics().last_error is None)
    assert row(database, "series_ticker", "A-1") == ("S",)
    assert row(database, "series_ticker") == (SERIES,)


async def test_an_event_that_is_not_there_yet_is_asked_for_soon(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlflow.data.sheets.ask_schedule.FIRST_RETRY_S", 0.02)
    monkeypatch.setattr("rlflow.data.sheets.market_details.FIRST_RETRY_S", 0.01)
    listing = Listing(more={f"/events/{EVENT}": answer(404, code="not_found")})
    listing.settle()
    async with running(listing, connector(database_url), MARKET) as now:
        await now.stored(1)
        assert (now.sheets.statistics().final, now.sheets.statistics().last_error) == (0, None)
        listing.more = {}
        await now.wait(lambda: now.sheets.statistics().final == 1)
    assert row(database, "series_ticker") == (SERIES,)


async def test_what_cannot_be_read_of_a_market_keeps_none_from_its_end(database: Database, database_url: str) -> None:
    listing = Listing(event={"fee_multiplier_override": "n/a"})
    listing.settle()
    listing.list(settlement_value_dollars="0.333333", close_time="soon", result="scalar")
    async with running(listing, connector(database_url), MARKET) as now:
        await now.wait(lambda: now.sheets.statistics().final == 1)
        assert now.sheets.statistics().unread == ("close_time", "settlement_value_dollars")
        await now.wait(lambda: "fee_multiplier_override" in str(now.sheets.statistics().last_error))
    columns = "status, result, settlement_value_e4, series_ticker, sheet->>'settlement_value_dollars'"
    assert row(database, columns) == ("finalized", "scalar", None, SERIES, "0.333333")
    assert read_fees(database.connection, "event", EVENT) == []


async def test_a_market_that_is_refused_spoils_no_other(database: Database, database_url: str) -> None:
    tickers = [f"{MARKET}{number}" for number in range(7)]
    listing = Listing(refused={tickers[3]})
    for ticker in tickers:
        listing.list(ticker)
    async with running(listing, connector(database_url), *tickers) as now:
        await now.stored(6)
        assert now.sheets.statistics().missing == 1


def _change(fee_type: str, multiplier: float, at: str) -> dict[str, Any]:
    return {"series_ticker": SERIES, "fee_type": fee_type, "fee_multiplier": multiplier, "scheduled_ts": at}


async def test_fees_are_stored_with_when_they_hold(database: Database, database_url: str) -> None:
    listing = Listing()
    listing.list()
    listing.series = {"fee_type": "quadratic", "fee_multiplier": 0.5}
    listing.changes = [
        _change("quadratic", 1, "2026-07-07T00:00:00Z"),
        _change("quadratic", 0.5, "2026-11-01T00:00:00Z"),
        _change("flat", 0, "2027-01-01T00:00:00Z"),
        {"series_ticker": "KXOTHER", "fee_type": "flat", "fee_multiplier": 9, "scheduled_ts": "2026-11-02T00:00:00Z"},
    ]
    async with running(listing, connector(database_url), MARKET) as now:
        await now.stored(1)
        listing.event = {"fee_multiplier_override": 0}
        now.sheets.learn_event(EVENT)
        await now.stored(2)
    series = read_fees(database.connection, "series", SERIES)
    event = read_fees(database.connection, "event", EVENT)
    now_ms = NOON_NS // 10**6
    assert [(row.fee.fee_type, row.fee.multiplier) for row in series] == [
        ("quadratic", 1),
        ("quadratic", Decimal("0.5")),
        ("flat", 0),
    ]
    assert market_fee_at(series, event, now_ms) == Fee("quadratic", Decimal(0))
    assert market_fee_at(series, [], now_ms + 365 * 86_400_000) == Fee("flat", Decimal(0))
    assert fee_at(series, 0) == Fee(None, None)


ONE, HALF = Fee("quadratic", Decimal(1)), Fee("quadratic", Decimal("0.5"))


def seen(fee: Fee, at_ms: int, *announced: FeeRow, scope: Scope = "series", answered_ms: int = 0) -> SeenFees:
    return SeenFees(scope, SERIES, fee, Moment(at_ms, max(at_ms, answered_ms)), announced)


def test_a_fee_that_changed_without_announcement_holds_from_when_it_was_seen() -> None:
    rows = updated([], seen(ONE, 1_000))
    assert rows == [FeeRow(0, ONE)]
    rows = updated(rows, seen(ONE, 2_000))
    rows = updated(rows, seen(HALF, 3_000))
    assert rows == [FeeRow(0, ONE), FeeRow(3_000, HALF)]
    assert updated(rows, seen(HALF, 4_000)) == rows
    assert updated(rows, seen(ONE, 4_000)) == [*rows, FeeRow(4_000, ONE)]


@pytest.mark.parametrize("fee", [ONE, HALF])
@pytest.mark.parametrize(("asked_ms", "answered_ms"), [(99_000, 99_500), (100_500, 101_000), (80_000, 120_000)])
def test_close_to_an_announced_change_either_fee_may_be_seen(fee: Fee, asked_ms: int, answered_ms: int) -> None:
    rows = [FeeRow(0, ONE), FeeRow(100_000, HALF)]
    assert updated(rows, seen(fee, asked_ms, rows[1], answered_ms=answered_ms)) == rows


def test_an_announcement_that_is_taken_back_goes() -> None:
    announced = updated([], seen(ONE, 1_000, FeeRow(9_000, HALF)))
    assert announced == [FeeRow(0, ONE), FeeRow(9_000, HALF)]
    assert updated(announced, seen(ONE, 2_000)) == [FeeRow(0, ONE)]


def test_an_event_without_fees_of_its_own_needs_no_row() -> None:
    own, none = Fee(None, Decimal("0.5")), Fee(None, None)
    assert updated([], seen(none, 1_000, scope="event")) == []
    rows = updated(updated([], seen(own, 1_000, scope="event")), seen(none, 2_000, scope="event"))
    assert rows == [FeeRow(0, own), FeeRow(2_000, none)]
    assert market_fee_at([FeeRow(0, ONE)], rows, 1_500) == HALF
    assert market_fee_at([FeeRow(0, ONE)], rows, 2_500) == ONE


async def test_a_fee_holds_from_when_it_was_seen_however_late_it_is_stored(
    database: Database, database_url: str
) -> None:
    listing = Listing(event={"fee_multiplier_override": 1})
    listing.list()
    wall_ns, is_away = [NOON_NS], [False]

    def connect() -> Database:
        if is_away[0]:
            raise DatabaseAwayError("gone")
        return connector(database_url)()

    async with running(listing, connect, MARKET, wall_ns=lambda: wall_ns[0]) as now:
        await now.stored(1)
        listing.event = {"fee_multiplier_override": 0}
        is_away[0], wall_ns[0] = True, NOON_NS + 60 * 10**9
        now.sheets.learn_event(EVENT)
        await now.wait(lambda: now.sheets.statistics().last_error == "gone")
        is_away[0], wall_ns[0] = False, NOON_NS + 3_600 * 10**9
        await now.stored(2)
    rows = read_fees(database.connection, "event", EVENT)
    assert [row.valid_from_ms for row in rows] == [0, NOON_NS // 10**6 + 60_000]


fees = st.builds(Fee, st.sampled_from(["quadratic", "flat"]), st.sampled_from([Decimal(1), Decimal("0.5")]))
A_STEP_MS = 2 * CLOCKS_DIFFER_MS


@given(st.lists(st.tuples(st.integers(1, 50), fees, st.lists(st.tuples(st.integers(1, 2_000), fees), max_size=3))))
def test_what_is_seen_now_holds_now_and_the_past_is_not_rewritten(
    looks: list[tuple[int, Fee, list[tuple[int, Fee]]]],
) -> None:
    rows: list[FeeRow] = []
    now = 0
    for pause, fee, announced in looks:
        before, now = rows, now + pause * A_STEP_MS
        rows = updated(rows, seen(fee, now, *(FeeRow(now + ahead * A_STEP_MS, later) for ahead, later in announced)))
        assert fee_at(rows, now) == fee
        assert [row for row in rows if 0 < row.valid_from_ms < now] == [
            row for row in before if 0 < row.valid_from_ms < now
        ]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc")),
            st.tuples(st.just("hasten"), st.sampled_from("abc")),
            st.tuples(st.just("found"), st.sampled_from("abc")),
            st.tuples(st.just("final"), st.sampled_from("abc")),
            st.tuples(st.just("missed"), st.sampled_from("abc")),
            st.tuples(st.just("found_in_part"), st.sampled_from("abc")),
            st.tuples(st.just("wait"), st.integers(1, 1_000)),
        )
    )
)
def test_a_market_that_is_not_final_is_always_asked_for_again(steps: list[tuple[str, Any]]) -> None:
    schedule, now, final, known = AskSchedule(), 0.0, set(), set()
    for step, value in steps:
        match step:
            case "wait":
                now += value
            case "add" | "hasten":
                getattr(schedule, step)([value], now)
                known.add(value)
            case "missed" if value in schedule.due(now):
                schedule.missed(value, now)
            case "found_in_part" if value in schedule.due(now):
                schedule.found_in_part(value, now, is_final=True)
            case "found" | "final" if value in schedule.due(now):
                schedule.found(value, now, is_final=step == "final")
                final |= {value} if step == "final" else set()
            case _:
                pass
        waiting = known - final
        assert (len(schedule), schedule.final) == (len(waiting), len(final))
        assert set(schedule.due(now + LAST_RETRY_S)) == waiting
        assert (schedule.next_s() <= now + LAST_RETRY_S) == bool(waiting)


def test_a_missing_market_is_asked_for_ever_more_seldom() -> None:
    schedule, now, pauses = AskSchedule(), 0.0, []
    schedule.add(["a"], now)
    for _ in range(20):
        schedule.missed("a", now)
        pauses.append(schedule.next_s() - now)
        now = schedule.next_s()
    assert pauses[:4] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, 8 * FIRST_RETRY_S]
    assert pauses[-1] == LAST_RETRY_S
    schedule.found("a", now, is_final=False)
    assert (schedule.next_s(), schedule.missing) == (now + INTERVAL_S, 0)


def test_what_lacks_its_event_stays_as_current_as_all_else() -> None:
    schedule, now, pauses = AskSchedule(), 0.0, []
    schedule.add(["a"], now)
    for _ in range(10):
        schedule.found_in_part("a", now, is_final=False)
        pauses.append(schedule.next_s() - now)
        now = schedule.next_s()
    assert pauses[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert (pauses[-1], schedule.missing) == (INTERVAL_S, 0)
