"""The prices that a market allows: bands of equal steps, as the venue's `price_ranges` give them (protocol 4.6)."""

import functools
from collections.abc import Iterable, Mapping

import attrs

from rlflow.units import ONE_DOLLAR, Price, format_price, parse_price

_STEPS: Mapping[str, Price] = {"whole": 100, "half": 50, "quint": 20, "deci": 10, "centi": 1}
_TAIL: Price = 1_000
"""Where the outer bands of most structures end, and its complement."""
_COMBO_TAIL: Price = 100


@attrs.frozen
class Band:
    """Prices from `start` to `end`, both allowed, `step` apart."""

    start: Price
    end: Price
    step: Price


@attrs.frozen
class Grid:
    """The bands of a market, ascending and touching, from 0 to 1 dollar; a price where two touch is valid.

    NO prices are complements of YES prices; all structures of the venue look the same from both sides, and so must the
    bands given here. Building one costs some milliseconds: share it between markets.
    """

    bands: tuple[Band, ...]
    structure: str = ""
    """`price_level_structure`; the bands decide."""
    lowest: Price = attrs.field(init=False, repr=False, eq=False)
    """The lowest price of an order."""
    _floors: tuple[Price, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        edges = [0, *(band.end for band in self.bands)]
        for band, edge in zip(self.bands, edges, strict=False):
            if band.start != edge or band.step < 1 or band.end <= band.start or (band.end - band.start) % band.step:
                raise ValueError(f"price ranges do not join or a step does not fit: {self.bands}")
        if edges[-1] != ONE_DOLLAR:
            raise ValueError(f"price ranges end at {format_price(edges[-1])}, not at a dollar")
        object.__setattr__(self, "lowest", self.bands[0].step)
        object.__setattr__(self, "_floors", self._table())

    def _table(self) -> tuple[Price, ...]:
        inner = [
            price - (price - band.start) % band.step for band in self.bands for price in range(band.start, band.end)
        ]
        return (*(max(price, self.lowest) for price in inner), ONE_DOLLAR)

    def allows(self, price: Price) -> bool:
        """Return whether an order may have the price; 0 and a dollar are never allowed."""
        return 0 < price < ONE_DOLLAR and self._floors[price] == price

    def floor(self, price: Price) -> Price:
        """Return the nearest price at or below that the market allows, at least its lowest one."""
        return self._floors[price] if price > 0 else self.lowest

    def ranges(self) -> list[dict[str, str]]:
        """Return `price_ranges` as the venue writes them."""
        return [
            {"start": format_price(band.start), "end": format_price(band.end), "step": format_price(band.step)}
            for band in self.bands
        ]

    @classmethod
    def from_ranges(cls, ranges: Iterable[Mapping[str, str]], structure: str = "") -> "Grid":
        """Return the grid of the venue's `price_ranges`; ValueError if they leave a hole or are no prices."""
        bands = (Band(*(parse_price(item[key]) for key in ("start", "end", "step"))) for item in ranges)
        return cls(tuple(bands), structure)


@functools.cache
def named_grid(structure: str) -> Grid:
    """Return the grid of a `price_level_structure`; ValueError for a name that needs its ranges read."""
    match structure.split("_"):
        case ["linear", "cent"]:
            return _uniform(structure, "whole")
        case ["deci", "cent"]:
            return _uniform(structure, "deci")
        case ["tapered", "deci", "cent"]:
            return _tapered(structure, "whole", "deci", _TAIL)
        case ["center", "deci", "edge", "centi", "cent"]:
            return _tapered(structure, "deci", "centi", _COMBO_TAIL)
        case ["center", center, "edge", edge, "cent"] if center in _STEPS and edge in _STEPS:
            return _uniform(structure, center) if center == edge else _tapered(structure, center, edge, _TAIL)
    raise ValueError(f"no price level structure of that name: {structure!r}")


def _uniform(structure: str, step: str) -> Grid:
    return Grid((Band(0, ONE_DOLLAR, _STEPS[step]),), structure)


def _tapered(structure: str, center: str, edge: str, tail: Price) -> Grid:
    fine = _STEPS[edge]
    middle = Band(tail, ONE_DOLLAR - tail, _STEPS[center])
    return Grid((Band(0, tail, fine), middle, Band(ONE_DOLLAR - tail, ONE_DOLLAR, fine)), structure)
