from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.data.feed.capture_log import CaptureLog, new_capture_id
from rlflow.data.journal.journal import Journal
from rlflow.errors import FeedLostError, JournalFullError
from rlflow.session.records import Batch, Closed, Dropped, Kind, Opened, Stale

OPENED = Opened("ws://venue", "sim", tickers=("A", "B"))


@attrs.define
class MemoryJournal:
    """A journal in memory in which every frame byte takes a byte."""

    is_full: bool = False
    batches: list[Batch] = attrs.Factory(list)

    @property
    def end(self) -> int:
        return self.batches[-1].end if self.batches else 0

    def append(self, batch: Batch) -> Batch:
        if self.is_full:
            raise JournalFullError("full")
        self.batches.append(attrs.evolve(batch, start=self.end, end=self.end + sum(map(len, batch.frames))))
        return self.batches[-1]


class Bench:
    """A capture log between a journal and a channel of a few places. Each look at the clock takes a millisecond."""

    def __init__(self, places: int = 100) -> None:
        self.journal = MemoryJournal()
        self.now_ns = 1_795_305_600_000_000_000
        self.send, self.receive = trio.open_memory_channel[Batch](places)
        self.log = CaptureLog(self.journal, self.send, wall_ns=self.tick, monotonic_ns=lambda: 77, entropy=bytes)

    def tick(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def received(self) -> list[Batch]:
        batches = []
        while self.receive.statistics().current_buffer_used:
            batches.append(self.receive.receive_nowait())
        return batches


def numbers(batches: Sequence[Batch]) -> list[int]:
    return [number for batch in batches for number in range(batch.after_frame + 1, batch.last_frame_no + 1)]


def test_frames_and_local_records_share_one_count_from_the_opening_record_on() -> None:
    bench = Bench()
    capture = bench.log.begin(OPENED)
    capture.frames([b"a", b"b"])
    capture.stale(("A",), "no snapshot came")
    capture.frames([b"c"])
    assert capture.last_no == 4
    capture.closed("peer closed", 1001)
    batches = bench.received()
    assert [batch.kind for batch in batches] == [Kind.OPENED, Kind.FRAMES, Kind.STALE, Kind.FRAMES, Kind.CLOSED]
    assert numbers(batches) == [0, 1, 2, 3, 4, 5]
    assert {batch.capture for batch in batches} == {capture.id}
    assert batches[0].local() == OPENED
    assert batches[2].local() == Stale(("A",), "no snapshot came")
    assert batches[4].local() == Closed("peer closed", 1001)


def test_what_is_sent_is_what_was_journalled_with_its_place() -> None:
    bench = Bench()
    capture = bench.log.begin(OPENED)
    capture.frames([b"a", b"bc"])
    batches = bench.received()
    assert batches == bench.journal.batches
    assert (batches[1].frames, batches[1].received_ns, batches[1].arrived_ns) == ((b"a", b"bc"), bench.now_ns, 77)
    assert batches[1].end - batches[1].start == 3
    statistics = bench.log.statistics()
    assert (statistics.frames, statistics.journalled, statistics.frame_bytes) == (2, 2, 3)


def test_no_frames_make_no_batch() -> None:
    bench = Bench()
    bench.log.begin(OPENED).frames([])
    assert len(bench.received()) == 1


def test_a_full_channel_leaves_batches_to_the_journal() -> None:
    bench = Bench(places=1)
    capture = bench.log.begin(OPENED)
    capture.frames([b"a", b"b"])
    assert numbers(bench.received()) == [0]
    capture.frames([b"c"])
    assert numbers(bench.received()) == [3]
    assert numbers(bench.journal.batches) == [0, 1, 2, 3]
    statistics = bench.log.statistics()
    assert (statistics.skipped_batches, statistics.journalled, statistics.dropped) == (1, 3, 0)


def test_a_full_journal_lets_batches_travel_unprotected_behind_what_it_holds() -> None:
    bench = Bench()
    capture = bench.log.begin(OPENED)
    end = bench.journal.batches[-1].end
    bench.journal.is_full = True
    capture.frames([b"a", b"b"])
    bench.journal.is_full = False
    capture.frames([b"c"])
    _, unprotected, protected = bench.received()
    assert (unprotected.start, unprotected.end, unprotected.is_protected) == (-1, end, False)
    assert (protected.start, protected.is_protected) == (end, True)
    statistics = bench.log.statistics()
    assert (statistics.unprotected, statistics.journalled, statistics.is_protected) == (2, 1, True)


def test_frames_that_nothing_takes_are_counted_and_confessed_before_the_next_ones() -> None:
    bench = Bench(places=1)
    capture = bench.log.begin(OPENED)
    bench.journal.is_full = True
    capture.frames([b"a", b"b"])
    capture.frames([b"c"])
    assert bench.log.statistics().dropped == 3
    bench.received()
    bench.journal.is_full = False
    capture.frames([b"d"])
    dropped, frames = bench.journal.batches[-2:]
    assert dropped.local() == Dropped(3, "3 frames dropped: neither the journal nor the books took them")
    assert (dropped.after_frame, dropped.last_frame_no) == (0, 3)
    assert (frames.first_frame_no, frames.frames) == (4, (b"d",))
    assert (capture.last_no, bench.log.statistics().frames) == (4, 4)


def test_what_is_noted_behind_dropped_frames_comes_behind_their_confession() -> None:
    bench = Bench(places=1)
    capture = bench.log.begin(OPENED)
    bench.journal.is_full = True
    capture.frames([b"a", b"b"])
    capture.stale(("A",), "no snapshot came")
    capture.frames([b"c"])
    bench.journal.is_full = False
    capture.frames([b"d"])
    kinds = [Kind.OPENED, Kind.DROPPED, Kind.STALE, Kind.DROPPED, Kind.FRAMES]
    assert [batch.kind for batch in bench.journal.batches] == kinds
    assert numbers(bench.journal.batches) == [0, 1, 2, 3, 4, 5]


def test_a_capture_that_nothing_could_tell_of_does_not_begin() -> None:
    bench = Bench(places=0)
    bench.journal.is_full = True
    with pytest.raises(FeedLostError):
        bench.log.begin(OPENED)
    assert bench.log.statistics().captures == 0


def test_an_end_that_nothing_takes_is_owed_and_comes_before_the_next_capture() -> None:
    bench = Bench(places=1)
    capture = bench.log.begin(OPENED)
    bench.journal.is_full = True
    capture.frames([b"lost"])
    capture.closed("silent for 25 s")
    assert bench.log.statistics().owed_records == 2
    bench.journal.is_full = False
    bench.log.begin(OPENED)
    assert [batch.kind for batch in bench.journal.batches] == [Kind.OPENED, Kind.DROPPED, Kind.CLOSED, Kind.OPENED]
    assert numbers(bench.journal.batches) == [0, 1, 2, 0]
    assert bench.log.statistics().owed_records == 0


def test_a_reader_that_has_ended_does_not_keep_frames_from_the_journal() -> None:
    bench = Bench()
    capture = bench.log.begin(OPENED)
    bench.receive.close()
    capture.frames([b"a"])
    capture.closed("stopped at once")
    assert numbers(bench.journal.batches) == [0, 1, 2]


def test_the_journal_gives_back_what_was_sent(tmp_path: Path) -> None:
    send, receive = trio.open_memory_channel[Batch](10)
    journal = Journal.open(tmp_path / "journal", max_bytes=2**20)
    try:
        capture = CaptureLog(journal, send).begin(OPENED)
        capture.frames([b"a" * 70_000, b"", "ä".encode()])
        assert journal.open_captures == {capture.id: 3}
        capture.closed("peer closed", 1001)
        sent = [attrs.evolve(receive.receive_nowait(), arrived_ns=0) for _ in range(3)]
        assert list(journal.read(sent[0].start, journal.end)) == sent
        assert journal.open_captures == {}
    finally:
        journal.close()


actions = st.lists(
    st.one_of(
        st.lists(st.binary(max_size=3), max_size=4),
        st.sampled_from(["stale", "full", "room", "read", "closed"]),
    ),
    max_size=40,
)


@given(actions=actions, places=st.integers(0, 3))
@settings(deadline=None)
def test_every_frame_is_kept_once_in_order_without_a_hole_or_counted_as_dropped(
    actions: list[list[bytes] | str], places: int
) -> None:
    bench, seen, sent = Bench(places), list[Batch](), 0
    capture = bench.log.begin(OPENED)
    for action in actions:
        match action:
            case "stale":
                capture.stale(("A",), "test")
            case "full" | "room":
                bench.journal.is_full = action == "full"
            case "read":
                seen += bench.received()
            case "closed":
                capture.closed("test")
                seen += bench.received()
                bench.journal.is_full = False
                capture = bench.log.begin(OPENED)
            case list(frames):
                capture.frames(frames)
                sent += len(frames)
    bench.journal.is_full = False
    capture.closed("end")
    seen += bench.received()
    kept = {(batch.capture, batch.first_frame_no): batch for batch in [*seen, *bench.journal.batches]}
    of_capture: dict[UUID, list[Batch]] = {}
    for batch in kept.values():
        of_capture.setdefault(batch.capture, []).append(batch)
    for batches in of_capture.values():
        batches.sort(key=lambda batch: batch.first_frame_no)
        assert numbers(batches) == list(range(batches[-1].last_frame_no + 1))
        assert batches[-1].kind is Kind.CLOSED
    statistics = bench.log.statistics()
    told = [batch.local() for batch in kept.values() if batch.kind is Kind.DROPPED]
    assert sum(record.frames for record in told if isinstance(record, Dropped)) == statistics.dropped
    frames_kept = sum(len(batch.frames) for batch in kept.values() if batch.kind is Kind.FRAMES)
    assert statistics.frames == sent == frames_kept + statistics.dropped
    assert statistics.journalled + statistics.unprotected == frames_kept
    in_channel = [(batch.capture, batch.first_frame_no) for batch in seen]
    assert len(in_channel) == len(set(in_channel))


@given(now_ns=st.integers(0, 2**48 * 1_000_000 - 1), entropy=st.binary(min_size=10, max_size=10))
def test_capture_ids_are_version_7_and_sort_by_time(now_ns: int, entropy: bytes) -> None:
    capture = new_capture_id(now_ns, entropy)
    assert (capture.version, capture.variant) == (7, "specified in RFC 4122")
    assert capture.int >> 80 == now_ns // 1_000_000
