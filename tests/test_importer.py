"""Imports bring every message into the tables once, whatever interrupts them and however damaged the files are."""

import contextlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from rlflow.data.database import Database
from rlflow.data.imports import importer
from rlflow.data.imports.importer import ImportedFile, import_files
from rlflow.errors import StoreError
from rlflow.recordings import read_recording
from rlflow.session.session import Session
from tests.recordings import make

Table: TypeAlias = list[tuple[Any, ...]]

# What a second import of the same recording must reproduce: everything but the numbers that PostgreSQL gives.
_TABLES = {
    "snapshots": """
        SELECT capture_id, s.* FROM (SELECT market_ticker, timestamp_ms, sequence_number, yes_bids::text, no_bids::text,
            capture, frame_no, received_ns, sid, clock, origin FROM rl_orderbook_snapshots) s
        JOIN rl_captures USING (capture) ORDER BY capture_id, frame_no, market_ticker, origin""",
    "deltas": """
        SELECT capture_id, d.* FROM (SELECT market_ticker, timestamp_ms, sequence_number, side, action, old_size,
            new_size, capture, frame_no, received_ns, sid, clock, price_e4, delta FROM rl_orderbook_deltas) d
        JOIN rl_captures USING (capture) ORDER BY capture_id, frame_no""",
    "trades": """
        SELECT capture_id, t.* FROM (SELECT market_ticker, timestamp_ms, sequence_number, trade_id, yes_price_e4, count,
            taker_side, is_block_trade, capture, frame_no, received_ns, sid FROM rl_trades) t
        JOIN rl_captures USING (capture) ORDER BY capture_id, frame_no""",
    "gaps": """
        SELECT capture_id, g.* FROM (SELECT channel, market_ticker, sid, capture, frame_no, received_ns, from_frame,
            from_ns, to_ns, cause FROM rl_feed_gaps) g
        JOIN rl_captures USING (capture) ORDER BY capture_id, frame_no, channel, market_ticker""",
    "captures": """
        SELECT capture_id, committed_frame, last_received_ns, resume_state::text, stored, control, unknown, rejected,
            closed_ns, closed_cause, is_complete FROM rl_captures ORDER BY capture_id""",
}


def contents(database: Database) -> dict[str, Table]:
    """Return everything in the store without the keys that PostgreSQL chose."""
    found = {}
    for name, query in _TABLES.items():
        cursor = database.connection.execute(query.encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        found[name] = [tuple(v for n, v in zip(names, row, strict=True) if n != "capture") for row in cursor]
    return found


def open_store(url: str, schema: str = "public") -> Database:
    return Database.connect(url, db_schema=schema, environment="recordings")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_store(database_url) as store:
        yield store


def lines_of(deltas: int, seed: int = 5) -> list[bytes]:
    return make.wrapped(make.Scene(random.Random(seed)).play(deltas))


def import_one(database: Database, path: Path) -> ImportedFile:
    (imported,) = import_files(database, [path])
    return imported


def committed(database: Database) -> dict[UUID, int]:
    return {one.capture: one.committed_frame for one in database.captures()}


def test_every_form_becomes_the_rows_that_its_frames_say(database: Database, tmp_path: Path) -> None:
    paths = make.write_all(tmp_path)
    imported = import_files(database, paths)
    assert [one.problem for one in imported] == [None] * 4
    stored = contents(database)
    takes = [take.frame["type"] for take in make.Scene(random.Random(1)).play(300)]
    whole = takes.count("orderbook_delta"), takes.count("orderbook_snapshot"), takes.count("trade")
    for path in paths[:2]:
        (capture,) = read_recording(path).captures()
        mine = [
            [row for row in stored[name] if row[0] == capture.capture] for name in ("deltas", "snapshots", "trades")
        ]
        assert tuple(map(len, mine)) == whole
    for one in imported:
        assert one.frames == one.added == one.counts.total()
        assert one.rows > one.frames // 2
        assert (one.counts.rejected, one.counts.duplicate, one.counts.unknown) == (0, 0, 0)
    assert [one.captures for one in imported] == [1, 1, 2, 1]


def test_rows_are_those_of_a_session_fed_directly(database: Database, tmp_path: Path) -> None:
    path = make.write(tmp_path / "x", lines_of(400))
    import_one(database, path)
    (capture,) = read_recording(path).captures()
    session = Session(capture.capture)
    deltas = [row for batch in capture.batches() for row in session.feed(batch).deltas]
    assert [(row[1], row[4], row[9], row[12], row[13] * 100) for row in contents(database)["deltas"]] == [
        (row.market_ticker, row.side, row.received_ns, row.price, row.delta)
        for row in sorted(deltas, key=lambda row: row.frame_no)
    ]


def test_importing_again_adds_nothing(database: Database, tmp_path: Path) -> None:
    paths = make.write_all(tmp_path)
    first = import_files(database, paths)
    before = contents(database)
    again = import_files(database, paths)
    assert contents(database) == before
    assert [(one.frames, one.added, one.rows, one.problem) for one in again] == [
        (one.frames, 0, 0, None) for one in first
    ]


def test_the_same_recording_packed_otherwise_adds_nothing(database: Database, tmp_path: Path) -> None:
    lines = lines_of(100)
    names = ("a.ndjson", "b.gz", "c.zst")
    added = [one.added for one in import_files(database, [make.write(tmp_path / name, lines) for name in names])]
    assert added == [len(lines), 0, 0]


class InterruptedImportError(Exception):
    """What a person's Ctrl-C is to an import."""


@attrs.define
class Interruption:
    """A progress callback that interrupts its import at one of its calls, if there are so many."""

    call: int
    calls: int = 0

    def __call__(self, _done: int, _total: int) -> None:
        self.calls += 1
        if self.calls == self.call:
            raise InterruptedImportError


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=4), rows=st.integers(1, 900))
def test_an_interrupted_import_goes_on_exactly(
    whole_and_empty: tuple[Path, dict[str, Table], Callable[[], Database]], cuts: list[int], rows: int
) -> None:
    path, whole, empty = whole_and_empty
    with empty() as database, pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "ROWS_PER_COMMIT", rows)
        for cut in cuts:
            with contextlib.suppress(InterruptedImportError):
                import_files(database, [path], progress=Interruption(cut))
        assert import_one(database, path).problem is None
        assert contents(database) == whole


@pytest.fixture(scope="module")
def whole_and_empty(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str
) -> Iterator[tuple[Path, dict[str, Table], Callable[[], Database]]]:
    """A recording, what the store has of it after one import, and a function that gives an empty store each time."""
    path = make.write(tmp_path_factory.mktemp("whole") / "x", lines_of(1_500))
    names = (f"importer_{os.getpid()}_{n}" for n in itertools.count())
    made: list[str] = []

    def empty() -> Database:
        made.append(next(names))
        return open_store(postgres_url, made[-1])

    with empty() as database:
        import_one(database, path)
        yield path, contents(database), empty
        for name in made:
            database.connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


_KILLED = """
import os, signal, sys
from pathlib import Path
from rlflow.data.imports import importer
from rlflow.data.database import Database
importer.ROWS_PER_COMMIT = 100
def kill(done, total):
    if done > total * float(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
with Database.connect(sys.argv[1], environment="recordings") as database:
    importer.import_files(database, [Path(sys.argv[2])], progress=kill)
"""


def test_a_killed_import_goes_on_exactly(database: Database, database_url: str, tmp_path: Path) -> None:
    path = make.write(tmp_path / "x", lines_of(1_500))
    with open_store(database_url, "whole") as other:
        import_one(other, path)
        for share in ("0.3", "0.6"):
            child = subprocess.run(
                [sys.executable, "-c", _KILLED, database_url, str(path), share],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
                timeout=60,
                check=False,
            )
            assert child.returncode == -9
        (reached,) = committed(database).values()
        assert 0 < reached < 1_500
        assert import_one(database, path).added < 1_500
        assert contents(database) == contents(other)


@pytest.mark.parametrize("at", [40, 700, 1_300])
def test_a_repaired_file_goes_on_where_the_damaged_one_stopped(
    database: Database, database_url: str, tmp_path: Path, at: int
) -> None:
    lines = lines_of(1_500)
    damaged = make.write(tmp_path / "damaged.gz", [*lines[:at], b"garbage", *lines[at:]])
    repaired = make.write(tmp_path / "repaired", lines)
    first = import_one(database, damaged)
    assert first.problem is not None
    assert f"line {at + 1}" in first.problem
    assert (first.frames, first.added) == (at, at)
    (record,) = database.captures()
    assert (record.committed_frame, record.closed) == (at, None)
    assert import_one(database, damaged).added == 0
    second = import_one(database, repaired)
    assert (second.added, second.problem) == (len(lines) - at, None)
    assert import_one(database, repaired).added == 0
    with open_store(database_url, "whole") as other:
        import_one(other, repaired)
        if at > 1_000:
            assert contents(database) == contents(other)
        else:  # it keeps the name that it was given first
            assert [row[1:] for row in contents(database)["deltas"]] == [row[1:] for row in contents(other)["deltas"]]


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.72, 0.95])
def test_a_truncated_file_goes_on_when_it_is_whole(database: Database, tmp_path: Path, share: float) -> None:
    path = make.write(tmp_path / "x.gz", lines_of(300))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    first = import_one(database, path)
    assert first.problem is not None
    path.write_bytes(data)
    second = import_one(database, path)
    assert second.problem is None
    assert (first.added, first.added + second.added) == (first.frames, second.frames)


def test_the_second_connection_of_a_repaired_file_is_added(database: Database, tmp_path: Path) -> None:
    scene = make.Scene(random.Random(3), make.MARKETS[1:])
    one, two = make.envelopes(scene.play(30)), make.envelopes(scene.play(40))
    first = import_one(database, make.write(tmp_path / "a", [*one, *two[:9], b"garbage", *two[9:]]))
    assert (first.captures, first.added) == (2, len(one) - 1 + 8)
    second = import_one(database, make.write(tmp_path / "b", [*one, *two]))
    assert (second.captures, second.added, second.problem) == (2, len(two) - 9, None)
    broken, whole = database.captures()
    assert broken.closed is not None
    assert not broken.closed.is_complete
    assert whole.closed is not None
    assert whole.closed.is_complete


def test_a_file_with_a_wrong_check_sum_is_not_believed_at_all(database: Database, tmp_path: Path) -> None:
    path = make.write(tmp_path / "x.gz", lines_of(100))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    imported = import_one(database, path)
    assert imported.problem is not None
    assert "check sum" in imported.problem
    assert database.captures() == ()


def test_a_file_that_grew_after_it_was_whole_says_so(database: Database, tmp_path: Path) -> None:
    lines = lines_of(200)
    import_one(database, make.write(tmp_path / "x", lines[:100]))
    before = contents(database)
    imported = import_one(database, make.write(tmp_path / "x", lines))
    assert imported.problem is not None
    assert "ended earlier" in imported.problem
    assert contents(database) == before


def test_a_recording_is_not_continued_by_other_rules(database: Database, tmp_path: Path) -> None:
    path = make.write(tmp_path / "x", lines_of(50))
    import_one(database, path)
    (imported,) = import_files(database, [path], sparse_seq=True)
    assert imported.problem is not None
    assert "sparse_seq=False" in imported.problem


def test_a_recording_without_its_other_markets_is_not_taken_for_one_with_losses(
    database: Database, tmp_path: Path
) -> None:
    takes = make.Scene(random.Random(3)).play(200)
    kept = [take for take in takes if take.frame["msg"].get("market_ticker") != make.MARKETS[1]]
    path = make.write(tmp_path / "x", make.wrapped(kept))
    imported = import_one(database, path)
    assert imported.problem is not None
    assert "--sparse-seq" in imported.problem
    (imported,) = import_files(database, [path], sparse_seq=True)
    assert (imported.problem, imported.added) == (None, len(kept))
    assert contents(database)["gaps"] == []


def test_one_bad_file_does_not_keep_others_out(database: Database, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"nonsense")
    good = make.write(tmp_path / "good", lines_of(50))
    found = import_files(database, [nonsense, tmp_path / "missing", tmp_path, good])
    assert [one.path for one in found if one.problem is None] == [good]
    assert found[-1].added == found[-1].frames > 0


def test_progress_covers_all_files_and_never_falls(database: Database, tmp_path: Path) -> None:
    paths = [*make.write_all(tmp_path), tmp_path / "missing"]
    seen: list[tuple[int, int]] = []
    import_files(database, paths, progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in paths[:-1])
    assert seen[-1] == (total, total)
    assert all(one < other for one, other in itertools.pairwise(seen))


def test_recordings_do_not_go_into_a_store_of_another_kind(database_url: str, tmp_path: Path) -> None:
    path = make.write(tmp_path / "x", lines_of(20))
    with Database.connect(database_url, environment="demo") as database, pytest.raises(StoreError, match="demo"):
        import_files(database, [path])
