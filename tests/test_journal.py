"""The journal: what was appended comes back, whatever ended the process."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rlflow.data.journal.disk_guard import DiskGuard
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.raw import RawStore
from rlflow.data.journal.segment import segment_paths
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


def test_a_bound_journal_stays_bound_when_its_first_segments_are_gone(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    journal.append(frames(0, b"x" * 50))
    journal.bind("store-a")
    for n in range(1, 20):
        journal.append(frames(n, b"x" * 50))
    journal.retire(journal.end)
    journal.close()
    journal = open_journal(tmp_path)
    assert journal.store_id == "store-a"
    journal.close()


def test_a_header_has_room_for_any_number_of_open_captures(tmp_path: Path) -> None:
    captures = {UUID(int=n): n for n in range(300)}
    journal = open_journal(tmp_path, segment_bytes=10_000)
    for capture, n in captures.items():
        journal.append(frames(n, b"x", capture=capture))
    journal.append(local_batch(Closed("bye"), UUID(int=5), 6, 1))
    del captures[UUID(int=5)]
    for _ in range(2):
        journal.bind("store-a")
        journal.close()
        journal = open_journal(tmp_path, segment_bytes=10_000)
        assert journal.open_captures == captures
    journal.close()


@attrs.define
class FakeDisk:
    """A disk whose free bytes are set, and which counts how often it is asked."""

    free: int
    asked: int = 0
    now: float = 0.0

    def free_bytes(self, _: Path) -> int:
        self.asked += 1
        return self.free

    def guard(self, directory: Path) -> DiskGuard:
        return DiskGuard(
            directory, 500, every_bytes=10_000, every_s=60.0, free_bytes=self.free_bytes, clock=lambda: self.now
        )


@pytest.mark.parametrize(("size", "seconds", "appends"), [(4_000, 0.0, 2), (1, 30.0, 1)])
def test_a_low_disk_is_noticed_after_some_bytes_or_some_time(
    tmp_path: Path, size: int, seconds: float, appends: int
) -> None:
    disk = FakeDisk(free=500)
    journal = open_journal(tmp_path, disk=disk.guard(tmp_path))
    disk.free = 499
    for n in range(appends):
        disk.now += seconds
        journal.append(frames(n, b"x" * size))
    assert disk.asked == 1
    disk.now += seconds
    with pytest.raises(JournalFullError, match="only 499 bytes left"):
        journal.append(frames(9, b"x" * size))
    assert journal.statistics().free_bytes == 499
    disk.free, disk.now = 500, disk.now + 60.0
    assert journal.append(frames(9, b"x")).is_protected
    assert disk.asked == 3
    journal.close()


def test_a_segment_is_retired_one_late_and_never_above_the_given_position(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    appended = [journal.append(frames(n, b"x" * 50)) for n in range(20)]
    bases = [int(path.name[:20]) for path in segment_paths(tmp_path)]
    assert journal.retire(bases[1]) == 0
    assert journal.retire(bases[3] - 1) == 1
    assert journal.oldest == bases[1]
    assert journal.retire(bases[3]) == 1
    assert journal.oldest == bases[2]
    assert journal.retire(journal.end) == len(bases) - 4
    assert journal.oldest == bases[-2]
    with pytest.raises(ValueError, match="has been retired"):
        journal.read(0, journal.end)
    left = [batch.first_frame_no for batch in journal.read(journal.oldest, journal.end)]
    assert left == [batch.first_frame_no for batch in appended if batch.start >= bases[-2]]
    journal.close()


def test_the_last_segments_never_use_up_the_budget(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=4_000, segment_bytes=10**9)
    for n in range(200):
        journal.append(frames(n, b"x" * 50))
        journal.retire(journal.end)
    assert journal.statistics().used_bytes < 2_000
    journal.close()


def test_synced_files_are_closed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    before = len(os.listdir("/dev/fd"))
    for n in range(20):
        journal.append(frames(n, b"x" * 50))
    assert len(os.listdir("/dev/fd")) > before
    assert journal.sync() == journal.end == journal.statistics().synced
    assert len(os.listdir("/dev/fd")) == before
    journal.close()
    journal.close()


def test_a_thread_reads_syncs_and_retires_while_the_loop_appends(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=10**8, segment_bytes=2_000)
    count, seen = 3_000, list[int]()

    def follow() -> None:
        position = 0
        while len(seen) < count:
            for batch in journal.read(position, journal.end):
                seen.append(batch.first_frame_no)
                position = batch.end
            journal.sync()
            journal.retire(position)
            journal.bind("store-a")

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        for n in range(count):
            journal.append(frames(n, b"x" * (n % 97)))
        following.result(timeout=60)
    assert seen == list(range(count))
    journal.close()
    assert open_journal(tmp_path).store_id == "store-a"


class JournalMachine(RuleBasedStateMachine):
    """Any history of a journal keeps every batch that was appended and not retired, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name)
        self.raw = RawStore(self.path / "raw", keep_days=1)
        self.journal = self.opened()
        self.appended: list[Batch] = []
        self.open_captures: dict[UUID, int] = {}
        self.store_id = ""

    def opened(self) -> Journal:
        return open_journal(self.path / "journal", max_bytes=10**5, segment_bytes=500, raw=self.raw)

    @rule(
        capture=st.integers(0, 2).map(lambda n: UUID(int=n)),
        texts=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
        kind=st.sampled_from([Kind.FRAMES, Kind.FRAMES, Kind.FRAMES, Kind.STALE, Kind.CLOSED]),
    )
    def append(self, capture: UUID, texts: list[bytes], kind: Kind) -> None:
        batch = Batch(kind, capture, len(self.appended), 7, tuple(texts), arrived_ns=0)
        self.appended.append(self.journal.append(batch))
        if kind is Kind.CLOSED:
            self.open_captures.pop(capture, None)
        else:
            self.open_captures[capture] = batch.last_frame_no

    @rule()
    def sync(self) -> None:
        assert self.journal.sync() == self.journal.end

    @rule(torn=st.binary(max_size=30))
    def reopen(self, torn: bytes) -> None:
        self.journal.close()
        with segment_paths(self.path / "journal")[-1].open("ab") as file:
            file.write(torn)
        self.journal = self.opened()
        assert self.journal.statistics().truncated_bytes == len(torn)

    @precondition(lambda self: self.appended)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        upto = data.draw(st.sampled_from(self.appended)).end
        before = self.journal.oldest
        self.journal.retire(upto)
        assert before <= self.journal.oldest <= max(upto, before)

    @rule()
    def bind(self) -> None:
        self.journal.bind("store")
        self.store_id = "store"

    @rule(data=st.data())
    def read_a_part(self, data: st.DataObject) -> None:
        here = [batch for batch in self.appended if batch.start >= self.journal.oldest]
        first, last = sorted(data.draw(st.integers(0, len(here))) for _ in range(2))
        bounds = [*(batch.start for batch in here), self.journal.end]
        assert list(self.journal.read(bounds[first], bounds[last])) == here[first:last]

    @invariant()
    def everything_is_there(self) -> None:
        end = self.appended[-1].end if self.appended else 0
        assert self.journal.end == end
        here = [batch for batch in self.appended if batch.start >= self.journal.oldest]
        assert list(self.journal.read(self.journal.oldest, end)) == here
        assert self.journal.open_captures == self.open_captures
        assert self.journal.store_id == self.store_id
        kept = [batch.first_frame_no for batch in self.raw.batches()]
        assert kept == [batch.first_frame_no for batch in self.appended if batch.start < self.journal.oldest]

    def teardown(self) -> None:
        self.journal.close()
        self.directory.cleanup()


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
