"""What the simulated crowd does, as tables whose entries are equally likely: sizes, distances, lifetimes.

They are quantiles of 441,666 messages of a 15-minute series recorded in August 2026, in which nine of ten reductions
take away exactly one earlier order. So the recorded flow is three kinds of orders: flicker of a tenth of a contract,
orders that are placed and cancelled, and quotes that stay for good and are moved again and again.
"""

from collections.abc import Sequence

from rlflow.units import ONE_CONTRACT, Count, Nanos

_MS: Nanos = 1_000_000


def _counts(*contracts: float) -> tuple[Count, ...]:
    return tuple(round(size * ONE_CONTRACT) for size in contracts)


def _spread(shares: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
    """Return a table with so many entries (the third) between two values, both included."""
    return tuple(
        first + (last - first + 1) * number // entries for first, last, entries in shares for number in range(entries)
    )


# Cents behind the best possible bid.
NEAR, MID = 3, 10
PLACED_BEHIND = _spread(
    [(0, 0, 27), (1, 1, 17), (2, 2, 11), (3, 3, 3), (4, 5, 9), (6, 10, 12), (11, 20, 3), (21, 40, 6), (41, 60, 11)]
)
QUOTED_BEHIND = _spread([(0, 0, 29), (1, 1, 20), (2, 2, 7), (3, 5, 9), (6, 10, 27), (11, 20, 1), (21, 40, 6)])
# By how much a quote moves.
STEPS = _spread([(1, 1, 42), (2, 2, 17), (3, 3, 8), (4, 6, 15), (7, 9, 15), (10, 20, 3)])

# At the lowest prices, where they cost next to nothing.
FLOOR_SIZES = _counts(50, 100, 100, 150, 200, 270)
FLICKER: Count = 10
# Of plain orders, by how far behind they stand; flicker apart.
NEAR_SIZES = _counts(
    1,
    1,
    2,
    5,
    6,
    10,
    10,
    10,
    15,
    15.67,
    20,
    22,
    25,
    25,
    30,
    33,
    40,
    40,
    40,
    47,
    50,
    78,
    100,
    200,
    400,
    400,
    2000,
    2000,
    2000,
    2000,
)
MID_SIZES = _counts(5, 10, 10, 10, 10, 10, 10, 13, 15, 17, 22, 25, 30, 34, 40, 40, 52.5, 83, 200, 2000)
FAR_SIZES = _counts(7.2, 15, 27, 29, 30, 30, 33, 33, 35, 36, 39, 39, 40, 44, 50, 54, 55, 83, 83, 100)
# Of quotes that keep their size when they move, and of those that do not.
QUOTE_SIZES = _counts(5, 10, 10, 10, 15, 24, 25, 34, 65, 100, 100, 100, 100)
RESIZED_SIZES = _counts(8, 12, 15, 18, 21, 25, 28, 31, 33, 37, 42, 47, 53, 60, 66, 72, 80, 88, 100, 118, 141, 179, 275)
# Of the orders that are there from the start and for good.
STANDING_SIZES = _counts(10, 20, 50, 50, 50, 50, 50, 50, 50, 50.1, 55, 79, 100, 100, 150, 250, 400, 1000)
# Of orders that trade at once.
TAKER_SIZES = _counts(0.1, 0.1, 1, 2.7, 4, 7.3, 10, 10, 12.5, 15, 20, 26, 30, 40, 50, 65, 80, 100, 200, 500)


def _lives(*ms: float) -> tuple[Nanos, ...]:
    return tuple(round(life * _MS) for life in ms)


FLICKER_LIVES = _lives(9, 9, 11, 16, 21, 50, 81, 86, 90, 95, 99, 100, 101, 140, 177, 500, 899, 1_600, 2_900, 7_000)
PLAIN_LIVES = _lives(
    5, 7, 11, 25, 50, 70, 95, 130, 180, 220, 260, 300, 350, 420, 500, 620, 780, 850, 1_100, 1_600, 65_000
)
FAR_LIVES = _lives(5, 6, 7, 8, 10, 13, 20, 30, 40, 50, 60, 70, 85, 110, 170, 260, 360, 650, 1_500, 65_000)
MID_LIVES = _lives(5, 5, 6, 8, 10, 14, 20, 30, 50, 70, 90, 110, 140, 180, 240, 350, 550, 850, 1_500, 3_000)
# Of sizes from here on.
BLOCK: Count = 200_00
BLOCK_LIVES = _lives(5, 20, 60, 160, 330, 550, 750, 1_000, 1_400, 1_900, 2_700, 5_000)
# How long quotes stay where they are.
NEAR_STAYS = _lives(4, 5, 5, 6, 8, 12, 25, 60, 100, 150, 210, 290, 390, 500, 650, 900, 1_200, 1_500, 2_000, 3_000)
FAR_STAYS = _lives(4, 5, 5, 6, 6, 7, 9, 10, 12, 19, 35, 55, 99, 133, 204, 300, 450, 650, 1_000, 1_800)
