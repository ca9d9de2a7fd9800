"""A market's past as candles: of its best bid and ask, and of its trades (protocol 6.2)."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby

import attrs

from rlflow.units import Count, Money, Nanos, Price

_MINUTE_NS: Nanos = 60_000_000_000
# A day of minutes, in some 500 KiB.
_KEPT = 1_440


@attrs.define(slots=True)
class Range:
    """How a price went during a candle."""

    open: Price
    high: Price
    low: Price
    close: Price

    @classmethod
    def at(cls, price: Price) -> "Range":
        """Return the range that begins with a price."""
        return cls(price, price, price, price)

    def note(self, price: Price) -> None:
        """Follow the price."""
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price

    def joined(self, later: "Range") -> "Range":
        """Return the range of both."""
        return Range(self.open, max(self.high, later.high), min(self.low, later.low), later.close)


@attrs.define(slots=True)
class Candle:
    """One period of a market; prices are YES prices."""

    number: int
    """Of the period, since 1970; minutes as they are kept."""
    bid: Range
    ask: Range
    price: Range | None = None
    """Of trades; None without one."""
    volume: Count = 0
    cost: Money = 0
    """YES price times contracts, of its trades."""
    open_interest: Count = 0
    """At its end."""

    @property
    def mean(self) -> Price | None:
        """The mean price of a traded contract, rounded down; None without a trade."""
        return self.cost // self.volume if self.volume else None

    def joined(self, later: "Candle") -> "Candle":
        """Return the candle of both, with the number of this one."""
        price = later.price if self.price is None else self.price
        if self.price is not None and later.price is not None:
            price = self.price.joined(later.price)
        return Candle(
            self.number,
            self.bid.joined(later.bid),
            self.ask.joined(later.ask),
            price,
            self.volume + later.volume,
            self.cost + later.cost,
            later.open_interest,
        )


class CandleRecord:
    """The last day's minutes in which anything was noted."""

    def __init__(self) -> None:
        self._minutes: deque[Candle] = deque(maxlen=_KEPT)

    def note_quote(self, at_ns: Nanos, bid: Price, ask: Price, open_interest: Count) -> None:
        """Follow the best prices; those of an empty side are 0 and a dollar."""
        candle = self._at(at_ns, bid, ask)
        candle.bid.note(bid)
        candle.ask.note(ask)
        candle.open_interest = open_interest

    def note_trade(self, at_ns: Nanos, price: Price, count: Count) -> None:
        """Count a trade; it is at both best prices where none were ever noted."""
        last = self._minutes[-1] if self._minutes else None
        bid, ask = (price, price) if last is None else (last.bid.close, last.ask.close)
        candle = self._at(at_ns, bid, ask)
        if candle.price is None:
            candle.price = Range.at(price)
        candle.price.note(price)
        candle.volume += count
        candle.cost += price * count

    def _at(self, at_ns: Nanos, bid: Price, ask: Price) -> Candle:
        """Return the candle of a time, which is the last one or new; a new one opens where the last one closed."""
        minute = at_ns // _MINUTE_NS
        last = self._minutes[-1] if self._minutes else None
        if last is not None and last.number >= minute:
            return last
        if last is not None:
            bid, ask = last.bid.close, last.ask.close
        candle = Candle(minute, Range.at(bid), Range.at(ask), open_interest=last.open_interest if last else 0)
        self._minutes.append(candle)
        return candle

    def candles(self, minutes: int) -> Iterator[Candle]:
        """Yield the candles of periods of so many minutes, the oldest first; `number` counts those periods."""
        for number, parts in groupby(self._minutes, lambda candle: candle.number // minutes):
            yield attrs.evolve(_joined(parts), number=number)


def _joined(parts: Iterable[Candle]) -> Candle:
    first, *others = parts
    for other in others:
        first = first.joined(other)
    return first
