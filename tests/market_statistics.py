"""What a market's stream is like, in figures: one measure for recorded streams and for simulated ones.

A stream is an opening book and groups of happenings, a group being what one action of the engine made: in a recording
the deltas with one `ts` (microseconds), in the simulation what one call of `OrderFlow.act` returned. The figures bear
the names of `tests.market_targets`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import attrs

from rlflow.exchange.matching.happenings import Change, Deal, Happening
from rlflow.units import ONE_CONTRACT, ONE_DOLLAR, PRICE_PER_CENT, Count, Price, Side

DISTANCES = (0, 1, 2, 5, 10, 20)
"""Cents behind the best; nearer than the first is an improvement."""
PROFILE = tuple(range(7))
"""Cents behind the best at which the median size is taken; further out it is 0 or 1 in the recordings."""
_SECOND_MS, _TENTH_MS = 1_000, 100


@attrs.frozen
class Group:
    """What happened at once."""

    at_us: int
    happenings: Sequence[Happening]


@attrs.frozen
class Stream:
    """An unbroken piece of one market's life."""

    opened_us: int
    levels: Mapping[Side, Mapping[Price, Count]]
    """The book before the first group."""
    groups: Iterable[Group]


@attrs.define
class Samples:
    """Everything that is counted, over any number of streams."""

    per_second: list[int] = attrs.field(factory=list)
    per_tenth: list[int] = attrs.field(factory=list)
    gaps_ms: list[int] = attrs.field(factory=list)
    sizes: list[Count] = attrs.field(factory=list)
    effects: Counter[str] = attrs.field(factory=Counter)
    distances: Counter[str] = attrs.field(factory=Counter)
    kinds: Counter[str] = attrs.field(factory=Counter)
    lifetimes_ms: list[int] = attrs.field(factory=list)
    trade_sizes: list[Count] = attrs.field(factory=list)
    trade_gaps_ms: list[int] = attrs.field(factory=list)
    levels: list[int] = attrs.field(factory=list)
    spreads: list[Price] = attrs.field(factory=list)
    best_sizes: list[Count] = attrs.field(factory=list)
    depths: list[Count] = attrs.field(factory=list)
    mid_moves: list[float] = attrs.field(factory=list)
    profile: dict[int, list[Count]] = attrs.field(factory=lambda: {cents: [] for cents in PROFILE})
    one_sided: int = 0
    seconds: int = 0

    def observe(self, stream: Stream) -> None:
        """Replay a stream and add what it shows; about 3 microseconds a delta."""
        book = _Book(stream, self)
        times_ms: list[int] = []
        trades_ms: list[int] = []
        for group in stream.groups:
            at_ms = group.at_us // 1_000
            book.sample_until(at_ms)
            changes = [happening for happening in group.happenings if isinstance(happening, Change)]
            deals = [happening for happening in group.happenings if isinstance(happening, Deal)]
            for change in changes:
                book.change(change, at_ms)
            if changes:
                self.kinds[kind_of(changes)] += 1
            times_ms += [at_ms] * len(changes)
            trades_ms += [at_ms] * len(deals)
            self.trade_sizes += [deal.count for deal in deals]
        self.gaps_ms += [later - earlier for earlier, later in pairwise(times_ms)]
        self.trade_gaps_ms += [later - earlier for earlier, later in pairwise(trades_ms)]
        if times_ms:
            self.per_second += _counts(times_ms, _SECOND_MS)
            self.per_tenth += _counts(times_ms, _TENTH_MS)


def kind_of(changes: Sequence[Change]) -> str:
    """Return what one action was, by its changes alone."""
    if len(changes) == 1:
        return "add" if changes[0].delta > 0 else "reduce"
    if len(changes) > 2:
        return "three or more"
    first, second = changes
    is_moved = first.side == second.side and first.delta == -second.delta
    return "reprice" if is_moved else "other two"


def _counts(times_ms: Sequence[int], width_ms: int) -> list[int]:
    """Return how many there are in each interval, without the first and the last, which are cut."""
    found = Counter(at_ms // width_ms for at_ms in times_ms)
    return [found[number] for number in range(min(found) + 1, max(found))]


class _Book:
    """The book of the stream that is being observed."""

    def __init__(self, stream: Stream, samples: Samples) -> None:
        self._samples = samples
        self._sides = {side: dict(levels) for side, levels in stream.levels.items()}
        self._best = {side: max(levels, default=0) for side, levels in self._sides.items()}
        self._born_ms: dict[tuple[Side, Price], int] = {}
        self._next_second = stream.opened_us // 1_000_000 + 1
        self._last_mid: float | None = None

    def change(self, change: Change, at_ms: int) -> None:
        """Apply one delta and say what it did to its level, and where."""
        samples, levels, price = self._samples, self._sides[change.side], change.price
        best = self._best[change.side]
        samples.distances[_distance(best - price)] += 1
        samples.sizes.append(abs(change.delta))
        old = levels.get(price, 0)
        new = old + change.delta
        assert new >= 0, f"{old} {change.delta:+} at {price}"
        if new:
            levels[price] = new
            samples.effects["add" if change.delta > 0 else "reduce"] += old > 0
            if old == 0:
                samples.effects["new"] += 1
                self._born_ms[change.side, price] = at_ms
                self._best[change.side] = max(best, price)
            return
        del levels[price]
        samples.effects["removed"] += 1
        born_ms = self._born_ms.pop((change.side, price), None)
        if born_ms is not None:
            samples.lifetimes_ms.append(at_ms - born_ms)
        if price == best:
            self._best[change.side] = max(levels, default=0)

    def sample_until(self, at_ms: int) -> None:
        """Look at the book at each whole second that has passed."""
        while self._next_second * 1_000 <= at_ms:
            self._next_second += 1
            self._sample()

    def _sample(self) -> None:
        samples = self._samples
        samples.seconds += 1
        samples.levels += [len(levels) for levels in self._sides.values()]
        yes, no = self._best["yes"], self._best["no"]
        if not yes or not no:
            samples.one_sided += 1
            self._last_mid = None
            return
        samples.spreads.append(ONE_DOLLAR - yes - no)
        for side, levels in self._sides.items():
            samples.best_sizes.append(levels[self._best[side]])
            samples.depths.append(sum(levels.values()))
            for cents in PROFILE:
                samples.profile[cents].append(levels.get(self._best[side] - cents * PRICE_PER_CENT, 0))
        mid = (yes + ONE_DOLLAR - no) / 2
        if self._last_mid is not None:
            samples.mid_moves.append(abs(mid - self._last_mid))
        self._last_mid = mid


def _distance(behind: Price) -> str:
    cents = behind / PRICE_PER_CENT
    if cents < 0:
        return "improves"
    for limit in DISTANCES:
        if cents <= limit:
            return f"{limit}"
    return "more"


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(samples: Samples) -> dict[str, float]:
    """Return all figures by name; sizes in contracts, prices in cents, times in ms, shares in percent."""
    contracts, cents = 1 / ONE_CONTRACT, 1 / PRICE_PER_CENT
    mean = sum(samples.per_second) / len(samples.per_second)
    variance = sum((count - mean) ** 2 for count in samples.per_second) / len(samples.per_second)
    fractional = sum(size % ONE_CONTRACT > 0 for size in samples.sizes) / len(samples.sizes)
    return {
        "deltas/s, mean": mean,
        "deltas/s, variance / mean": variance / mean,
        "seconds without a delta, %": 100 * samples.per_second.count(0) / len(samples.per_second),
        **_quantiles("deltas/s", samples.per_second, (10, 25, 50, 75, 90, 95, 99, 99.9, 100)),
        "100 ms without a delta, %": 100 * samples.per_tenth.count(0) / len(samples.per_tenth),
        **_quantiles("deltas/100 ms", samples.per_tenth, (50, 75, 90, 95, 99, 99.9, 100)),
        **_quantiles("gap, ms", samples.gaps_ms, (25, 50, 75, 90, 95, 99, 99.9)),
        **_shares("action", samples.kinds),
        **_shares("level", samples.effects),
        **_shares("behind the best", samples.distances),
        **_quantiles("delta, contracts", samples.sizes, (5, 25, 50, 75, 90, 95, 99, 99.9), contracts),
        "delta, contracts, mean": sum(samples.sizes) * contracts / len(samples.sizes),
        "delta, fractional, %": 100 * fractional,
        **_quantiles("level lifetime, ms", samples.lifetimes_ms, (25, 50, 75, 90, 95, 99)),
        "trades/s": len(samples.trade_sizes) / max(samples.seconds, 1),
        **_quantiles("trade, contracts", samples.trade_sizes, (5, 25, 50, 75, 95, 99), contracts),
        "trade, contracts, mean": sum(samples.trade_sizes) * contracts / max(len(samples.trade_sizes), 1),
        **_quantiles("trade gap, ms", samples.trade_gaps_ms, (25, 50, 75, 90, 99)),
        **_quantiles("levels of a side", samples.levels, (5, 25, 50, 75, 95, 100)),
        **_quantiles("spread, cents", samples.spreads, (25, 50, 75, 95, 99), cents),
        **_quantiles("at the best, contracts", samples.best_sizes, (5, 25, 50, 75, 95), contracts),
        **_quantiles("side depth, contracts", samples.depths, (5, 25, 50, 75, 95), contracts),
        **{f"median {n} c behind": _quantile(sorted(samples.profile[n]), 50) * contracts for n in PROFILE},
        "mid moves, % of seconds": 100 * sum(move > 0 for move in samples.mid_moves) / len(samples.mid_moves),
        **_quantiles("mid move in 1 s, cents", samples.mid_moves, (75, 90, 99), cents),
        "one-sided, % of seconds": 100 * samples.one_sided / samples.seconds,
    }


def _quantiles(name: str, values: Sequence[float], percents: Sequence[float], unit: float = 1.0) -> dict[str, float]:
    ordered = sorted(values)
    return {f"{name}, {percent:g} %": _quantile(ordered, percent) * unit for percent in percents}


def _quantile(ordered: Sequence[float], percent: float) -> float:
    return ordered[round((len(ordered) - 1) * percent / 100)] if ordered else 0.0


def _shares(name: str, counts: Counter[str]) -> dict[str, float]:
    return {f"{name}: {kind}, %": 100 * count / counts.total() for kind, count in counts.items()}
