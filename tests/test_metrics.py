from hypothesis import given
from hypothesis import strategies as st

from rlflow.metrics import Histogram


@given(st.lists(st.integers(0, 10**12), min_size=1), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_sixteenth_too_high(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    rank = max(-(-int(share * 1000) * len(values) // 1000), 1)
    exact = sorted(values)[rank - 1]
    found = histogram.quantile(share)
    assert found is not None
    assert exact <= found <= exact * 17 / 16 + 1


def test_an_empty_histogram_has_no_quantiles() -> None:
    assert Histogram().statistics().p50_ns is None


def test_a_clock_that_jumped_back_counts_as_zero() -> None:
    histogram = Histogram()
    histogram.record(-5, times=3)
    assert (histogram.statistics().count, histogram.statistics().max_ns) == (3, 0)
