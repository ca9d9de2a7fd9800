"""What appending costs, beside SQLite in WAL mode: `pytest tests/test_journal_speed.py --benchmark-enable`."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rlflow.data.journal.journal import Journal
from rlflow.session.records import Batch, Kind

FRAME = (
    b'{"type":"orderbook_delta","sid":2,"seq":12345,"msg":{"market_ticker":"KXBTC15M-26MAR121245-45",'
    b'"market_id":"9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1","price_dollars":"0.4200","delta_fp":"-12.50","side":"yes",'
    b'"ts_ms":1773319500123,"clock":998877},"sending_ts_ms":1773319500125}'
)
SIZES = pytest.mark.parametrize("size", [1, 100])


def batch(size: int) -> Batch:
    return Batch(Kind.FRAMES, UUID(int=1), 1, 1, (FRAME,) * size)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path, max_bytes=2**32)
    yield journal
    journal.close()


@SIZES
def test_append(journal: Journal, size: int, benchmark: BenchmarkFixture) -> None:
    benchmark(journal.append, batch(size))


@SIZES
def test_read(journal: Journal, size: int, benchmark: BenchmarkFixture) -> None:
    for _ in range(10_000 // size):
        journal.append(batch(size))
    read = benchmark(lambda: sum(len(read.frames) for read in journal.read(0, journal.end)))
    assert read == 10_000


@SIZES
def test_sqlite(tmp_path: Path, size: int, benchmark: BenchmarkFixture) -> None:
    database = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("CREATE TABLE frames (id INTEGER PRIMARY KEY, received_ns INTEGER, raw BLOB)")
    rows = [(1, FRAME)] * size

    def insert() -> None:
        database.execute("BEGIN")
        database.executemany("INSERT INTO frames (received_ns, raw) VALUES (?, ?)", rows)
        database.execute("COMMIT")

    benchmark(insert)
    database.close()
