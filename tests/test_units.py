from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.units import (
    MAX_COUNT,
    ONE_DOLLAR,
    complement,
    format_count,
    format_price,
    hundredths,
    parse_count,
    parse_price,
)


@given(st.integers(0, ONE_DOLLAR))
def test_a_price_survives_its_text(price: int) -> None:
    assert parse_price(format_price(price)) == price
    assert Decimal(format_price(price)) * 10_000 == price


@given(st.integers(-MAX_COUNT, MAX_COUNT))
def test_a_count_survives_its_text(count: int) -> None:
    assert parse_count(format_count(count)) == count


@given(st.integers(0, 10**15))
def test_hundredths_are_exact_as_json(value: int) -> None:
    assert Decimal(repr(hundredths(value))) * 100 == value


@pytest.mark.parametrize(("text", "price"), [("0.29", 2900), ("0.2900", 2900), ("1", 10_000), ("0.290000", 2900)])
def test_short_and_long_forms_are_the_same_price(text: str, price: int) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize("text", ["", "0.29001", "1.0001", "-0.01", "nan", "1e-2", " 0.1", "0.1\n", "٠.١", ".5", "0,1"])
def test_what_is_not_exactly_a_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price|decimal|finer"):
        parse_price(text)


@pytest.mark.parametrize("text", ["", "1.005", "90071992547410.00", "--1", "1_000", "99999999999999999"])
def test_what_is_not_exactly_a_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"count|decimal|finer"):
        parse_count(text)


@given(st.integers(0, ONE_DOLLAR))
def test_the_complement_of_a_complement_is_the_price(price: int) -> None:
    assert complement(complement(price)) == price
