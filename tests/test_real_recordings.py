"""What real recordings of the venue hold comes through whole: files, `Session`, import, and back out of the tables.

The recordings lie beside the project, not in it. `tests.real_recordings` reads them without our readers and replays
them without our `Session`; that is what everything is compared with.
"""

import contextlib
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from uuid import UUID, uuid4

import attrs
import pytest
from psycopg import sql

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.history.rebuild import book_at
from rlflow.data.imports.importer import ImportedFile, import_files
from rlflow.orderbook import BookView
from rlflow.recordings import Form, Recording, read_recording
from rlflow.session.records import Batch
from rlflow.session.rows import GapRow, Rows
from rlflow.session.session import Session
from tests.real_recordings import ALL, BTC, DATA, DEMO, GOLD, LARGEST, LEGACY, ExpectedBook, Moment, expect, name_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}"),
]

BROKEN = "btc15m_20260514T043118Z_reconnect"

# The gaps that the data's README tells of, and no others. The second file of the tape that crosses midnight begins
# without a snapshot.
GAPS = {
    "KXGOLD15M-26AUG102030-30.2026-08-11": [
        ("orderbook_delta", "the subscription restarted"),
        ("trade", "the subscription restarted"),
    ],
    "KXGOLD15M-26AUG102000-00.2026-08-11": [("orderbook_delta", "a delta before its snapshot")],
    BROKEN: [("orderbook_delta", "the connection broke")],
}

MOST = [path for path in ALL if path not in LARGEST]
# Of the windows of one series, those with something of their own: a thin one, midnight, a reconnect.
IMPORTED = [
    path for path in MOST if path not in GOLD or any(name in path.name for name in ("050800", "102000", "102030"))
]


def read(path: Path) -> Recording:
    return read_recording(path, sparse_seq=path in GOLD)


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOLD[:1] + DEMO, ids=name_of)
def test_frames_are_the_bytes_of_the_file(path: Path) -> None:
    (capture,) = read(path).captures()
    with gzip.open(path) as file:
        for frame, line in zip(capture.frames(), file, strict=True):
            assert frame.frame in line
            event = json.loads(line)
            assert json.loads(frame.frame) == event.get("event", event)


@pytest.mark.parametrize("path", BTC[:1], ids=name_of)
def test_frames_taken_apart_are_put_together_as_the_venue_sends_them(path: Path) -> None:
    keys: dict[str, set[str]] = {}
    for capture in read(path).captures():
        for one in capture.frames():
            frame = json.loads(one.frame)
            keys.setdefault(frame["type"], set()).update(frame["msg"])
            assert {"type", "msg"} <= frame.keys() <= {"type", "id", "sid", "seq", "msg"}
    assert keys["orderbook_delta"] == {
        *("market_ticker", "market_id", "price_dollars", "delta_fp", "side", "ts", "ts_ms")
    }


def test_forms_are_told_apart() -> None:
    forms = Counter(read(path).form for path in ALL)
    assert forms == {Form.WRAPPED: 11, Form.ENVELOPE: 3, Form.VERBATIM: 1, Form.ROWS: 2}


def test_legacy_is_known_from_the_lines() -> None:
    assert [path for path in ALL if read(path).opened.legacy] == LEGACY


def test_tapes_without_the_other_markets_are_known_from_their_seq() -> None:
    assert [path for path in ALL if read(path).looks_sparse] == [path for path in GOLD if expect(path).frames > 5]


def test_identities_differ() -> None:
    assert len({read(path).identity for path in ALL}) == len(ALL)


# -- session --------------------------------------------------------------------------------------------------------


def as_expected(view: BookView) -> ExpectedBook:
    return ExpectedBook(view.is_valid, view.bids("yes"), view.bids("no"))


def assert_equal_books(found: Mapping[str, BookView | None], moment: Moment) -> None:
    for ticker, book in moment.books.items():
        view = found[ticker]
        if book.is_valid:
            assert view is not None, (ticker, moment.frame_no)
            assert as_expected(view) == book, (ticker, moment.frame_no)
        else:
            assert view is None or not view.is_valid, (ticker, moment.frame_no)


def cut_at(batches: Iterable[Batch], numbers: Iterable[int]) -> Iterator[Batch]:
    """Yield batches, those with one of these numbers inside in two pieces: up to it, then whole."""
    for batch in batches:
        for number in sorted(numbers):
            if batch.first_frame_no <= number < batch.last_frame_no:
                yield attrs.evolve(batch, frames=batch.frames[: number + 1 - batch.first_frame_no])
        yield batch


def gaps_of(rows: Iterable[GapRow]) -> list[tuple[str, str]]:
    return sorted((row.channel, row.cause) for row in rows)


@pytest.mark.parametrize("path", MOST, ids=name_of)
def test_every_line_is_a_row_and_every_book_the_venues(path: Path) -> None:
    expected, gaps, broken = expect(path), [], []
    for capture in read(path).captures():
        moments = {moment.frame_no: moment for moment in expected.moments if moment.ordinal == capture.ordinal}
        session = Session(capture.capture)
        total: Rows | None = None
        number = 0
        for batch in cut_at(capture.batches(), moments):
            assert batch.first_frame_no <= number <= batch.last_frame_no
            number = batch.last_frame_no + 1
            rows = session.feed(batch)
            if total is None:
                total = rows
            else:
                total.absorb(rows)
            if batch.last_frame_no in moments:
                moment = moments.pop(batch.last_frame_no)
                assert_equal_books({ticker: session.view(ticker) for ticker in moment.books}, moment)
        assert total is not None
        assert total.closed is not None
        assert not moments
        broken.append(not total.closed.is_complete)
        kinds = expected.kinds[capture.ordinal]
        assert (len(total.deltas), len(total.trades)) == (kinds["deltas"], kinds["trades"])
        assert sum(row.origin == "venue" for row in total.snapshots) == kinds["snapshots"]
        assert total.counts.stored == kinds.total() - kinds["other"]
        assert total.counts.control + total.counts.unknown == kinds["other"]
        assert total.rejects == []
        gaps.extend(total.gaps)
    assert gaps_of(gaps) == GAPS.get(name_of(path), [])
    assert broken == ([True, False] if name_of(path) == BROKEN else [False] * len(expected.kinds))


# -- database -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Imported:
    """Recordings of every form and kind of gap, imported once into one store."""

    database: Database
    files: list[ImportedFile]
    captures: dict[tuple[Path, int], UUID]


def import_all(database: Database, paths: Iterable[Path]) -> list[ImportedFile]:
    wanted = set(paths)
    sparse = [path for path in GOLD if path in wanted]
    return [
        *import_files(database, sparse, sparse_seq=True),
        *import_files(database, [path for path in ALL if path in wanted.difference(sparse)]),
    ]


@pytest.fixture(scope="module")
def imported(postgres_url: str) -> Iterator[Imported]:
    schema = f"real_{uuid4().hex}"
    with Database.connect(postgres_url, db_schema=schema, environment="recordings") as database:
        files = import_all(database, IMPORTED)
        captures = {(path, one.ordinal): one.capture for path in IMPORTED for one in read(path).captures()}
        yield Imported(database, files, captures)
        database.connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def rows_by_capture(database: Database, table: bytes) -> dict[UUID, int]:
    query = b"SELECT capture_id, count(*) FROM %s JOIN rl_captures USING (capture) GROUP BY 1" % table
    return dict(database.connection.execute(query).fetchall())


def test_imported_tables_hold_every_message(imported: Imported) -> None:
    assert [one.problem for one in imported.files] == [None] * len(IMPORTED)
    assert {one.path: one.added for one in imported.files} == {path: expect(path).frames for path in IMPORTED}
    tables = {
        "deltas": b"rl_orderbook_deltas",
        "snapshots": b"(SELECT * FROM rl_orderbook_snapshots WHERE origin = 'venue') s",
        "trades": b"rl_trades",
    }
    for kind, table in tables.items():
        stored = rows_by_capture(imported.database, table)
        for (path, ordinal), capture in imported.captures.items():
            assert stored.get(capture, 0) == expect(path).kinds[ordinal][kind], (kind, name_of(path))
    assert rows_by_capture(imported.database, b"rl_rejected_frames") == {}


def test_imported_gaps_are_the_known_ones_and_over(imported: Imported) -> None:
    names = {capture: name_of(path) for (path, _ordinal), capture in imported.captures.items()}
    found: dict[str, list[tuple[str, str]]] = {}
    query = b"SELECT capture_id, channel, cause, from_ns, to_ns FROM rl_feed_gaps JOIN rl_captures USING (capture)"
    for capture, channel, cause, from_ns, to_ns in imported.database.connection.execute(query):
        found.setdefault(names[capture], []).append((channel, cause))
        assert to_ns is not None
        assert to_ns >= from_ns
    assert {name: sorted(gaps) for name, gaps in found.items()} == GAPS


def test_importing_again_adds_nothing(imported: Imported) -> None:
    before = imported.database.captures()
    again = import_all(imported.database, IMPORTED)
    assert [(one.added, one.rows, one.problem) for one in again] == [(0, 0, None)] * len(IMPORTED)
    assert imported.database.captures() == before


def test_imported_tables_pass_the_audit(imported: Imported) -> None:
    report = audit(imported.database)
    assert report.findings == ()
    assert report.is_clean
    assert report.deltas == sum(kinds["deltas"] for path in IMPORTED for kinds in expect(path).kinds)


def test_rebuilt_books_are_the_venues_at_random_moments(imported: Imported) -> None:
    database, moments = imported.database, 0
    for path in IMPORTED:
        for moment in expect(path).moments:
            moments += 1
            capture = imported.captures[path, moment.ordinal]
            by_frame = {
                ticker: book_at(database, ticker, capture=capture, frame=moment.frame_no) for ticker in moment.books
            }
            assert_equal_books(by_frame, moment)
            # Verbatim frames have no receive times, and what came before midnight is in another file.
            if path not in DEMO and name_of(path) != "KXGOLD15M-26AUG102000-00.2026-08-11":
                by_time = {ticker: book_at(database, ticker, at_ns=moment.received_ns) for ticker in moment.books}
                assert_equal_books(by_time, moment)
    assert moments >= 100


class InterruptedImportError(Exception):
    """What a person's Ctrl-C is to an import."""


@attrs.frozen
class Interruption:
    """A progress callback that interrupts its import when so many bytes are done."""

    at_bytes: int

    def __call__(self, done: int, _total: int) -> None:
        if done > self.at_bytes:
            raise InterruptedImportError


def test_the_largest_recording_survives_interruptions(database_url: str) -> None:
    (path,) = LARGEST
    draw, size = random.Random(7), path.stat().st_size
    (capture,) = read(path).captures()

    with Database.connect(database_url, environment="recordings") as database:
        for at_bytes in sorted(draw.randrange(size) for _ in range(3)):
            with contextlib.suppress(InterruptedImportError):
                import_files(database, LARGEST, sparse_seq=True, progress=Interruption(at_bytes))
        reached = database.committed(capture.capture)
        assert reached is not None
        (last,) = import_all(database, LARGEST)
        assert (last.problem, last.frames) == (None, expect(path).frames)
        assert last.added == last.frames - reached
        assert audit(database).is_clean
        assert rows_by_capture(database, b"rl_orderbook_deltas").popitem()[1] == expect(path).kinds[0]["deltas"]
        assert rows_by_capture(database, b"rl_trades").popitem()[1] == expect(path).kinds[0]["trades"]
        assert rows_by_capture(database, b"rl_feed_gaps") == {}
        for moment in expect(path).moments:
            books = {
                ticker: book_at(database, ticker, capture=capture.capture, frame=moment.frame_no)
                for ticker in moment.books
            }
            assert_equal_books(books, moment)
