"""Latency figures: a histogram that is cheap to feed and exact enough to quote."""

import attrs

# 16 buckets in each doubling: a quantile is at most 1/16, about 6 %, too high.
_SUB_BITS = 4
_SUB = 1 << _SUB_BITS


def _bucket(value: int) -> int:
    """Return the bucket of a value: linear below 16, then 16 buckets a doubling."""
    shift = max(value.bit_length() - _SUB_BITS - 1, 0)
    return (shift << _SUB_BITS) + (value >> shift)


def _upper_edge(bucket: int) -> int:
    """Return the largest value that falls into a bucket."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    return (((bucket - (shift << _SUB_BITS)) + 1) << shift) - 1


@attrs.frozen
class Latency:
    """Quantiles of a histogram in nanoseconds; None when nothing was recorded."""

    count: int
    p50_ns: int | None
    p99_ns: int | None
    p999_ns: int | None
    max_ns: int | None


@attrs.define
class Histogram:
    """Counts of durations in nanoseconds, in buckets that grow with the value."""

    _counts: dict[int, int] = attrs.field(factory=dict, init=False)
    _max: int = attrs.field(default=0, init=False)

    def record(self, value_ns: int, times: int = 1) -> None:
        """Count a duration, `times` times over. A negative one (a clock that jumped) counts as 0."""
        value_ns = max(value_ns, 0)
        bucket = _bucket(value_ns)
        self._counts[bucket] = self._counts.get(bucket, 0) + times
        self._max = max(self._max, value_ns)

    def quantile(self, share: float) -> int | None:
        """Return the smallest bucket edge in ns that `share` (0 to 1) of the values do not exceed."""
        need = share * sum(self._counts.values())
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= need:
                return min(_upper_edge(bucket), self._max)
        return None

    def statistics(self) -> Latency:
        """Return the figures so far."""
        count = sum(self._counts.values())
        quantiles = (self.quantile(0.5), self.quantile(0.99), self.quantile(0.999))
        return Latency(count, *quantiles, self._max if count else None)
