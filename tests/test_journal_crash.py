"""The journal after its process was killed, its disk was full, or its files were damaged."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.data.journal.format import SegmentHeader, encode_header
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.segment import segment_paths
from rlflow.errors import CorruptJournalError, StoreError
from rlflow.session.records import Batch, Closed, Kind, local_batch
from tests import journal_child

CAPTURE = UUID(int=7)


def child(directory: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.journal_child", str(directory), *more], stdout=subprocess.PIPE, bufsize=0
    )


def read_all(journal: Journal) -> tuple[list[Batch], list[tuple[int, int]]]:
    """Return what can be read of a journal and the ranges that cannot."""
    batches: list[Batch] = []
    lost: list[tuple[int, int]] = []
    position = journal.oldest
    while position < journal.end:
        try:
            for batch in journal.read(position, journal.end):
                batches.append(batch)
                position = batch.end
        except CorruptJournalError as error:
            lost.append((error.start, error.end))
            position = error.end
    return batches, lost


def test_nothing_acknowledged_is_missing_after_sigkill(tmp_path: Path) -> None:
    acknowledged, retired = 0, list[Batch]()
    for kill_after in (1, 40, 300, 7, 150):
        with child(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                acknowledged = int(line) if line.endswith(b"\n") else acknowledged
        journal = journal_child.open_journal(tmp_path)
        in_journal, lost = read_all(journal)
        assert not lost
        # Killed between the copy and the deletion, a segment is in both.
        retired = list(journal_child.open_raw(tmp_path).batches())
        frames = [batch.frames for batch in retired if batch.first_frame_no < in_journal[0].first_frame_no]
        frames += [batch.frames for batch in in_journal]
        # The last append may have been complete without having been said.
        assert len(frames) - acknowledged in (0, 1)
        assert frames == [journal_child.batch(n + 1).frames for n in range(len(frames))]
        assert journal.open_captures == {journal_child.CAPTURE: len(frames)}
        journal.close()
    assert retired


def test_a_write_that_the_file_system_takes_half_of_is_refused_and_leaves_whole_records(tmp_path: Path) -> None:
    with child(tmp_path, "100000") as process:
        assert process.stdout is not None
        *acknowledged, full = process.stdout.read().split()
    assert full == b"full"
    path = segment_paths(tmp_path / "journal")[-1]
    assert path.stat().st_size == 100_000
    journal = journal_child.open_journal(tmp_path)
    assert journal.statistics().truncated_bytes > 0
    batches, _ = read_all(journal)
    assert [batch.first_frame_no for batch in batches] == list(map(int, acknowledged))
    journal.append(journal_child.batch(len(batches) + 1))
    assert read_all(journal)[0][:-1] == batches
    journal.close()


def written(directory: Path) -> list[Batch]:
    """Make a journal of three segments with four records each, the last one closing a capture; return them as read."""
    with_sizes = [Batch(Kind.FRAMES, CAPTURE, n, n, (b"%d" % n * n, b"second")) for n in range(11)]
    journal = Journal.open(directory, max_bytes=10**6, segment_bytes=330, min_free_bytes=0)
    appended = [journal.append(batch) for batch in [*with_sizes, local_batch(Closed("end"), CAPTURE, 20, 1)]]
    journal.close()
    return appended


def reopened(directory: Path) -> Journal:
    return Journal.open(directory, max_bytes=10**6, segment_bytes=330, min_free_bytes=0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_to_any_segment_costs_the_records_it_touches_and_is_reported(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        appended = written(Path(name))
        paths = segment_paths(Path(name))
        assert len(paths) == 3
        bases = [int(path.name[:20]) for path in paths]
        chosen = data.draw(st.integers(0, 2))
        content = bytearray(paths[chosen].read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[place:]
            touched_until = 10**9
        else:
            content[place] ^= data.draw(st.integers(1, 255))
            touched_until = place + 1
        header_size = paths[chosen].stat().st_size - ([*bases[1:], appended[-1].end][chosen] - bases[chosen])
        paths[chosen].write_bytes(content)

        def survives(batch: Batch) -> bool:
            if bases[chosen] != max(base for base in bases if base <= batch.start):
                return True
            begin, end = (header_size + position - bases[chosen] for position in (batch.start, batch.end))
            return end <= place or begin >= touched_until

        whole = [batch for batch in appended if survives(batch)]
        journal = reopened(Path(name))
        batches, lost = read_all(journal)
        assert batches == whole
        assert journal.end == max([bases[-1], *(batch.end for batch in whole)])
        covered = sorted([*((batch.start, batch.end) for batch in batches), *lost])
        assert [begin for begin, _ in covered] == [0, *(end for _, end in covered[:-1])][: len(covered)]
        assert covered[-1][1] == journal.end
        appended_later = journal.append(Batch(Kind.FRAMES, CAPTURE, 99, 99, (b"later",)))
        assert read_all(journal)[0] == [*batches, appended_later]
        journal.close()


def test_a_damaged_record_is_reported_with_segment_and_positions(tmp_path: Path) -> None:
    appended = written(tmp_path)
    first, *_ = segment_paths(tmp_path)
    content = first.read_bytes()
    first.write_bytes(content.replace(b"1second", b"?second"))
    journal = reopened(tmp_path)
    reading = journal.read(0, journal.end)
    assert next(reading) == appended[0]
    with pytest.raises(CorruptJournalError, match=first.name) as caught:
        next(reading)
    assert (caught.value.start, caught.value.end) == (appended[1].start, appended[1].end)
    journal.close()


def test_a_segment_that_is_gone_is_reported_as_a_lost_range(tmp_path: Path) -> None:
    appended = written(tmp_path)
    paths = segment_paths(tmp_path)
    paths[1].unlink()
    journal = reopened(tmp_path)
    batches, lost = read_all(journal)
    begin, end = (int(path.name[:20]) for path in paths[1:])
    assert lost == [(begin, end)]
    assert batches == [batch for batch in appended if not begin <= batch.start < end]
    journal.close()


@pytest.mark.parametrize("size", [0, 5, 40])
def test_a_crash_while_a_segment_is_made_costs_nothing(tmp_path: Path, size: int) -> None:
    appended = written(tmp_path)
    journal = reopened(tmp_path)
    appended.append(journal.append(Batch(Kind.FRAMES, CAPTURE, 30, 1, (b"x",))))
    journal.close()
    last = segment_paths(tmp_path)[-1]
    unfinished = tmp_path / f"{appended[-1].end:020d}.journal"
    unfinished.write_bytes(last.read_bytes()[:size])
    journal = reopened(tmp_path)
    assert journal.end == appended[-1].end
    assert read_all(journal) == (appended, [])
    assert journal.open_captures == {CAPTURE: 30}
    assert journal.append(Batch(Kind.FRAMES, CAPTURE, 31, 1, (b"y",))).start == appended[-1].end
    journal.close()


def test_open_captures_survive_the_loss_of_the_last_header(tmp_path: Path) -> None:
    journal = reopened(tmp_path)
    other = UUID(int=1)
    journal.append(Batch(Kind.FRAMES, other, 5, 1, (b"a", b"b")))
    for n in range(12):
        journal.append(Batch(Kind.FRAMES, CAPTURE, n, n, (b"x" * 40,)))
    journal.bind("store")
    journal.close()
    last = segment_paths(tmp_path)[-1]
    content = bytearray(last.read_bytes())
    content[20] ^= 1
    last.write_bytes(content)
    journal = reopened(tmp_path)
    assert journal.open_captures == {other: 6, CAPTURE: 11}
    assert journal.statistics().is_damaged
    assert [batch.first_frame_no for batch in read_all(journal)[0]] == [5, *range(12)]
    journal.close()
    # A new segment was begun, so that what follows does not stand behind a damaged header.
    assert len(segment_paths(tmp_path)) > len([path for path in segment_paths(tmp_path) if path <= last])


def test_remains_of_an_older_longer_write_are_not_read(tmp_path: Path) -> None:
    journal = reopened(tmp_path)
    kept = journal.append(Batch(Kind.FRAMES, CAPTURE, 1, 1, (b"kept",)))
    journal.close()
    (path,) = segment_paths(tmp_path)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[-(kept.end - kept.start) :])
        file.write(os.urandom(100))
    journal = reopened(tmp_path)
    assert journal.end == kept.end
    assert read_all(journal) == ([kept], [])
    assert path.stat().st_size == len(whole)
    journal.close()


def test_a_journal_of_another_format_is_refused_unchanged(tmp_path: Path) -> None:
    written(tmp_path)
    last = segment_paths(tmp_path)[-1]
    last.write_bytes(encode_header(SegmentHeader(0, 0, {}, version=9)) + b"?")
    before = last.read_bytes()
    with pytest.raises(StoreError, match="format 9"):
        reopened(tmp_path)
    assert last.read_bytes() == before
