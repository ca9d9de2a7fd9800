"""The journal: what was appended comes back, whatever ended the process."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from rlflow.data.journal import Journal
from rlflow.errors import JournalFullError, StoreError
from rlflow.session.records import Batch, Closed, Kind, Opened, local_batch

CAPTURE = UUID(int=7)
OTHER = UUID(int=8)
OPENED = Opened(url="wss://example.test", environment="sim")


def frames(first: int, *texts: bytes, capture: UUID = CAPTURE) -> Batch:
    return Batch(Kind.FRAMES, capture, first, 1_000 + first, texts, arrived_ns=5)


def open_journal(directory: Path, *, max_bytes: int = 10**6, segment_bytes: int = 10**6, **more: object) -> Journal:
    return Journal.open(directory, max_bytes=max_bytes, segment_bytes=segment_bytes, min_free_bytes=0, **more)  # type: ignore[arg-type]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(tmp_path / "journal")
    yield journal
    journal.close()


def test_what_was_appended_is_read_back_with_its_positions(journal: Journal) -> None:
    appended = [journal.append(frames(1, b"one", b"")), journal.append(local_batch(Closed("bye"), CAPTURE, 3, 9))]
    assert list(journal.read(0, journal.end)) == [attrs.evolve(batch, arrived_ns=0) for batch in appended]
    assert [batch.start for batch in appended] == [0, appended[0].end]
    assert appended[1].end == journal.end


def test_a_reader_never_passes_the_published_end(journal: Journal) -> None:
    journal.append(frames(1, b"one"))
    end = journal.end
    reading = journal.read(0, 10**9)
    journal.append(frames(2, b"two"))
    assert [batch.end for batch in reading] == [end]


def test_batches_follow_each_other_across_segments(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    appended = [journal.append(frames(n, b"x" * 50)) for n in range(20)]
    assert journal.statistics().segments > 5
    assert [batch.start for batch in appended[1:]] == [batch.end for batch in appended[:-1]]
    assert [batch.first_frame_no for batch in journal.read(appended[7].start, appended[15].end)] == list(range(7, 16))
    journal.close()


def test_a_reopened_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    for n in range(9):
        journal.append(frames(n, b"x" * 50))
    end = journal.end
    journal.close()
    journal = open_journal(tmp_path, segment_bytes=200)
    assert journal.end == end
    assert journal.append(frames(9, b"y")).start == end
    assert [batch.first_frame_no for batch in journal.read(0, journal.end)] == list(range(10))
    journal.close()


def test_open_captures_are_known_after_reopening_even_if_their_records_are_retired(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    journal.append(local_batch(OPENED, CAPTURE, 0, 1))
    journal.append(frames(1, b"only", b"two"))
    for n in range(9):
        journal.append(frames(n, b"x" * 50, capture=OTHER))
    journal.append(local_batch(Closed("bye"), OTHER, 9, 1))
    journal.retire(journal.end)
    assert journal.oldest > 0
    journal.close()
    journal = open_journal(tmp_path)
    assert journal.open_captures == {CAPTURE: 2}
    journal.close()


def test_a_full_journal_refuses_until_segments_are_retired(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=2_000)
    while journal.end < 1_800:
        journal.append(frames(1, b"x" * 50))
    with pytest.raises(JournalFullError, match="budget"):
        journal.append(frames(2, b"x" * 200))
    assert journal.statistics().is_full
    assert journal.statistics().used_bytes <= 2_000
    assert journal.retire(journal.end) > 0
    assert journal.append(frames(100, b"x")).is_protected
    assert not journal.statistics().is_full
    journal.close()


def test_a_journal_of_another_store_is_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(frames(1, b"x"))
    journal.bind("store-a")
    journal.close()
    journal = open_journal(tmp_path)
    journal.bind("store-a")
    with pytest.raises(StoreError, match="store-a"):
        journal.bind("store-b")
    assert [batch.frames for batch in journal.read(0, journal.end)] == [(b"x",)]
    journal.close()


def test_the_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "deep" / "journal")
    assert stat.S_IMODE((tmp_path / "deep" / "journal").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep" / "journal").iterdir()} == {0o600}
    journal.close()


def test_a_torn_tail_is_cut_off_and_said(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    first = journal.append(frames(1, b"whole"))
    journal.append(frames(2, b"torn"))
    journal.close()
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 1)
    journal = open_journal(tmp_path)
    assert journal.end == first.end
    assert journal.statistics().truncated_bytes > 0
    assert list(journal.read(0, journal.end)) == [attrs.evolve(first, arrived_ns=0)]
    journal.close()
