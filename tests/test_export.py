"""What is exported and imported again is the same; only the numbers that PostgreSQL gives differ."""

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import attrs
import msgspec
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.history.export import Exported, export, markets_of
from rlflow.data.history.export_files import export_target
from rlflow.data.history.rebuild import book_at
from rlflow.data.history.stored_rows import Selection, StoredRow, fetched_trades, stored_rows
from rlflow.data.imports.importer import ImportedFile, import_files
from rlflow.data.sheets.trade_rows import store_missing
from rlflow.data.store.partitions import DAY_NS
from rlflow.errors import CommandError
from rlflow.kalshi.sheets import RestTrade
from rlflow.recordings import Form, read_recording
from rlflow.session.books import Limits
from rlflow.session.rows import DeltaRow, RemovedState, Rows, SnapshotRow, TradeRow
from rlflow.session.session import Session
from tests.real_recordings import BTC, DATA, name_of
from tests.recordings import make
from tests.rows_by_hand import MARKET, OPENED, delta, first, following, gap, gap_end, received, snapshot, trade
from tests.session_strategies import Stream, any_streams

EVERYTHING = 2**63 - 1
RECORDED = msgspec.structs.replace(OPENED, environment="recordings")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="recordings") as store:
        yield store


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, db_schema="other", environment="recordings") as store:
        yield store


def rows_of(database: Database, markets: list[str] | None = None) -> list[list[StoredRow]]:
    """Every capture's rows, in the order in which the captures were opened."""
    with database.connection.transaction():
        found = [
            list(stored_rows(database.connection, Selection(record.key, markets=markets)))
            for record in database.captures()
        ]
    return [rows for rows in found if rows]


def exported(database: Database, path: Path, *markets: str, start_ns: int = 0, end_ns: int = EVERYTHING) -> Exported:
    with export_target(path, "parquet" if path.suffix == ".parquet" else "ndjson") as target:
        return export(database, markets, target, start_ns=start_ns, end_ns=end_ns)


def imported(database: Database, path: Path) -> ImportedFile:
    (found,) = import_files(database, [path])
    assert found.problem is None
    return found


def fetched_in(database: Database) -> list[TradeRow]:
    """What REST gave, as it was stored."""
    return list(fetched_trades(database.connection, markets_in(database), 0, EVERYTHING))


def markets_in(database: Database) -> list[str]:
    found = database.connection.execute("SELECT DISTINCT market_ticker FROM rl_orderbook_snapshots ORDER BY 1")
    return [ticker for (ticker,) in found]


def story(database: Database) -> None:
    """Two captures with gaps, a checkpoint, and frames of every kind."""
    rows = first(opened=RECORDED)
    behind = following(
        rows,
        delta(4, "yes", 4300, 70),
        snapshot(4, origin="checkpoint", yes_bids=((4300, 70), (4200, 200), (4100, 1200)), clock=None),
        trade(5),
        gap(8, from_frame=5, from_ns=received(5), to_ns=received(9)),
        gap(8, channel="trade", market_ticker=None, sid=2, to_ns=received(8)),
        delta(8, "yes", 4100, 5, None, clock=None, timestamp_ms=None, sending_ts_ms=None),
        snapshot(9, yes_bids=(), clock=None, sending_ts_ms=None),
        gap_end(9),
        delta(10, "no", 5400, -3, 10),
        snapshot(11, market_ticker="KXTEST-26NOV22-B"),
        delta(12, "yes", 4200, 1, 350, market_ticker="KXTEST-26NOV22-B"),
    )
    database.commit([rows, behind, following(behind, delta(20, "no", 5400, -7, 7))])
    database.commit([first(opened=RECORDED)])


@pytest.mark.parametrize("name", ["story.ndjson", "story.ndjson.gz", "story.ndjson.zst"])
def test_an_export_and_its_import_are_the_same_rows(
    database: Database, other: Database, tmp_path: Path, name: str
) -> None:
    story(database)
    wrote = exported(database, tmp_path / name, *markets_in(database))
    assert attrs.astuple(wrote) == (2, 17, 2)
    found = imported(other, tmp_path / name)
    assert (found.captures, found.rows, found.added) == (2, 17, 14)
    assert rows_of(other) == rows_of(database)
    assert audit(other).findings == ()
    assert imported(other, tmp_path / name).added == 0
    assert rows_of(other) == rows_of(database)


@given(stream=any_streams())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_venue_sends_survives_export_and_import(
    database: Database, other: Database, tmp_path: Path, stream: Stream
) -> None:
    for store in (database, other):
        store.connection.execute("TRUNCATE rl_captures, rl_orderbook_snapshots, rl_orderbook_deltas, rl_trades CASCADE")
    capture = uuid4()
    session = Session(capture, Limits(checkpoint_deltas=3))
    opened = msgspec.structs.replace(stream.opened, environment="recordings")
    for batch in stream.batches:
        made = session.feed(attrs.evolve(batch, capture=capture))
        if made.opened is not None:
            made.opened = opened
        database.commit([made])
    markets = markets_in(database)
    if not markets:
        return
    path = tmp_path / "export.ndjson"
    exported(database, path, *markets)
    imported(other, path)
    assert rows_of(other) == rows_of(database, markets)
    # A venue that uses a number twice has one of the two frames dropped, and the audit sees it: there as here.
    assert audit(other).findings_count == audit(database).findings_count


def fetched(number: int, *, at: int, ticker: str = MARKET) -> RestTrade:
    """A trade that REST gave, made at the time of a frame."""
    return RestTrade(f"lost-{number}", ticker, received(at) // 10**6 * 10**6, 4200, 150, "no", number % 2 == 1)


def test_trades_that_rest_gave_are_exported_and_imported_once(
    database: Database, other: Database, tmp_path: Path
) -> None:
    story(database)
    later, long_after = received(30), received(0) + 40 * DAY_NS
    store_missing(database, MARKET, [fetched(1, at=6), fetched(2, at=8)], later)
    store_missing(database, "KXTEST-26NOV22-B", [fetched(3, at=8, ticker="KXTEST-26NOV22-B")], long_after)
    path = tmp_path / "story.ndjson"
    wrote = exported(database, path, *markets_in(database))
    assert attrs.astuple(wrote) == (2, 20, 2)
    last = json.loads(path.read_text().splitlines()[-3])
    assert (last["recv_ns"], last["fetched"]["msg"]["trade_id"], "frame" in last) == (later, "lost-1", False)
    assert imported(other, path).rows == 20
    assert fetched_in(other) == fetched_in(database)
    assert len(fetched_in(other)) == 3
    assert rows_of(other) == rows_of(database)
    again = imported(other, path)
    assert (again.rows, again.added) == (0, 0)
    assert fetched_in(other) == fetched_in(database)


def test_trades_that_rest_gave_are_exported_if_they_were_made_in_the_time(database: Database, tmp_path: Path) -> None:
    story(database)
    store_missing(database, MARKET, [fetched(1, at=3), fetched(2, at=6), fetched(3, at=9)], received(30))
    path = tmp_path / "part.parquet"
    exported(database, path, MARKET, start_ns=received(5), end_ns=received(8))
    rows = pyarrow.parquet.read_table(path).to_pylist()
    (found,) = [row for row in rows if row["origin"] == "rest"]
    assert (found["kind"], found["trade_id"], found["capture_id"], found["sid"]) == ("trade", "lost-2", None, None)
    assert (found["yes_price_e4"], found["count_e2"], found["received_ns"]) == (4200, 150, received(30))
    assert rows[-1] == found


def test_a_market_is_exported_without_the_others_of_its_subscription(
    database: Database, other: Database, tmp_path: Path
) -> None:
    story(database)
    exported(database, tmp_path / "b.ndjson", "KXTEST-26NOV22-B")
    imported(other, tmp_path / "b.ndjson")
    (rows,) = rows_of(other)
    assert [row for row in rows if row.market_ticker is not None] == [
        snapshot(11, market_ticker="KXTEST-26NOV22-B"),
        delta(12, "yes", 4200, 1, 350, market_ticker="KXTEST-26NOV22-B"),
    ]


def test_a_series_is_all_markets_that_bear_its_name(database: Database) -> None:
    story(database)
    assert markets_of(database, "KXTEST") == (MARKET, "KXTEST-26NOV22-B")
    assert markets_of(database, "KXT") == ()


def test_lines_are_frames_as_the_venue_sends_them(database: Database, tmp_path: Path) -> None:
    story(database)
    exported(database, tmp_path / "story.ndjson", MARKET)
    lines = [json.loads(line) for line in (tmp_path / "story.ndjson").read_text().splitlines()]
    assert lines[0]["opened"]["markets"] == [MARKET]
    assert lines[2] == {
        "recv_ns": received(2),
        "frame": 2,
        "event": {
            "type": "orderbook_delta",
            "sid": 1,
            "seq": 2,
            "msg": {
                "market_ticker": MARKET,
                "clock": 20,
                "price_dollars": "0.4200",
                "delta_fp": "-1.50",
                "side": "yes",
                "ts_ms": received(2) // 10**6 - 11,
            },
            "sending_ts_ms": received(2) // 10**6 - 3,
        },
        "old": "3.50",
    }
    recording = read_recording(tmp_path / "story.ndjson")
    assert recording.form is Form.EXPORTED
    assert [len(list(capture.frames())) for capture in recording.captures()] == [9, 3]


def test_a_part_of_the_time_begins_with_the_snapshot_before_it(
    database: Database, other: Database, tmp_path: Path
) -> None:
    story(database)
    path = tmp_path / "part.ndjson"
    exported(database, path, MARKET, start_ns=received(8), end_ns=received(10))
    imported(other, path)
    (whole, _), (part,) = rows_of(database, [MARKET]), rows_of(other)
    assert part == [row for row in whole if 4 <= row.frame_no < 10]
    assert isinstance(part[0], DeltaRow)
    assert isinstance(part[1], SnapshotRow)
    # Later more of the same: the import goes on.
    exported(database, path, MARKET, start_ns=received(8))
    assert imported(other, path).added == 2
    assert rows_of(other)[0] == [row for row in whole if row.frame_no >= 4]


def removed(rows: Rows, *frames: int) -> Rows:
    """The venue's word that a market is not subscribed any more, at these frames of one each."""
    tickers = dict(zip(frames, (MARKET, "KXTEST-26NOV22-B"), strict=False))
    states = tuple(RemovedState("orderbook_delta", tickers[frame], frame, received(frame)) for frame in frames)
    at = following(rows, resume=msgspec.structs.replace(rows.resume, removed=states))
    assert at.upto_frame == frames[-1]
    return at


def test_a_removed_market_stays_removed(database: Database, other: Database, tmp_path: Path) -> None:
    """The other market goes on, and is removed later, in what is exported and imported next."""
    rows = first(opened=RECORDED)
    begun = following(rows, snapshot(4, market_ticker="KXTEST-26NOV22-B"))
    gone = removed(begun, 5)
    behind = following(gone, delta(6, "yes", 4200, 1, 350, market_ticker="KXTEST-26NOV22-B"))
    database.commit([rows, begun, gone, behind])
    exported(database, tmp_path / "begin.ndjson", *markets_in(database))
    assert imported(other, tmp_path / "begin.ndjson").rows == 5
    database.commit([both := removed(behind, 5, 7), following(both)])
    exported(database, tmp_path / "whole.ndjson", *markets_in(database))
    lines = [json.loads(line) for line in (tmp_path / "whole.ndjson").read_text().splitlines()]
    assert [line["removed"] for line in lines if "removed" in line] == [MARKET, "KXTEST-26NOV22-B"]
    assert [line["frame"] for line in lines[1:]] == list(range(1, 8))
    assert imported(other, tmp_path / "whole.ndjson").rows == 0
    for ticker in markets_in(database):
        for frame in range(1, 9):
            assert known_at(other, ticker, frame) == known_at(database, ticker, frame)
    assert known_at(other, MARKET, 6) is False
    assert rows_of(other) == rows_of(database)


def known_at(database: Database, market: str, frame: int) -> bool | None:
    view = book_at(database, market, at_ns=received(frame))
    return None if view is None else view.is_valid


def test_a_removal_behind_the_time_is_not_exported(database: Database, tmp_path: Path) -> None:
    rows = first(opened=RECORDED)
    behind = following(rows, delta(4, "yes", 4300, 1))
    gone = removed(behind, 5)
    database.commit([rows, behind, gone])
    for end, lines in ((5, 0), (6, 1)):
        exported(database, tmp_path / "part.ndjson", MARKET, end_ns=received(end))
        assert (tmp_path / "part.ndjson").read_text().count('"removed"') == lines


@pytest.mark.parametrize(("start", "end", "frames"), [(5, 99, range(4, 9)), (4, 6, range(1, 9)), (4, 5, range(1, 8))])
def test_a_part_of_the_time_has_no_hole_though_the_clock_was_set_back(
    database: Database, tmp_path: Path, start: int, end: int, frames: range
) -> None:
    """The clock goes back by three milliseconds before frame 7, which is then received when frame 4 was."""
    rows, back = first(opened=RECORDED), 3 * 10**6
    behind = following(
        rows,
        snapshot(4, origin="checkpoint"),
        delta(5, "yes", 4300, 1),
        delta(6, "yes", 4300, 1, 1),
        delta(7, "yes", 4300, 1, 2, received_ns=received(7) - back),
        delta(8, "yes", 4300, 1, 3, received_ns=received(8) - back),
    )
    database.commit([rows, attrs.evolve(behind, received_ns=received(8) - back)])
    exported(database, tmp_path / "part.parquet", MARKET, start_ns=received(start), end_ns=received(end))
    table = pyarrow.parquet.read_table(tmp_path / "part.parquet").to_pylist()
    assert [row["frame_no"] for row in table] == list(frames)


def test_a_damaged_export_is_taken_up_where_it_is_whole_again(
    database: Database, other: Database, tmp_path: Path
) -> None:
    story(database)
    path = tmp_path / "story.ndjson"
    exported(database, path, *markets_in(database))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    # Inside what one frame became: a gap, and the delta that showed it.
    path.write_bytes(b"".join(lines[:8]) + b'{"recv_ns": 1, "frame": 8, "event": {"type": "nonsense"}}\n')
    (found,) = import_files(other, [path])
    assert found.problem is not None
    assert "line 9" in found.problem
    assert max(row.frame_no for row in rows_of(other)[0]) == 5
    path.write_bytes(whole)
    imported(other, path)
    assert rows_of(other) == rows_of(database)


BOOK_BEYOND_A_DOLLAR = (
    b'{"recv_ns":5,"frame":3,"checkpoint":{"type":"orderbook_snapshot","sid":1,"seq":1,'
    b'"msg":{"market_ticker":"A","yes_dollars_fp":[["7","1"]]}}}'
)
TRADE_WITHOUT_TAKER = (
    b'{"recv_ns":5,"frame":3,"event":{"type":"trade","sid":1,"seq":1,'
    b'"msg":{"trade_id":"x","market_ticker":"A","yes_price_dollars":"0.5","count_fp":"1"}}}'
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"recv_ns":5,"frame":1,"event":{"type":"orderbook_delta"}}', "missing"),
        (BOOK_BEYOND_A_DOLLAR, "price"),
        (TRADE_WITHOUT_TAKER, "taker"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(database: Database, tmp_path: Path, line: bytes, words: str) -> None:
    story(database)
    path = tmp_path / "story.ndjson"
    exported(database, path, MARKET)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] + line + b"\n")
    (found,) = import_files(database, [path])
    assert found.problem is not None
    assert "line 2" in found.problem
    assert words in found.problem


def test_an_export_that_fails_leaves_the_file_that_was_there(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "file.ndjson"
    path.write_text("before")
    with pytest.raises(RuntimeError), export_target(path, "ndjson"):
        raise RuntimeError
    assert [found.name for found in tmp_path.iterdir()] == ["file.ndjson"]
    assert path.read_text() == "before"


def test_an_export_through_a_link_replaces_what_it_leads_to(tmp_path: Path) -> None:
    link, file = tmp_path / "link.ndjson", tmp_path / "there" / "file"
    file.parent.mkdir()
    link.symlink_to(file)
    for _ in range(2):
        with export_target(link, "ndjson"):
            pass
        assert link.readlink() == file
        assert file.read_bytes() == b""
        file.write_bytes(b"before")
    assert [found.name for found in file.parent.iterdir()] == ["file"]


def test_an_export_takes_the_place_of_nothing_but_a_file(tmp_path: Path) -> None:
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    (tmp_path / "to-fifo").symlink_to(fifo)
    for path in (fifo, tmp_path / "to-fifo", loop, tmp_path):
        with pytest.raises(CommandError, match="no regular file") as refused, export_target(path, "ndjson"):
            pass
        assert refused.value.code == 2
    assert fifo.is_fifo()
    assert loop.is_symlink()


def test_an_export_touches_no_file_beside_its_own(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_text("somebody's")
    with export_target(tmp_path / "x", "ndjson"):
        pass
    with export_target(tmp_path / ("y" * 255), "ndjson"):
        pass
    assert sorted(found.name for found in tmp_path.iterdir()) == ["x", "x.part", "y" * 255]
    assert (tmp_path / "x.part").read_text() == "somebody's"


def test_a_table_has_every_row_with_exact_values(database: Database, tmp_path: Path) -> None:
    story(database)
    exported(database, tmp_path / "story.parquet", *markets_in(database))
    table = pyarrow.parquet.read_table(tmp_path / "story.parquet").to_pylist()
    rows = [row for rows in rows_of(database) for row in rows]
    assert [line["kind"] for line in table] == [type(row).__name__.removesuffix("Row").lower() for row in rows]
    assert [line["received_ns"] for line in table] == [row.received_ns for row in rows]
    assert (table[1]["side"], table[1]["price_e4"], table[1]["delta_e2"]) == ("yes", 4200, -150)
    assert table[0]["no_bids"] == [{"price_e4": 5505, "size_e2": 2000}, {"price_e4": 5400, "size_e2": 10}]
    assert table[0]["price_e4"] is None
    assert UUID(table[0]["capture_id"]) == database.captures()[0].capture


def test_progress_ends_with_everything(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.history.export._ROWS_PER_PROGRESS", 4)
    story(database)
    told: list[tuple[int, int]] = []
    with export_target(tmp_path / "x", "ndjson") as target:
        export(database, [MARKET], target, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == [4, 8, 12, 15]
    assert told[-1] == (15, 15)


# -- recordings --------------------------------------------------------------------------------------------------------


def round_trip(database: Database, other: Database, recording: Path, path: Path) -> None:
    assert import_files(database, [recording])[0].problem is None
    exported(database, path, *markets_in(database))
    imported(other, path)
    assert rows_of(other) == rows_of(database)
    assert audit(other).is_clean


def test_our_own_recordings_survive_export_and_import(database: Database, other: Database, tmp_path: Path) -> None:
    connections = make.envelopes(make.Scene(random.Random(3)).play(200))
    path = make.write(tmp_path / "scene.ndjson.gz", connections + make.envelopes(make.Scene(random.Random(4)).play(90)))
    round_trip(database, other, path, tmp_path / "export.ndjson.zst")


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}")
@pytest.mark.parametrize("recording", [path for path in BTC if "reconnect" in path.name], ids=name_of)
def test_a_real_recording_survives_export_and_import(
    database: Database, other: Database, tmp_path: Path, recording: Path
) -> None:
    round_trip(database, other, recording, tmp_path / "export.ndjson.gz")
    with gzip.open(tmp_path / "export.ndjson.gz") as file:
        assert sum(b'"gap":' in line for line in file) == 1
