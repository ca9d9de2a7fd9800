"""What the journal of an ended process becomes, where journal and store do not know the same."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from rlflow.data.journal.journal import Journal
from rlflow.data.writer.catch_up import CatchUp
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.session import Session
from rlflow.supervisor.service import close_leftovers
from tests.pipeline import MemoryStore, delta, snapshot

CAPTURE = UUID("0198c3f0-0000-7000-8000-000000000001")
OPENED = local_batch(Opened(url="ws://test", environment="sim"), CAPTURE, 0, 1)


def frames(first: int, *content: bytes) -> Batch:
    return Batch(Kind.FRAMES, CAPTURE, first, first, content)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal", max_bytes=64 * 2**20, min_free_bytes=0)
    yield opened
    opened.close()


def store_that_has(*batches: Batch) -> MemoryStore:
    store, session = MemoryStore(), Session(CAPTURE)
    for batch in batches:
        store.commit([session.feed(batch)])
    return store


def catch_up(journal: Journal, store: MemoryStore) -> None:
    CatchUp(journal, store, "sim", journal.oldest).step(journal.end, budget_s=10)


def test_a_hole_in_the_journal_is_a_gap_from_its_first_frame_on(journal: Journal) -> None:
    """So that no book is taken for known at a frame inside it."""
    for batch in (OPENED, frames(1, snapshot(1)), frames(5, delta(5))):
        journal.append(batch)
    store = MemoryStore()
    catch_up(journal, store)
    assert store.counts.dropped == 3
    assert {(gap.from_frame, gap.frame_no) for gap in store.gaps} == {(1, 2)}


@pytest.mark.parametrize("journalled", [1, 2])
def test_a_capture_is_closed_behind_frames_that_only_the_store_has(journal: Journal, journalled: int) -> None:
    """Frames came while the journal was full, or a power cut took the end of the journal but not of the store."""
    batches = [OPENED, frames(1, snapshot(1)), frames(2, delta(2), delta(3), delta(4))]
    for batch in batches[:journalled]:
        journal.append(batch)
    store = store_that_has(*batches)
    close_leftovers(journal)
    catch_up(journal, store)
    assert store.closed[CAPTURE].cause.startswith("the recording process ended")
    assert store.frames[CAPTURE] == 5
    assert store.counts.total() == 4
    (gap,) = [gap for gap in store.gaps if gap.cause == store.closed[CAPTURE].cause]
    assert (gap.from_frame, gap.frame_no, gap.to_ns) == (4, 5, None)
    catch_up(journal, store)
    assert store.frames[CAPTURE] == 5


def test_a_capture_that_the_store_knows_to_be_closed_is_not_closed_again(journal: Journal) -> None:
    """The power cut took the closing record, too."""
    batches = [OPENED, frames(1, snapshot(1)), frames(2, delta(2))]
    for batch in batches:
        journal.append(batch)
    close_leftovers(journal)
    store = MemoryStore()
    catch_up(journal, store)
    closed = attrs.evolve(OPENED, kind=Kind.CLOSED, first_frame_no=2, frames=(b'{"cause":"again"}',))
    position = journal.end
    journal.append(closed)
    CatchUp(journal, store, "sim", position).step(journal.end, budget_s=10)
    assert store.frames[CAPTURE] == 3
    assert store.closed[CAPTURE].cause.startswith("the recording process ended")


def test_a_full_journal_still_takes_the_end_of_what_an_ended_process_left(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, max_bytes=4096, segment_bytes=512, min_free_bytes=0)
    journal.append(OPENED)
    number = 1
    while not journal.statistics().is_full and journal.end < 4000:
        journal.append(frames(number, b"x" * 100))
        number += 1
    close_leftovers(journal)
    assert journal.open_captures == {}
    journal.close()


def test_a_disk_without_any_room_does_not_prevent_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path, max_bytes=2**20, min_free_bytes=0)
    journal.append(OPENED)
    monkeypatch.setattr("os.pwrite", lambda _fd, data, _place: len(data) - 1)
    close_leftovers(journal)
    assert journal.open_captures == {CAPTURE: 0}
    monkeypatch.undo()
    journal.close()
