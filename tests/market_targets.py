"""The figures of one busy market's recorded stream, which the simulated one is to have.

39 windows of a quarter of an hour of the series KXGOLD15M, August 2026, production, tick of one cent: 2,144,497 deltas,
52,985 trades. Ten of the windows lie beside the project; their own figures differ, for they are calmer (51 deltas a
second in place of 65).
"""

from collections.abc import Sequence

import attrs

FACTOR = 1.5
"""So far off a simulated figure may be."""


@attrs.frozen
class Target:
    """One recorded figure."""

    name: str
    recorded: float
    resolution: float = 0.0
    """A difference of so much is none: what is counted in whole ms or deltas may be one of them off."""

    def is_met(self, measured: float) -> bool:
        """Return whether a figure is near enough."""
        if abs(measured - self.recorded) <= self.resolution:
            return True
        return self.recorded / FACTOR <= measured <= self.recorded * FACTOR


def _quantiles(
    name: str, percents: Sequence[float], values: Sequence[float], resolution: float = 0.0
) -> tuple[Target, ...]:
    pairs = zip(percents, values, strict=True)
    return tuple(Target(f"{name}, {percent:g} %", value, resolution) for percent, value in pairs)


def _shares(name: str, **shares: float) -> tuple[Target, ...]:
    return tuple(Target(f"{name}: {kind.replace('_', ' ')}, %", share) for kind, share in shares.items())


def _behind(**shares: float) -> tuple[Target, ...]:
    return tuple(Target(f"behind the best: {cents.lstrip('to_')}, %", share) for cents, share in shares.items())


TARGETS: tuple[Target, ...] = (
    Target("deltas/s, mean", 65.2),
    Target("deltas/s, variance / mean", 119),
    Target("seconds without a delta, %", 6.0),
    *_quantiles("deltas/s", (10, 25, 50, 75, 90, 95, 99, 99.9, 100), (2, 10, 37, 88, 157, 214, 439, 833, 1_042), 1),
    Target("100 ms without a delta, %", 44),
    *_quantiles("deltas/100 ms", (50, 75, 90, 95, 99, 99.9, 100), (1, 7, 20, 32, 65, 110, 223), 1),
    *_quantiles("gap, ms", (25, 50, 75, 90, 95, 99, 99.9), (0, 1, 5, 24, 58, 292, 1_034), 1),
    *_shares("action", add=34.5, reduce=33.8, reprice=20.1, other_two=11.2, three_or_more=0.4),
    *_shares("level", new=14.7, add=34.8, reduce=35.9, removed=14.7),
    *_behind(improves=2.8, to_0=18.8, to_1=13.3, to_2=11.4, to_5=22.6, to_10=18.0, to_20=4.7, more=8.4),
    *_quantiles("delta, contracts", (5, 25, 50, 75, 90, 95, 99, 99.9), (0.1, 10, 26, 59, 100, 400, 2_000, 2_000)),
    Target("delta, contracts, mean", 123),
    Target("delta, fractional, %", 16.4),
    *_quantiles("level lifetime, ms", (25, 50, 75, 90, 95, 99), (10, 80, 580, 2_620, 5_940, 31_210)),
    Target("trades/s", 1.5),
    *_quantiles("trade, contracts", (5, 25, 50, 75, 95, 99), (0.1, 2.7, 10, 26, 100, 378)),
    Target("trade, contracts, mean", 30.4),
    *_quantiles("trade gap, ms", (25, 50, 75, 90, 99), (0, 34, 734, 1_841, 5_579), 1),
    *_quantiles("levels of a side", (5, 25, 50, 75, 95, 100), (2, 16, 23, 35, 48, 62)),
    *_quantiles("spread, cents", (25, 50, 75, 95, 99), (1, 1, 2, 4, 8)),
    *_quantiles("at the best, contracts", (5, 25, 50, 75, 95), (1, 40, 124, 525, 2_318), 1),
    *_quantiles("side depth, contracts", (5, 25, 50, 75, 95), (967, 3_103, 4_359, 5_551, 8_537)),
    *(Target(f"median {n} c behind", size, 1) for n, size in enumerate((124, 63, 44, 40, 15, 8, 1))),
    Target("mid moves, % of seconds", 42),
    *_quantiles("mid move in 1 s, cents", (75, 90, 99), (0.5, 2, 6)),
    Target("one-sided, % of seconds", 5.6),
)
