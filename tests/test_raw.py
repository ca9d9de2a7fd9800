"""Compressed segments: kept for some days, read again, given up when the disk is full."""

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from rlflow.data.journal.disk_guard import DiskGuard
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.raw import RawStore, segment_batches
from rlflow.data.journal.segment import segment_paths
from rlflow.errors import CorruptJournalError
from rlflow.session.records import Batch, Kind

ONE, TWO = UUID(int=1), UUID(int=2)
DAY_NS = 86_400 * 10**9


def filled(directory: Path, raw: RawStore | None, *, disk: DiskGuard | None = None) -> Journal:
    """Return a journal of many segments with two captures in turn."""
    journal = Journal.open(
        directory / "journal", max_bytes=10**6, segment_bytes=300, min_free_bytes=0, raw=raw, disk=disk
    )
    for n in range(40):
        journal.append(Batch(Kind.FRAMES, (ONE, TWO)[n % 2], n, n, (b"frame %d" % n, b"x" * 50)))
    return journal


def guard(raw: RawStore, *, at_first: int) -> DiskGuard:
    """A disk of which 1,000 bytes are left to others, and every compressed segment takes 100."""
    return DiskGuard(raw.directory, 1_000, free_bytes=lambda _: at_first - 100 * len(raw.segments()))


@pytest.fixture
def raw(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path / "raw", keep_days=3)


def test_retired_segments_can_be_read_by_capture(tmp_path: Path, raw: RawStore) -> None:
    journal = filled(tmp_path, raw)
    retired = journal.retire(journal.end)
    assert len(raw.segments()) == retired > 5
    in_raw = [batch.first_frame_no for batch in raw.batches()]
    assert in_raw == list(range(len(in_raw)))
    assert next(journal.read(journal.oldest, journal.end)).first_frame_no == len(in_raw)
    of_two = list(raw.batches(TWO))
    assert [batch.first_frame_no for batch in of_two] == in_raw[1::2]
    assert of_two[0] == Batch(Kind.FRAMES, TWO, 1, 1, (b"frame 1", b"x" * 50))
    assert {stat.S_IMODE(segment.path.stat().st_mode) for segment in raw.segments()} == {0o600}
    journal.close()


def test_segments_of_the_journal_are_read_in_the_same_way(tmp_path: Path) -> None:
    filled(tmp_path, None).close()
    paths = segment_paths(tmp_path / "journal")
    assert [batch.first_frame_no for path in paths for batch in segment_batches(path, ONE)] == list(range(0, 40, 2))


def test_old_segments_are_deleted_after_their_days(tmp_path: Path, raw: RawStore) -> None:
    journal = filled(tmp_path, raw)
    journal.retire(journal.end)
    first, second, *others = raw.segments()
    now = first.kept_ns + 3 * DAY_NS
    for segment, kept_ns in ((first, now - 3 * DAY_NS - 1), (second, now - 3 * DAY_NS)):
        os.utime(segment.path, ns=(kept_ns, kept_ns))
    assert raw.prune(now) == 1
    assert [segment.base for segment in raw.segments()] == [second.base, *(other.base for other in others)]
    journal.close()


def test_the_oldest_segments_give_way_when_the_disk_is_low(tmp_path: Path, raw: RawStore) -> None:
    disk = guard(raw, at_first=1_550)
    journal = filled(tmp_path, raw, disk=disk)
    assert journal.retire(journal.end) > 3
    assert disk.free == 1_250, "a quarter more than the least, so that it is not low again at once"
    assert len(raw.segments()) == 3
    first_left = next(journal.read(journal.oldest, journal.end)).first_frame_no
    assert [batch.first_frame_no for batch in raw.batches()][-1] == first_left - 1
    journal.close()


def test_a_start_on_a_low_disk_makes_room(tmp_path: Path, raw: RawStore) -> None:
    """The database may not start there, and nothing is retired before it has."""
    journal = filled(tmp_path, raw)
    kept = journal.retire(journal.end)
    journal.close()
    opened = filled(tmp_path, raw, disk=guard(raw, at_first=1_150 + 100 * kept))
    assert len(raw.segments()) == kept - 1
    opened.close()


def test_a_segment_that_cannot_be_kept_is_retired_all_the_same(tmp_path: Path, raw: RawStore) -> None:
    journal = filled(tmp_path, raw)
    raw.directory.rmdir()
    raw.directory.write_bytes(b"not a directory")
    assert journal.retire(journal.end) > 5
    assert journal.oldest > 0
    journal.close()


def test_an_unfinished_copy_is_removed_at_the_next_start(tmp_path: Path, raw: RawStore) -> None:
    left = raw.directory / f"{1:020d}-{0:020d}.journal.zst.part"
    left.write_bytes(b"half")
    assert raw.segments() == ()
    RawStore(raw.directory, keep_days=3)
    assert not left.exists()


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_copy_is_an_error_and_not_an_end(tmp_path: Path, raw: RawStore, *, cut: bool) -> None:
    journal = filled(tmp_path, raw)
    journal.retire(journal.end)
    path = raw.segments()[0].path
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content[:-10] if cut else content)
    with pytest.raises(CorruptJournalError, match=path.name):
        list(raw.batches())
    journal.close()


def test_whole_records_of_a_damaged_segment_are_read(tmp_path: Path) -> None:
    filled(tmp_path, None).close()
    path = segment_paths(tmp_path / "journal")[0]
    path.write_bytes(path.read_bytes().replace(b"frame 1", b"fr?me 1"))
    assert [batch.first_frame_no for batch in segment_batches(path)] == [0, 2]
    path.write_bytes(b"nothing that was once a segment")
    assert list(segment_batches(path)) == []
