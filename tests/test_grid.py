"""Price grids: the structures of protocol 4.6, prices on and off them, and ranges that make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.exchange.matching.grid import Band, Grid, named_grid
from rlflow.units import ONE_DOLLAR, complement

NAMES = (
    "linear_cent",
    "deci_cent",
    "tapered_deci_cent",
    "center_whole_edge_deci_cent",
    "center_half_edge_quint_cent",
    "center_quint_edge_deci_cent",
    "center_deci_edge_centi_cent",
    "center_centi_edge_centi_cent",
)
grids = st.sampled_from(NAMES).map(named_grid)


@pytest.mark.parametrize(
    ("structure", "on", "off"),
    [
        ("linear_cent", (100, 5_000, 9_900), (0, 10, 5_050, 9_950, 10_000)),
        ("deci_cent", (10, 5_010, 9_990), (0, 5, 5_005, 10_000)),
        ("tapered_deci_cent", (10, 990, 1_000, 1_100, 9_000, 9_010, 9_990), (1_010, 8_990, 5)),
        ("center_half_edge_quint_cent", (20, 980, 1_000, 1_050, 9_020), (10, 1_020, 9_010)),
        ("center_deci_edge_centi_cent", (1, 99, 100, 110, 9_900, 9_901), (101, 105, 9_899)),
        ("center_centi_edge_centi_cent", (1, 5_001, 9_999), (0, 10_000)),
    ],
)
def test_a_named_structure_allows_its_prices(structure: str, on: tuple[int, ...], off: tuple[int, ...]) -> None:
    grid = named_grid(structure)
    assert [grid.allows(price) for price in on] == [True] * len(on)
    assert [grid.allows(price) for price in off] == [False] * len(off)


@given(grid=grids, price=st.integers(-500, ONE_DOLLAR - 1))
def test_the_floor_of_a_price_is_the_nearest_allowed_one_below(grid: Grid, price: int) -> None:
    floor = grid.floor(price)
    assert grid.allows(floor)
    assert floor <= price or floor == grid.lowest
    assert not any(grid.allows(between) for between in range(max(floor, 0) + 1, price + 1))


@given(grid=grids, price=st.integers(1, ONE_DOLLAR - 1))
def test_both_sides_have_the_same_prices(grid: Grid, price: int) -> None:
    assert grid.allows(price) == grid.allows(complement(price))


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_survives_its_ranges(name: str) -> None:
    grid = named_grid(name)
    assert Grid.from_ranges(grid.ranges(), name) == grid


def test_ranges_are_written_as_the_venue_writes_them() -> None:
    assert named_grid("tapered_deci_cent").ranges() == [
        {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
        {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
        {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
    ]


@pytest.mark.parametrize(
    "bands",
    [
        (),
        (Band(0, 9_000, 100),),
        (Band(100, 10_000, 100),),
        (Band(0, 5_000, 100), Band(5_100, 10_000, 100)),
        (Band(0, 10_000, 0),),
        (Band(0, 10_000, 300),),
    ],
)
def test_ranges_with_holes_or_steps_that_do_not_fit_are_refused(bands: tuple[Band, ...]) -> None:
    with pytest.raises(ValueError, match="price ranges"):
        Grid(bands)


@pytest.mark.parametrize("name", ["", "banded_centi_cent", "center_whole_edge_milli_cent", "whole"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="structure"):
        named_grid(name)
