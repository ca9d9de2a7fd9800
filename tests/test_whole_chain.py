"""A recording goes through the exchange, a real websocket, the collector and PostgreSQL, and comes out the same.

The other side of each comparison is `tests.oracle`, which replays the recorded frames offline and knows nothing of
`rlflow`. Numbers of the venue are not compared: the exchange is free to give its own where a tape has holes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlflow.data.database import Database
from rlflow.data.history.rebuild import book_at
from tests import small_tapes
from tests.real_recordings import BTC, DATA, DEMO, GOLD, LARGEST, LEGACY, connections
from tests.recorded_chain import SCHEMA, Played, play, read_back
from tests.tape_walk import Book, Moment, Walk, walk
from tests.tapes import Levels, Tape, is_data

MOMENTS = 50


def assert_comes_out_the_same(tape: Tape, directory: Path, database_url: str, *, is_tls: bool = False) -> None:
    """Play a tape, then assert that messages, books and gaps in the tables are those of its offline replay."""
    live = play(tape, directory, database_url, is_tls=is_tls)
    with Database.connect(database_url, db_schema=SCHEMA, environment="replay") as database:
        played = read_back(database, tape)
        total = sum(len(each.rows) for each in played)
        walks = [walk(tape, each, moments=1 + MOMENTS * len(each.rows) // total) for each in played]
        moments = [moment for expected in walks for moment in expected.moments]
        assert len(moments) >= MOMENTS
        for moment in moments:
            assert_rebuilt(database, moment)
    for number, (each, expected) in enumerate(zip(played, walks, strict=True)):
        assert_every_message_is_there_once(each)
        assert_gaps_are_the_breaks(each, expected, played[number + 1 :])
    assert_shown(live, moments[-1])


def assert_rebuilt(database: Database, moment: Moment) -> None:
    for market, book in moment.books.items():
        view = book_at(database, market, capture=moment.capture, frame=moment.frame_no)
        if book.is_valid:
            assert view is not None
            assert Book(view.is_valid, view.yes_bids, view.no_bids) == book, (market, moment.frame_no)
        else:
            assert view is None or not view.is_valid, (market, moment.frame_no)


def assert_every_message_is_there_once(played: Played) -> None:
    record, stored = played.record, len(played.rows)
    assert stored == sum(map(is_data, played.frames)) + sum(row.is_answer for row in played.rows)
    assert len({row.frame_no for row in played.rows}) == stored == record.counts.stored
    assert record.counts.stored + record.counts.control == record.counts.total()
    assert record.closed is not None
    assert record.local_records == 1, "the closing one"


def assert_gaps_are_the_breaks(played: Played, expected: Walk, later: list[Played]) -> None:
    """Assert that there are gaps where a book was lost and where the connection ended, and that snapshots end them."""
    assert expected.lost or not any(row.is_answer for row in played.rows), "a book was asked for that was not lost"
    end, books = played.record.committed_frame, expected.moments[-1].books
    # A market of a later connection is asked for here too; it has no book to lose, but is missing in the end.
    gaps = [gap for gap in played.gaps if gap.market is None or gap.market in books or gap.frame_no != end]
    at_the_end = [(market, end) for market in books]
    of_books, of_trades = (
        sorted((gap.market or "", gap.frame_no) for gap in gaps if gap.channel == channel)
        for channel in ("orderbook_delta", "trade")
    )
    assert of_books == sorted([*expected.lost, *at_the_end])
    assert of_trades == sorted(at_the_end)
    for gap in gaps:
        assert gap.market is not None
        assert gap.to_ns == next_snapshot_ns(gap.market, gap.frame_no, [played, *later])


def next_snapshot_ns(market: str, frame_no: int, captures: list[Played]) -> int | None:
    """Return when the market's first snapshot behind a frame of the first of these captures came."""
    for played in captures:
        for row in played.rows:
            if row.frame_no > frame_no and row.message.kind == "snapshot" and row.message.market == market:
                return row.received_ns
        frame_no = 0
    return None


def assert_shown(live: dict[str, Any], end: Moment) -> None:
    """Assert that the books which the service showed before its stop are those of the end."""
    for market, shown in live.items():
        assert shown["valid"], market
        book = end.books[market]
        assert (in_cents(book.yes), in_cents(book.no)) == (shown["yes_bids"], shown["no_bids"]), market


def in_cents(levels: Levels) -> list[list[float]]:
    return [[price / 100, size / 100] for price, size in levels]


# -- our own recordings, everywhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("number", range(2), ids=["wrapped-verbatim", "envelope-rows"])
def test_every_form_of_recording_comes_out_of_the_tables(
    number: int, is_tls: bool, tmp_path: Path, database_url: str
) -> None:
    assert_comes_out_the_same(small_tapes.whole(tmp_path)[number], tmp_path, database_url, is_tls=is_tls)


def test_a_recording_of_one_market_of_several_has_no_gaps(tmp_path: Path, database_url: str) -> None:
    assert_comes_out_the_same(small_tapes.sparse(tmp_path), tmp_path, database_url)


# -- real recordings --------------------------------------------------------------------------------------------------


def named(paths: list[Path], *parts: str) -> list[Path]:
    return [path for part in parts for path in paths if part in path.name]


REAL: dict[str, Callable[[], list[Path]]] = {
    # A thin window, a reconnect in the middle of a file, a window that crosses midnight and so has two files.
    "gold": lambda: named(GOLD, "050800", "102030", "102000"),
    # Books crossed for a moment, prices below a cent, a market that ends and the next one, a broken connection.
    "btc": lambda: BTC,
    # Five markets of one subscription, answers that take numbers, no receive times; then two recordings in cents.
    "demo and legacy": lambda: [*DEMO, *LEGACY],
    "largest": lambda: LARGEST,
}


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}")
@pytest.mark.parametrize("name", REAL)
def test_real_recordings_come_out_of_the_tables(name: str, tmp_path: Path, database_url: str) -> None:
    paths = REAL[name]()
    tape = Tape(
        name,
        tuple(paths),
        lambda: [[raw.frame for raw in raws] for path in paths for raws in connections(path)],
        is_sparse=paths[0] in GOLD,
    )
    assert_comes_out_the_same(tape, tmp_path, database_url, is_tls=name == "largest")
