"""Which prices a market's `price_ranges` allow (protocol 4.6). Pure."""

import functools
from collections.abc import Iterable
from typing import Final

from rlflow.kalshi.sheets import PriceRange
from rlflow.units import Price, complement

# A market's ranges are one of some dozen that the venue has; the finest set takes half a megabyte.
_GRIDS: Final = 16


@functools.lru_cache(_GRIDS)
def allowed_prices(ranges: tuple[PriceRange, ...]) -> frozenset[Price]:
    """Return every YES price of a grid; where two ranges touch, the price is in both."""
    return frozenset(price for band in ranges for price in range(band.start, band.end + 1, band.step))


def off_grid(yes_bids: Iterable[Price], no_bids: Iterable[Price], ranges: tuple[PriceRange, ...]) -> frozenset[Price]:
    """Return the YES prices of a book's bids that its grid does not allow; a NO bid stands at its complement.

    Without ranges nothing is known, and every price is allowed. O(levels).
    """
    if not ranges:
        return frozenset()
    return frozenset({*yes_bids, *map(complement, no_bids)}) - allowed_prices(ranges)
