"""The text forms of rows, without a database."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.data.store.copy_text import COPY_TARGETS, decimal_text, escaped, json_text, levels_from_json, levels_json
from rlflow.session.rows import InvalidState, ResumeState
from rlflow.units import MAX_COUNT
from tests.rows_by_hand import delta, first, snapshot

levels = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, MAX_COUNT)), max_size=20).map(tuple)


@given(levels)
def test_levels_come_back_exactly(side: tuple[tuple[int, int], ...]) -> None:
    text = levels_json(side)
    assert levels_from_json(text) == side
    found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert found == [[Decimal(price) / 100, Decimal(size) / 100] for price, size in side]


@pytest.mark.parametrize(
    ("hundredths", "text"),
    [
        (4500, "45"),
        (4510, "45.1"),
        (4505, "45.05"),
        (5, "0.05"),
        (0, "0"),
        (-350, "-3.5"),
        (MAX_COUNT, "90071992547409.91"),
    ],
)
def test_numbers_are_as_short_as_they_are_exact(hundredths: int, text: str) -> None:
    assert decimal_text(hundredths) == text


@pytest.mark.parametrize(
    ("raw", "text"), [("a\\N", "a\\\\N"), ("a\tb\nc\rd", "a\\tb\\nc\\rd"), ("a\x00", "a\ufffd"), ("é", "é")]
)
def test_text_that_copy_would_misread_is_escaped(raw: str, text: str) -> None:
    assert escaped(raw) == text


@given(st.text(st.sampled_from('a\x00\\u0"')))
def test_json_for_postgresql_has_no_nul_and_is_else_the_same(cause: str) -> None:
    text = json_text(ResumeState(invalid=(InvalidState("T", cause),)))
    assert json.loads(text)["invalid"][0]["cause"] == cause.replace("\x00", "\ufffd")


def test_a_line_has_a_field_for_every_column() -> None:
    rows = first()
    rows.deltas.append(delta(3, "no", 5500, 5, None, sending_ts_ms=None, clock=None, timestamp_ms=None))
    rows.snapshots.append(snapshot(2, no_bids=()))
    for target in COPY_TARGETS:
        columns = target.statement.partition(b"(")[2].partition(b")")[0].count(b",") + 1
        lines = "".join(target.blocks([rows], [7])).splitlines()
        assert len(lines) == len(getattr(rows, target.rows))
        assert all(line.count("\t") == columns - 1 for line in lines)
        assert all(line.startswith("7\t") for line in lines)


def test_many_rows_are_formatted_in_blocks() -> None:
    rows = first()
    rows.deltas.extend(delta(number, "yes", 4200, 1) for number in range(3, 1_502))
    deltas = next(target for target in COPY_TARGETS if target.rows == "deltas")
    blocks = list(deltas.blocks([rows, rows], [1, 2]))
    assert [block.count("\n") for block in blocks] == [512, 512, 476] * 2
