"""A market's candles: minutes as they were noted, longer periods as their sums, and what REST shows of them."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from rlflow.exchange.markets.candles import Candle, CandleRecord, Range
from tests.exchange_rest import NOW, SECOND, MadeUpVenue, caller, listing

MINUTE = 60 * SECOND
START = NOW // (1_440 * MINUTE) * 1_440 * MINUTE


def record(*trades: tuple[int, int, int]) -> CandleRecord:
    """Return a record of trades: seconds from the start, price, count."""
    made = CandleRecord()
    for at_s, price, count in trades:
        made.note_quote(START + at_s * SECOND, price - 100, price + 100, 50)
        made.note_trade(START + at_s * SECOND, price, count)
    return made


def test_a_minute_has_the_ranges_of_quotes_and_trades() -> None:
    made = record((0, 5_000, 100), (20, 5_400, 300), (59, 4_800, 100), (60, 5_100, 200))
    first, second = made.candles(1)
    assert first.price == Range(5_000, 5_400, 4_800, 4_800)
    assert (first.bid, first.ask) == (Range(4_900, 5_300, 4_700, 4_700), Range(5_100, 5_500, 4_900, 4_900))
    assert (first.volume, first.mean, first.open_interest) == (500, 5_200, 50)
    assert second.number == first.number + 1
    assert second.bid.open == first.bid.close
    assert second.price == Range(5_100, 5_100, 5_100, 5_100)


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(200, 9_800), st.integers(1, 500)), min_size=1))
def test_longer_periods_are_the_sum_of_their_minutes(trades: list[tuple[int, int, int]]) -> None:
    made = record(*sorted(trades))
    for minutes in (60, 1_440):
        candles = list(made.candles(minutes))
        assert [each.number for each in candles] == sorted({each.number for each in candles})
        assert sum(each.volume for each in candles) == sum(count for _, _, count in trades)
        for candle in candles:
            parts = [each for each in made.candles(1) if each.number // minutes == candle.number]
            assert candle.bid.high == max(each.bid.high for each in parts)
            assert (candle.ask.open, candle.ask.close) == (parts[0].ask.open, parts[-1].ask.close)


def test_a_record_keeps_a_day() -> None:
    made = record(*((60 * minute, 5_000, 1) for minute in range(2_000)))
    assert len(list(made.candles(1))) == 1_440


class VenueWithCandles(MadeUpVenue):
    def __init__(self) -> None:
        super().__init__(listing("KXS-1-A"))
        self.record = record((0, 5_000, 100), (61, 5_100, 100))
        self.record.note_quote(START + 200 * SECOND, 5_200, 5_300, 70)

    def candles(self, _ticker: str, minutes: int) -> Iterator[Candle]:
        return self.record.candles(minutes)


def test_candlesticks_are_given_by_their_end() -> None:
    asking = caller(VenueWithCandles())
    first = START // SECOND
    path = "/series/KXS/markets/KXS-1-A/candlesticks"
    found = asking.get(f"{path}?period_interval=1&start_ts={first}&end_ts={first + 240}")["candlesticks"]
    assert [each["end_period_ts"] - first for each in found] == [60, 120, 240]
    assert found[1]["price"] == {
        "open_dollars": "0.5100",
        "low_dollars": "0.5100",
        "high_dollars": "0.5100",
        "close_dollars": "0.5100",
        "mean_dollars": "0.5100",
        "previous_dollars": "0.5000",
        "min_dollars": "0.5100",
        "max_dollars": "0.5100",
    }
    assert set(found[2]["price"].values()) == {None, "0.5100"}
    assert found[2]["yes_bid"]["high_dollars"] == "0.5200"
    assert (found[1]["volume_fp"], found[2]["open_interest_fp"]) == ("1.00", "0.70")


def test_the_latest_before_the_start_is_projected_onto_the_first_period() -> None:
    asking = caller(VenueWithCandles())
    first = START // SECOND
    query = f"period_interval=1&start_ts={first + 150}&end_ts={first + 240}&include_latest_before_start=true"
    projected, real = asking.get(f"/series/KXS/markets/KXS-1-A/candlesticks?{query}")["candlesticks"]
    assert (projected["end_period_ts"] - first, real["end_period_ts"] - first) == (180, 240)
    assert (projected["price"]["close_dollars"], projected["price"]["previous_dollars"]) == (None, "0.5100")
    assert projected["yes_ask"]["close_dollars"] == "0.5200"
    query = f"period_interval=1&start_ts={first + 300}&end_ts={first + 360}&include_latest_before_start=true"
    [alone] = asking.get(f"/series/KXS/markets/KXS-1-A/candlesticks?{query}")["candlesticks"]
    assert (alone["end_period_ts"] - first, alone["yes_bid"]["close_dollars"]) == (300, "0.5200")


def test_candlesticks_of_many_markets_are_bounded() -> None:
    asking = caller(VenueWithCandles())
    first = START // SECOND
    batch = f"/markets/candlesticks?market_tickers=KXS-1-A,KXNONE&period_interval=60&start_ts={first}"
    [found] = asking.get(f"{batch}&end_ts={first + 3_600}")["markets"]
    assert (found["market_ticker"], len(found["candlesticks"])) == ("KXS-1-A", 1)
    assert asking.ask("GET", f"{batch}&end_ts={first + 3_600 * 10_000}")[0] == 400
    for query in ("", "?start_ts=1&end_ts=2", "?start_ts=1&end_ts=2&period_interval=5", "?period_interval=1"):
        assert asking.ask("GET", f"/series/KXS/markets/KXS-1-A/candlesticks{query}")[0] == 400
    wrong = f"/series/KXT/markets/KXS-1-A/candlesticks?period_interval=1&start_ts={first}&end_ts={first}"
    assert asking.ask("GET", wrong)[0] == 404
