"""Series by the clock: which markets there are, their names, and how each of them lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.exchange.markets.series import SECOND_NS, SeriesSchedule, SeriesSpec, life_of
from tests.venue_driver import START_NS

specs = st.builds(
    SeriesSpec,
    st.just("KXSIM1M"),
    period_s=st.integers(1, 86_400),
    count=st.integers(1, 5),
    created_lead_s=st.none() | st.integers(0, 100_000),
)


@given(spec=specs, at_ns=st.integers(0, 4 * 10**18), seed=st.integers(0, 2**64))
def test_at_any_time_one_period_is_open_and_the_next_begins_where_it_ends(
    spec: SeriesSpec, at_ns: int, seed: int
) -> None:
    schedule = SeriesSchedule(spec, seed)
    period = schedule.period_at(at_ns)
    now, later = schedule.markets(period), schedule.markets(period + 1)
    assert len(now) == len(later) == spec.count
    assert all(each.open_ns <= at_ns < each.close_ns for each in now)
    assert {each.close_ns for each in now} == {each.open_ns for each in later}
    assert schedule.creation_ns(period) == now[0].open_ns - spec.lead_s * SECOND_NS
    tickers = [each.ticker for each in (*now, *later)]
    assert len(set(tickers)) == len(tickers)
    assert {each.event_ticker for each in now} == {schedule.event(period).ticker}


@given(spec=specs, seed=st.integers(0, 2**64))
def test_lives_depend_on_the_seed_alone_and_are_shorter_for_short_markets(spec: SeriesSpec, seed: int) -> None:
    schedule = SeriesSchedule(spec, seed)
    sheet = schedule.markets(schedule.period_at(START_NS))[0]
    life = schedule.plan(sheet).life
    assert life == life_of(sheet, seed)
    haste = min(1.0, spec.period_s / 60)
    assert 5.4 * haste <= life.drain_s <= 8.2 * haste
    assert 1.0 * haste <= life.determination_s <= 3.0 * haste


def test_markets_are_named_by_their_close() -> None:
    minutes, seconds = SeriesSchedule(SeriesSpec("KXA", 900, 2), 1), SeriesSchedule(SeriesSpec("KXA", 7), 1)
    assert [each.ticker for each in minutes.markets(minutes.period_at(START_NS))] == [
        "KXA-26NOV220015-1",
        "KXA-26NOV220015-2",
    ]
    assert minutes.event(minutes.period_at(START_NS)).ticker == "KXA-26NOV220015"
    assert seconds.markets(seconds.period_at(START_NS))[0].ticker == "KXA-26NOV22000003-1"


def test_a_low_strike_is_likelier_than_a_high_one() -> None:
    schedule = SeriesSchedule(SeriesSpec("KXA", count=4), 1)
    sheets = schedule.markets(7)
    assert [schedule.plan(sheet).fair for sheet in sheets] == [8_000, 6_000, 4_000, 2_000]
    strikes = [sheet.floor_strike or 0 for sheet in sheets]
    assert strikes == sorted(strikes)


@pytest.mark.parametrize(
    ("text", "period_s"),
    [("KXSIM1M", 900), ("KXSIM1M:90", 90), ("KXSIM1M:2s", 2), ("KXSIM1M:15m", 900), ("KXSIM1M:1h", 3_600)],
)
def test_a_series_is_written_with_its_period(text: str, period_s: int) -> None:
    assert SeriesSpec.from_text(text) == SeriesSpec("KXSIM1M", period_s)


@pytest.mark.parametrize(
    "text", ["", ":60s", "KX-A", "KX A", "KXA:", "KXA:0", "KXA:1.5s", "KXA:25h", "KXA:1d", "KXA:-1"]
)
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        SeriesSpec.from_text(text)
