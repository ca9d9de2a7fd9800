"""The journal's bytes: whole records are found in any damage, and nothing else is."""

from uuid import UUID

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlflow.data.journal.format import (
    RECORD_MARKER,
    STORE_ID_ROOM,
    SegmentHeader,
    decode_header,
    encode_header,
    encode_record,
    find_header_size,
    header_length,
    read_batch,
    whole_records,
)
from rlflow.errors import StoreError
from rlflow.session.records import Batch, Kind

texts = st.binary(max_size=40)
# A record inside a frame, complete but for the position it would have to name.
forged = st.builds(
    lambda text, offset: encode_record(Batch(Kind.FRAMES, UUID(int=9), 1, 1, (text,)), offset),
    texts,
    st.integers(2**63, 2**64 - 1),
)
frame_lists = st.lists(texts | forged | st.just(RECORD_MARKER), max_size=4).map(tuple)
batches = st.builds(
    Batch,
    st.sampled_from(Kind),
    st.integers(0, 3).map(lambda n: UUID(int=n)),
    st.integers(0, 2**63),
    st.integers(-(2**63), 2**63 - 1),
    frame_lists,
)
headers = st.builds(
    SegmentHeader,
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.dictionaries(st.integers(0, 2**128 - 1).map(lambda n: UUID(int=n)), st.integers(0, 2**40), max_size=5),
    st.text("abc-123", max_size=STORE_ID_ROOM),
)


@attrs.frozen
class Built:
    """A segment's bytes, and for each batch, as it should be read, where it lies in them."""

    data: bytes
    header_size: int
    batches: tuple[tuple[Batch, slice], ...]

    def untouched_in(self, damaged: bytes) -> list[Batch]:
        return [batch for batch, place in self.batches if damaged[place] == self.data[place]]


def build(header: SegmentHeader, content: list[Batch]) -> Built:
    data = encode_header(header)
    header_size, position, placed = len(data), header.base, []
    for batch in content:
        record = encode_record(batch, position)
        read = attrs.evolve(batch, start=position, end=position + len(record))
        placed.append((read, slice(len(data), len(data) + len(record))))
        data, position = data + record, position + len(record)
    return Built(data, header_size, tuple(placed))


def read_whole(data: bytes, header_size: int, base: int) -> list[Batch]:
    return [read_batch(data, at, head) for at, head in whole_records(data, header_size, base)]


segments = st.builds(build, headers, st.lists(batches, max_size=5))
flips = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))


@given(segments)
def test_what_was_written_is_read(built: Built) -> None:
    header = decode_header(built.data)
    assert header is not None
    assert header_length(built.data) == built.header_size
    assert read_whole(built.data, built.header_size, header.base) == [batch for batch, _ in built.batches]


@given(headers)
def test_a_header_is_read_as_written_and_its_size_does_not_depend_on_the_store(header: SegmentHeader) -> None:
    encoded = encode_header(header)
    assert decode_header(encoded + b"records") == header
    unbound = SegmentHeader(header.base, header.created_ns, header.open_captures)
    assert len(encode_header(unbound)) == len(encoded)


@given(segments, st.floats(0, 1))
def test_a_segment_cut_anywhere_yields_its_whole_records_and_no_others(built: Built, where: float) -> None:
    cut = built.data[: built.header_size + int(where * (len(built.data) - built.header_size))]
    header = decode_header(built.data)
    assert header is not None
    expected = [batch for batch, place in built.batches if place.stop <= len(cut)]
    assert read_whole(cut, built.header_size, header.base) == expected


@given(segments, st.lists(flips, min_size=1, max_size=3))
def test_a_segment_flipped_anywhere_yields_its_whole_records_and_no_others(
    built: Built, changes: list[tuple[float, int]]
) -> None:
    damaged = bytearray(built.data)
    for where, change in changes:
        damaged[int(where * len(damaged))] ^= change
    header = decode_header(built.data)
    assert header is not None
    assert read_whole(bytes(damaged), built.header_size, header.base) == built.untouched_in(bytes(damaged))


@given(segments, st.floats(0, 1), st.floats(0, 1))
def test_a_segment_with_a_lost_page_yields_its_whole_records_and_no_others(
    built: Built, one: float, two: float
) -> None:
    begin, end = sorted(int(where * len(built.data)) for where in (one, two))
    damaged = built.data[:begin] + bytes(end - begin) + built.data[end:]
    header = decode_header(built.data)
    assert header is not None
    assert read_whole(damaged, built.header_size, header.base) == built.untouched_in(damaged)


@given(headers, st.lists(batches, min_size=1, max_size=3), flips)
@example(SegmentHeader(0, 0, {}), [Batch(Kind.FRAMES, UUID(int=1), 1, 1, (b"x",))], (0.0, 1))
def test_a_damaged_header_is_refused_and_the_records_are_found_without_it(
    header: SegmentHeader, content: list[Batch], flip: tuple[float, int]
) -> None:
    built = build(header, content)
    damaged = bytearray(built.data)
    damaged[int(flip[0] * built.header_size)] ^= flip[1]
    assert decode_header(bytes(damaged)) is None
    assert find_header_size(bytes(damaged), header.base) == built.header_size


def test_a_header_without_records_behind_it_has_no_findable_size() -> None:
    assert find_header_size(b"\0" * 100, 0) == -1
    assert find_header_size(RECORD_MARKER + b"\0" * 100, 0) == -1


def test_another_formats_version_is_refused() -> None:
    with pytest.raises(StoreError, match="format 2, this rlflow knows format 1"):
        decode_header(encode_header(SegmentHeader(0, 0, {}, version=2)))


@pytest.mark.parametrize("store_id", ["x" * (STORE_ID_ROOM + 1), 'a"b', "ü", "a b"])
def test_a_store_id_that_would_not_fit_is_refused(store_id: str) -> None:
    with pytest.raises(ValueError, match="not a store id"):
        encode_header(SegmentHeader(0, 0, {}, store_id))
