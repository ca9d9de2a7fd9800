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
    [(0, 0, 26), (1, 1, 12), (2, 2, 11), (3, 5, 22), (6, 10, 9), (11, 20, 4), (21, 40, 6), (41, 60, 10)]
)
QUOTED_BEHIND = _spread([(0, 0, 20), (1, 1, 20), (2, 2, 15), (3, 5, 17), (6, 10, 20), (11, 20, 2), (21, 40, 6)])
# By how much a quote moves.
STEPS = _spread([(1, 1, 42), (2, 2, 17), (3, 3, 8), (4, 6, 15), (7, 9, 15), (10, 20, 3)])

# At the lowest prices, where they cost next to nothing.
FLOOR_SIZES = _counts(100, 150, 150, 200, 270, 480)
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
QUOTE_SIZES = _counts(5, 10, 10, 10, 10, 15, 24, 25, 34, 65, 100, 100, 100, 100)
RESIZED_SIZES = _counts(8, 12, 15, 18, 21, 25, 28, 31, 33, 37, 42, 47, 53, 60, 66, 72, 80, 88, 100, 118, 141, 179, 275)
# Of the orders that are there from the start and for good.
STANDING_SIZES = _counts(10, 20, 50, 50, 50, 50, 50, 50, 50, 50.1, 55, 79, 100, 100, 150, 270, 480, 1000)
# Of orders that trade at once.
TAKER_SIZES = _counts(0.1, 1, 2.7, 5, 7.3, 10, 10, 10, 12.5, 15, 20, 26, 30, 40, 50, 65, 80, 100, 200, 500)


def _lives(*ms: float) -> tuple[Nanos, ...]:
    return tuple(round(life * _MS) for life in ms)


FLICKER_LIVES = _lives(9, 9, 11, 16, 21, 50, 81, 86, 90, 95, 99, 100, 101, 140, 177, 500, 899, 1_600, 2_900, 7_000)
PLAIN_LIVES = _lives(
    5, 7, 11, 25, 40, 50, 60, 72, 100, 150, 200, 260, 330, 400, 500, 650, 850, 1_100, 1_700, 2_800, 30_000
)
FAR_LIVES = _lives(5, 6, 7, 8, 10, 12, 15, 20, 25, 32, 41, 55, 71, 110, 169, 260, 377, 744, 2_400, 20_000)
MID_LIVES = _lives(5, 5, 6, 7, 9, 12, 16, 20, 30, 41, 50, 60, 90, 130, 200, 300, 500, 900, 1_800, 4_000)
# Of sizes from here on.
BLOCK: Count = 200_00
BLOCK_LIVES = _lives(5, 15, 40, 100, 200, 380, 530, 750, 1_000, 1_400, 2_000, 3_600)
# How long quotes stay where they are.
NEAR_STAYS = _lives(4, 5, 5, 6, 8, 12, 20, 45, 90, 140, 200, 280, 380, 500, 650, 900, 1_300, 1_900, 3_000, 6_000)
FAR_STAYS = _lives(4, 5, 5, 6, 6, 7, 9, 10, 12, 19, 35, 55, 99, 133, 204, 300, 450, 700, 1_200, 2_400)
