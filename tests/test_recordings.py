"""Recordings in every form give the frames that were sent, numbered without holes, and stop at the first damage."""

import gzip
import itertools
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.errors import RecordingError
from rlflow.recordings import Form, RecordedCapture, Recording, check_sums, read_recording
from rlflow.recordings.items import parse_time
from rlflow.session.records import Batch, Closed, Kind, Opened
from tests.recordings import make

DELTAS = 150


def only_capture(recording: Recording) -> RecordedCapture:
    (capture,) = recording.captures()
    return capture


def read(path: Path) -> list[Batch]:
    return [batch for capture in read_recording(path).captures() for batch in capture.batches()]


def read_until_damage(path: Path) -> tuple[list[Batch], int | None]:
    """Return the batches and the line of the damage."""
    batches: list[Batch] = []
    try:
        for capture in read_recording(path).captures():
            batches.extend(capture.batches())
    except RecordingError as error:
        return batches, error.line
    return batches, None


def frames_of(batches: Sequence[Batch]) -> list[bytes]:
    return [frame for batch in batches if batch.kind is Kind.FRAMES for frame in batch.frames]


def take_scene(deltas: int = DELTAS, seed: int = 3) -> list[make.Take]:
    return make.Scene(random.Random(seed)).play(deltas)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_wrapped_frames_come_out_byte_for_byte_with_their_times(tmp_path: Path, suffix: str) -> None:
    takes = take_scene()
    path = make.write(tmp_path / f"any.name{suffix}", make.wrapped(takes))
    capture = only_capture(read_recording(path))
    assert [(one.frame, one.received_ns) for one in capture.frames()] == [
        (take.text, take.received_ms * 1_000_000) for take in takes
    ]


def test_every_form_numbers_its_frames_without_holes(tmp_path: Path) -> None:
    for path in make.write_all(tmp_path, deltas=DELTAS):
        for capture in read_recording(path).captures():
            batches = list(capture.batches())
            assert [batch.first_frame_no for batch in batches[1:]] == [
                batch.last_frame_no + 1 for batch in batches[:-1]
            ]
            assert (batches[0].first_frame_no, batches[0].kind, batches[-1].kind) == (0, Kind.OPENED, Kind.CLOSED)
            assert {batch.kind for batch in batches[1:-1]} == {Kind.FRAMES}
            assert {batch.capture for batch in batches} == {capture.capture}
            assert batches[0].local() == capture.opened
            assert all(not batch.is_protected for batch in batches)


def test_every_form_is_recognised_by_content(tmp_path: Path) -> None:
    forms = [read_recording(path.rename(tmp_path / str(n))).form for n, path in enumerate(make.write_all(tmp_path))]
    assert forms == [Form.WRAPPED, Form.VERBATIM, Form.ENVELOPE, Form.ROWS]


def test_frames_of_one_receive_time_share_batches_of_bounded_size(tmp_path: Path) -> None:
    takes = [make.Take(make.START_MS + (n > 100), {"type": "ok", "id": n, "seq": n}) for n in range(150)]
    batches = read(make.write(tmp_path / "x", make.wrapped(takes)))[1:-1]
    assert all(len(batch.frames) <= 64 for batch in batches)
    assert len(batches) == 3
    assert [batch.received_ns for batch in batches] == [make.START_MS * 10**6] * 2 + [(make.START_MS + 1) * 10**6]


def test_wrapped_lines_may_have_spaces_another_order_and_nanoseconds(tmp_path: Path) -> None:
    lines = [b'{ "event" : {"type":"ok", "id":1 } , "recv_ns" : 1795305600000000001 }\r', b"  ", b""]
    capture = only_capture(read_recording(make.write(tmp_path / "x", lines)))
    assert [(one.received_ns, one.frame) for one in capture.frames()] == [
        (1_795_305_600_000_000_001, b'{"type":"ok", "id":1 }')
    ]


def test_verbatim_frames_are_heard_at_the_latest_time_of_the_venue(tmp_path: Path) -> None:
    frames = [
        b'{"type":"subscribed","msg":{"channel":"orderbook_delta","sid":1}}',
        b'{"type":"orderbook_delta","msg":{"ts_ms":1000}}',
        b'{"type":"trade","msg":{"ts":2}}',
        b'{"type":"orderbook_delta","msg":{"ts":"1970-01-01T00:00:01.5Z"}}',
        b'{"type":"ok","msg":[]}',
        b'{"type":"orderbook_delta","sending_ts_ms":2500,"msg":{"ts_ms":2400}}',
    ]
    capture = only_capture(read_recording(make.write(tmp_path / "x", frames)))
    assert [one.received_ns // 10**6 for one in capture.frames()] == [1000, 1000, 2000, 2000, 2000, 2500]
    assert [one.frame for one in capture.frames()] == frames


def test_envelopes_become_the_venues_frames_again(tmp_path: Path) -> None:
    takes = make.Scene(random.Random(3), make.MARKETS[1:]).play(DELTAS)
    capture = only_capture(read_recording(make.write(tmp_path / "x", make.envelopes(takes))))
    assert [json.loads(one.frame) for one in capture.frames()] == [take.frame for take in takes]
    assert capture.opened.tickers == (make.MARKETS[1],)


def test_a_connection_after_another_means_that_the_other_broke(tmp_path: Path) -> None:
    scene = make.Scene(random.Random(3), make.MARKETS[1:])
    one, two = scene.play(20), scene.play(30)
    path = make.write(tmp_path / "x", make.envelopes(one) + make.envelopes(two))
    first, second = (list(capture.batches()) for capture in read_recording(path).captures())
    assert first[-1].local() == Closed("the connection broke")
    assert first[-1].received_ns == second[0].received_ns
    assert second[-1].local() == Closed("end of the recording", is_complete=True)
    assert (len(frames_of(first)), len(frames_of(second))) == (len(one), len(two))
    assert first[0].capture != second[0].capture


def test_a_recorder_that_goes_to_another_market_closes_completely(tmp_path: Path) -> None:
    scene = make.Scene(random.Random(3), make.MARKETS[1:])
    lines = [*make.envelopes(scene.play(5)), make.rotated(scene.now_ms), *make.envelopes(scene.play(5))]
    first, _second = read_recording(make.write(tmp_path / "x", lines)).captures()
    closed = list(first.batches())[-1].local()
    assert isinstance(closed, Closed)
    assert closed.is_complete


def test_envelopes_may_begin_in_the_middle_of_a_connection(tmp_path: Path) -> None:
    lines = make.envelopes(take_scene())[3:]
    capture = only_capture(read_recording(make.write(tmp_path / "x", lines)))
    sids = {(frame["type"], frame["sid"]) for frame in (json.loads(one.frame) for one in capture.frames())}
    assert sids == {("orderbook_snapshot", 1), ("orderbook_delta", 1), ("trade", 2)}


def test_rows_become_frames_of_the_cents_era(tmp_path: Path) -> None:
    scene = make.Scene(random.Random(3), make.MARKETS[:1], is_whole_cents=True)
    takes = [take for take in scene.play(DELTAS) if take.frame["type"].startswith("orderbook")]
    capture = only_capture(read_recording(make.write_rows(tmp_path / "x", make.rows(takes))))
    assert capture.opened.legacy
    snapshot, *deltas = [json.loads(one.frame) for one in capture.frames()]
    body = takes[0].frame["msg"]
    for side in ("yes", "no"):
        exact = [[round(float(p) * 100), round(float(n))] for p, n in body[f"{side}_dollars_fp"]]
        assert snapshot["msg"][side] == exact
    assert [(one["seq"], one["msg"]["price"], one["msg"]["delta"], one["msg"]["side"]) for one in deltas] == [
        (
            take.frame["seq"],
            round(float(take.frame["msg"]["price_dollars"]) * 100),
            round(float(take.frame["msg"]["delta_fp"])),
            take.frame["msg"]["side"],
        )
        for take in takes[1:]
    ]
    assert {one["msg"]["market_ticker"] for one in (snapshot, *deltas)} == {make.MARKETS[0]}


def test_snapshots_that_follow_each_other_in_rows_stay_apart(tmp_path: Path) -> None:
    scene = make.Scene(random.Random(3), is_whole_cents=True)
    takes = [take for take in scene.play(0) if take.frame["type"] == "orderbook_snapshot"]
    capture = only_capture(read_recording(make.write_rows(tmp_path / "x", make.rows(takes))))
    frames = [json.loads(one.frame) for one in capture.frames()]
    assert [one["msg"]["market_ticker"] for one in frames] == list(make.MARKETS)


def test_what_decoding_depends_on_is_in_the_opening_record(tmp_path: Path) -> None:
    path = make.write(tmp_path / "day.ndjson", make.wrapped(take_scene()))
    opened = read_recording(path, sparse_seq=True, use_yes_price=True).opened
    assert opened == Opened(
        url="file:day.ndjson", environment="recordings", use_yes_price=True, sparse_seq=True, tickers=make.MARKETS
    )


def test_lines_in_cents_are_known_to_be_legacy(tmp_path: Path) -> None:
    delta = b'{"type":"orderbook_delta","sid":1,"seq":3,"msg":{"market_ticker":"A","price":5,"delta":-3,"side":"yes"}}'
    assert read_recording(make.write(tmp_path / "x", [b'{"recv_ms":1,"event":%s}' % delta])).opened.legacy


def test_a_recording_has_one_identity_however_it_is_packed_and_named(tmp_path: Path) -> None:
    lines = make.wrapped(take_scene())
    ids = {
        only_capture(read_recording(make.write(tmp_path / name, lines))).capture
        for name in ("a.gz", "b.zst", "c.ndjson")
    }
    assert len(ids) == 1
    other = read_recording(make.write(tmp_path / "other", make.wrapped(take_scene(seed=4))))
    assert only_capture(other).capture not in ids


def test_identity_comes_from_the_first_thousand_lines(tmp_path: Path) -> None:
    lines = make.wrapped(take_scene(1_200))
    long, longer, early = (
        only_capture(read_recording(make.write(tmp_path / name, some))).capture
        for name, some in (("a", lines[:1_000]), ("b", lines), ("c", lines[:999]))
    )
    assert long == longer != early


def test_a_recording_is_recognised_under_the_name_it_had_when_shorter(tmp_path: Path) -> None:
    lines = make.wrapped(take_scene(1_200))
    short = read_recording(make.write(tmp_path / "a", lines[:70]))
    whole = read_recording(make.write(tmp_path / "b", lines))
    old = only_capture(short).capture
    assert only_capture(whole.known_as({old})).capture == old
    assert whole.known_as(()) == whole
    assert whole.known_as({old, only_capture(whole).capture}) == whole
    assert short.known_as({only_capture(whole).capture}) == short


def test_alike_beginnings_without_times_are_no_identity(tmp_path: Path) -> None:
    frames = make.verbatim(take_scene())
    assert b"ts_ms" not in b"".join(frames[:4])
    recording = read_recording(make.write(tmp_path / "x", frames))
    assert len(recording.identities) == len(frames) - 4


def test_what_is_damaged_before_its_first_data_is_refused(tmp_path: Path) -> None:
    lines = make.wrapped(take_scene())
    with pytest.raises(RecordingError, match="line 3"):
        read_recording(make.write(tmp_path / "x", [*lines[:2], b"garbage", *lines[2:]]))
    one, two = (read_recording(make.write(tmp_path / "x", make.wrapped(take_scene(seed=seed)))) for seed in (1, 2))
    assert not set(one.identities) & set(two.identities)


def test_captures_can_be_read_in_any_order_and_again(tmp_path: Path) -> None:
    (path,) = (path for path in make.write_all(tmp_path) if path.name.startswith("envelope"))
    first, second = list(read_recording(path).captures())
    late, early, again = list(second.batches()), list(first.batches()), list(second.batches())
    assert late == again
    assert early + late == read(path)


@pytest.mark.parametrize("place", ["first line of data", "head", "far behind"])
def test_a_garbage_line_ends_the_recording_and_is_named(tmp_path: Path, place: str) -> None:
    lines = make.wrapped(take_scene(1_500))
    at = {"first line of data": 3, "head": 500, "far behind": 1_400}[place]
    batches, line = read_until_damage(make.write(tmp_path / "x.gz", [*lines[:at], b'{"recv_ms":1,', *lines[at:]]))
    assert line == at + 1
    assert len(frames_of(batches)) == at
    assert batches[-1].kind is Kind.FRAMES


@pytest.mark.parametrize(
    "line", [b"\x00\xff", b"[]", b"{}", b'{"recv_ms":1,"event":3}', b'{"event":{}}', b'{"recv_ms":"1","event":{}}']
)
def test_lines_of_no_sense_are_damage(tmp_path: Path, line: bytes) -> None:
    lines = make.wrapped(take_scene(10))
    _batches, number = read_until_damage(make.write(tmp_path / "x", [*lines, line]))
    assert number == len(lines) + 1


def test_blank_lines_count_as_lines_of_the_file(tmp_path: Path) -> None:
    lines = make.wrapped(take_scene(10))
    _batches, number = read_until_damage(make.write(tmp_path / "x", [lines[0], b"", b"", lines[1], b"garbage"]))
    assert number == 5


@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello\n", b'{"a":1}\n', b"PAR1 but not really", b"\x1f\x8b\x08"])
def test_what_is_not_a_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="x"):
        read_recording(path)


@pytest.fixture(scope="module")
def packed() -> dict[str, bytes]:
    """One recording in every packing of lines."""
    data = b"".join(line + b"\n" for line in make.wrapped(take_scene()))
    return {
        "plain": data,
        "gzip": gzip.compress(data, mtime=0),
        "zstd": zstandard.compress(data),
        "gzip in two": gzip.compress(data[:9_999], mtime=0) + gzip.compress(data[9_999:], mtime=0),
    }


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["plain", "gzip", "zstd", "gzip in two"]), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_gives_its_whole_lines_and_no_others(
    packed: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, packing: str, share: float
) -> None:
    data = packed[packing]
    takes = take_scene()
    path = tmp_path_factory.mktemp("cut") / "x"
    path.write_bytes(data[: int(len(data) * share)])
    batches, line = read_until_damage(path)
    frames = frames_of(batches)
    assert frames == [take.text for take in takes[: len(frames)]]
    if line is None:  # cut between two lines: nothing shows that there were more
        assert packing in ("plain", "gzip in two")
    elif frames:
        assert line == len(frames) + 1


def test_a_flipped_bit_in_a_packed_file_is_found_before_anything_is_believed(tmp_path: Path) -> None:
    for name in ("a.gz", "b.zst"):
        path = make.write(tmp_path / name, make.wrapped(take_scene()))
        check_sums(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        check_sums(path)  # cut is not flipped
    data = bytearray(gzip.compress(b"".join(make.wrapped(take_scene())), mtime=0))
    data[-6] ^= 1
    (tmp_path / "c.gz").write_bytes(data)
    with pytest.raises(RecordingError, match="check sum"):
        check_sums(tmp_path / "c.gz")


def test_progress_rises_to_the_size_of_the_file(tmp_path: Path) -> None:
    for path in make.write_all(tmp_path, deltas=1_500):
        seen: list[tuple[int, int]] = []
        for capture in read_recording(path).captures():
            seen.clear()
            list(capture.batches(lambda done, total: seen.append((done, total))))  # noqa: B023 - used at once
        size = path.stat().st_size
        assert seen[-1] == (size, size)
        assert all(one <= other for one, other in itertools.pairwise(seen))


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_are_exact_to_the_microsecond(moment: datetime) -> None:
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
    assert parse_time(moment.isoformat()) == exact


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-01T00:00:00")
