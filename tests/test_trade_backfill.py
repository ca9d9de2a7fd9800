"""Trades lost in a gap are fetched and stored once, and nothing else takes them for frames of a capture."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.sheets.trade_backfill import TradeBackfill
from rlflow.data.sheets.trade_rows import MARGIN_NS, REACH_NS
from rlflow.errors import DatabaseAwayError
from rlflow.session.rows import Rows
from tests.rest_venue import Answer, Asked, RestVenue, answer, rest_venue
from tests.rows_by_hand import (
    MARKET,
    NOON_NS,
    OPENED,
    closing,
    first,
    following,
    gap,
    gap_end,
    received,
    snapshot,
    trade,
)

LIMIT_S = 30
SECOND = 10**9
LATER_NS = NOON_NS + 3_600 * SECOND


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


def rest_trade(number: int, at_ns: int, ticker: str = MARKET, **fields: Any) -> dict[str, Any]:
    seconds, rest = divmod(at_ns - NOON_NS, SECOND)
    minute, second = divmod(int(seconds), 60)
    return {
        "trade_id": f"trade-{number}",
        "ticker": ticker,
        "count_fp": "1.50",
        "yes_price_dollars": "0.4250",
        "no_price_dollars": "0.5750",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "created_time": f"2026-11-22T12:{minute:02d}:{second:02d}.{rest // 1000:06d}Z",
        "is_block_trade": False,
    } | fields


def trade_gap(frame_no: int, lasts_ns: int = 2 * SECOND, **fields: Any) -> Any:
    values: dict[str, Any] = {"channel": "trade", "market_ticker": None, "sid": 2, "from_ns": received(frame_no - 1)}
    return gap(frame_no, **values | {"to_ns": received(frame_no) + lasts_ns} | fields)


def lossy() -> list[Rows]:
    """A capture that lost trades behind frame 3 and goes on with trades 4 and 5."""
    rows = first()
    return [rows, following(rows, trade_gap(4), trade(4), trade(5))]


def sheet(database: Database, ticker: str, close_ms: int, open_ms: int = 0) -> None:
    """Store when a market is to close."""
    database.connection.execute(
        """INSERT INTO rl_markets (market_ticker, event_ticker, status, open_ts_ms, close_ts_ms, sheet, fetched_ns)
           VALUES (%s, 'E', 'active', %s, %s, '{}', 0)""",
        (ticker, open_ms, close_ms),
    )


@attrs.define
class Past:
    """The trades that the venue lists."""

    trades: list[dict[str, Any]]
    asked: list[Asked] = attrs.Factory(list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        own = [trade for trade in self.trades if trade["ticker"] == asked.query["ticker"]]
        return answer(trades=own, cursor="")


@asynccontextmanager
async def backfill(
    venue: RestVenue, database_url: str, now_ns: int = LATER_NS, **options: Any
) -> AsyncIterator[TradeBackfill]:
    async with venue.client() as client:
        connect = partial(Database.connect, database_url, environment="sim", wall_ns=lambda: now_ns)
        values = {"flush": trio.lowlevel.checkpoint, "wall_ns": lambda: now_ns} | options
        yield TradeBackfill(client, connect, **values)


def fetched(database: Database) -> list[tuple[Any, ...]]:
    return database.connection.execute(
        """SELECT trade_id, timestamp_ms, yes_price_e4, count::text, taker_side, received_ns, capture, sid
           FROM rl_trades WHERE origin = 'rest' ORDER BY timestamp_ms"""
    ).fetchall()


def filled(database: Database) -> list[tuple[Any, ...]]:
    return database.connection.execute("SELECT filled_ns, filled_trades FROM rl_feed_gaps ORDER BY id").fetchall()


async def test_lost_trades_are_stored_once_and_are_no_frames(database: Database, database_url: str) -> None:
    database.commit(lossy())
    before = audit(database)
    past = Past([rest_trade(number, received(3) + number * 1_000_000) for number in (3, 4, 17, 18, 5, 17)])
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url) as task:
            await task.fill()
            await task.fill()
            assert (task.statistics().gaps, task.statistics().trades) == (1, 2)
    assert fetched(database) == [
        (f"trade-{number}", received(3) // 10**6 + number, 4250, "1.50", "no", LATER_NS, None, None)
        for number in (17, 18)
    ]
    assert filled(database) == [(LATER_NS, 2)]
    (asked,) = past.asked
    assert int(asked.query["min_ts"]) <= (received(3) - MARGIN_NS) / 1e9
    assert int(asked.query["max_ts"]) >= (received(4) + 2 * SECOND + MARGIN_NS) / 1e9
    after = audit(database)
    assert after.is_clean
    assert after == before


async def test_a_gap_that_is_open_fresh_or_too_old_is_left_alone(database: Database, database_url: str) -> None:
    rows = first()
    open_gap = trade_gap(4, market_ticker="A", to_ns=None)
    fresh = trade_gap(5, market_ticker="B", lasts_ns=3_595 * SECOND)
    book = gap(6)
    old_ns = LATER_NS - REACH_NS - SECOND
    old = trade_gap(7, market_ticker="C", received_ns=old_ns, from_ns=old_ns, to_ns=old_ns)
    database.commit([rows, following(rows, open_gap, fresh, book, old)])
    with trio.fail_after(LIMIT_S):
        async with rest_venue(Past([]).answer) as venue, backfill(venue, database_url) as task:
            await task.fill()
            assert (venue.asked, task.statistics().gaps) == ([], 0)
    assert set(filled(database)) == {(None, None)}


async def test_only_markets_that_could_trade_are_asked_for(database: Database, database_url: str) -> None:
    opened = msgspec.structs.replace(OPENED, tickers=(MARKET, "CLOSED", "OPEN", "UNOPENED"))
    rows = first(opened=opened)
    database.commit([rows, following(rows, trade_gap(4))])
    at_ms = NOON_NS // 10**6
    for ticker, opens, closes in (
        ("CLOSED", 0, at_ms - 60_000),
        ("OPEN", 0, at_ms - 10_000),
        ("UNOPENED", at_ms + 60_000, at_ms + 90_000),
    ):
        sheet(database, ticker, closes, opens)
    past = Past([rest_trade(1, received(4), "OPEN"), rest_trade(2, received(4), "OTHER")])
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url) as task:
            await task.fill()
    assert [asked.query["ticker"] for asked in past.asked] == [MARKET, "OPEN"]
    assert [trade_id for trade_id, *_ in fetched(database)] == ["trade-1"]


@pytest.mark.parametrize("is_late", [False, True])
async def test_trades_of_an_ended_connection_are_fetched_until_the_market_is_heard_again(
    database: Database, database_url: str, is_late: bool
) -> None:
    """In older stores the gap names no market, and ends with the next subscription to trades, perhaps one of others."""
    rows = first()
    lost_ns = received(4)
    ended = attrs.evolve(closing(rows), gaps=[trade_gap(4, received_ns=lost_ns, from_ns=received(3))])
    database.commit([rows, ended])
    past = Past([rest_trade(17, lost_ns + 120 * SECOND), rest_trade(18, lost_ns + 310 * SECOND)])
    now_ns = lost_ns + (7_200 if is_late else 200) * SECOND
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url, now_ns) as task:
            await task.fill()
            assert (task.statistics().gaps, task.statistics().waiting) == ((1, 0) if is_late else (0, 1))
            back = first()
            moved = [snapshot(1, received_ns=lost_ns + 300 * SECOND)]
            back = attrs.evolve(back, snapshots=moved, deltas=[], trades=[], received_ns=lost_ns + 301 * SECOND)
            database.commit([attrs.evolve(back, first_received_ns=lost_ns + 299 * SECOND)])
            await task.fill()
            assert (task.statistics().gaps, task.statistics().waiting) == (1, 0)
    ends = [int(asked.query["max_ts"]) for asked in past.asked]
    assert max(ends) >= (lost_ns + 300 * SECOND) // SECOND
    assert len(ends) == (3 if is_late else 1)
    assert filled(database)[0] == (now_ns, 2)


async def test_a_market_that_closed_before_it_was_heard_again_is_fetched_up_to_its_close(
    database: Database, database_url: str
) -> None:
    rows = first()
    lost = [trade_gap(4, market_ticker=market, to_ns=None) for market in ("CLOSED", "OPEN", "UNKNOWN")]
    database.commit([rows, attrs.evolve(closing(rows), gaps=lost)])
    close_ns = received(4) + 600 * SECOND
    sheet(database, "CLOSED", close_ns // 10**6)
    sheet(database, "OPEN", LATER_NS // 10**6 + 1)
    past = Past([rest_trade(number, received(4) + number * SECOND, "CLOSED") for number in (17, 18)])
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url) as task:
            await task.fill()
            await task.fill()
    (asked,) = past.asked
    assert asked.query["ticker"] == "CLOSED"
    assert close_ns // SECOND <= int(asked.query["max_ts"]) < LATER_NS // SECOND
    assert filled(database) == [(LATER_NS, 2), (None, None), (None, None)]


async def test_a_market_that_comes_back_after_its_close_is_fetched_again_up_to_then(
    database: Database, database_url: str
) -> None:
    """The venue had moved the close, and the data sheet did not say so yet."""
    rows, back = first(), first()
    lost = trade_gap(4, market_ticker=MARKET, to_ns=None)
    database.commit([rows, attrs.evolve(closing(rows), gaps=[lost])])
    sheet(database, MARKET, received(4) // 10**6)
    past = Past([rest_trade(17, received(4) + 600 * SECOND)])
    back_ns = received(4) + 700 * SECOND
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url) as task:
            await task.fill()
            assert filled(database) == [(LATER_NS, 0)]
            database.commit([back, following(back, gap_end(4, channel="trade", received_ns=back_ns))])
            assert filled(database) == [(None, None)]
            await task.fill()
    assert filled(database) == [(LATER_NS, 1)]


async def test_a_long_gap_is_asked_for_in_slices(database: Database, database_url: str) -> None:
    rows = first()
    database.commit([rows, following(rows, trade_gap(4, lasts_ns=7_300 * SECOND))])
    past = Past([])
    now_ns = NOON_NS + 4 * 3_600 * SECOND
    with trio.fail_after(LIMIT_S):
        async with rest_venue(past.answer) as venue, backfill(venue, database_url, now_ns) as task:
            await task.fill()
    slices = [(int(asked.query["min_ts"]), int(asked.query["max_ts"])) for asked in past.asked]
    assert len(slices) == 3
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(slices))
    assert filled(database) == [(now_ns, 0)]


async def test_an_interrupted_filling_is_taken_up_again(database: Database, database_url: str) -> None:
    opened = msgspec.structs.replace(OPENED, tickers=("A", "B"))
    rows = attrs.evolve(first(opened=opened), snapshots=[], deltas=[], trades=[])
    database.commit([rows, following(rows, trade_gap(4))])
    past = Past([rest_trade(1, received(4), "A"), rest_trade(2, received(4), "B")])

    def away_for_b(asked: Asked) -> Answer:
        return Answer(503) if asked.query["ticker"] == "B" and is_away[0] else past.answer(asked)

    is_away = [True]
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(away_for_b) as venue,
            backfill(venue, database_url, make_backoff=partial(Backoff, first_s=0.01, cap_s=0.02)) as task,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(task.run)
            while "503" not in str(task.statistics().last_error):  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert (len(fetched(database)), filled(database)) == (1, [(None, None)])
            is_away[0] = False
            while task.statistics().gaps == 0:  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert (len(fetched(database)), filled(database)) == (2, [(LATER_NS, 2)])


async def test_nothing_is_stored_before_the_writer_has_caught_up(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlflow.data.sheets.trade_backfill.FLUSH_LIMIT_S", 0.05)
    database.commit(lossy())
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(Past([rest_trade(9, received(4))]).answer) as venue,
            backfill(venue, database_url, flush=trio.sleep_forever) as task,
        ):
            await task.fill()
            assert (task.statistics().waiting, venue.asked) == (1, [])
    assert filled(database) == [(None, None)]


async def test_a_database_that_is_away_is_an_error_to_pass(database_url: str) -> None:
    def away() -> Database:
        raise DatabaseAwayError("gone")

    with trio.fail_after(LIMIT_S):
        async with rest_venue(Past([]).answer) as venue, venue.client() as client, trio.open_nursery() as nursery:
            task = TradeBackfill(client, away, trio.lowlevel.checkpoint)
            nursery.start_soon(task.run)
            while task.statistics().last_error != "gone":  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def test_a_market_that_the_venue_does_not_know_has_no_trades(database: Database, database_url: str) -> None:
    database.commit(lossy())
    with trio.fail_after(LIMIT_S):
        async with rest_venue(lambda _: answer(404, code="not_found")) as venue, backfill(venue, database_url) as task:
            await task.fill()
    assert filled(database) == [(LATER_NS, 0)]


async def test_a_gap_that_cannot_be_filled_spoils_no_other_and_is_not_called_filled(
    database: Database, database_url: str
) -> None:
    opened = msgspec.structs.replace(OPENED, tickers=("BAD", "GOOD", "ODD"))
    rows = attrs.evolve(first(opened=opened), snapshots=[], deltas=[], trades=[])
    bad, good = trade_gap(4), trade_gap(5, market_ticker="GOOD")
    database.commit([rows, following(rows, bad, good)])
    past = Past([rest_trade(1, received(4), "GOOD"), rest_trade(2, received(4), "ODD", count_fp="many")])

    def refused(asked: Asked) -> Answer:
        return answer(400, code="bad_request") if asked.query["ticker"] == "BAD" else past.answer(asked)

    with trio.fail_after(LIMIT_S):
        async with rest_venue(refused) as venue, backfill(venue, database_url) as task:
            await task.fill()
            asked = len(venue.asked)
            await task.fill()
            assert len(venue.asked) == asked
            assert (task.statistics().gaps, task.statistics().waiting) == (1, 1)
            assert [trade_id for trade_id, *_ in fetched(database)] == ["trade-1"]
            assert filled(database) == [(None, None), (LATER_NS, 1)]


async def test_why_a_gap_is_not_filled_is_told_until_it_is(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlflow.data.sheets.trade_backfill.INTERVAL_S", 0.01)
    database.commit(lossy())
    past = Past([rest_trade(1, received(4), count_fp="many")])
    with trio.fail_after(LIMIT_S):
        async with (
            rest_venue(past.answer) as venue,
            backfill(venue, database_url) as task,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(task.run)
            while f"1 of {MARKET} cannot be read" not in str(task.statistics().last_error):  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert filled(database) == [(None, None)]
            past.trades = [rest_trade(1, received(4))]
            while task.statistics().gaps == 0 or task.statistics().last_error:  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert filled(database) == [(LATER_NS, 1)]
