"""One market's order book: two ladders of bids, exact integers, and what can be read off them.

Kalshi publishes bids only. A NO bid at q is a YES ask at 1 - q, so the best YES ask is 1 - the best NO bid, and both
sides have the same spread, 1 - best YES bid - best NO bid. It is negative (crossed) only for a moment, while the venue
publishes one action's changes one by one, and zero (locked) is unusual but sound (protocol 4.5).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from typing import TypeAlias
from uuid import UUID

import attrs
from sortedcontainers import SortedDict

from rlflow.errors import PeerError
from rlflow.units import MAX_COUNT, ONE_DOLLAR, Count, Nanos, Price, Side, complement, opposite

Level: TypeAlias = tuple[Price, Count]
Levels: TypeAlias = tuple[Level, ...]
"""Bids of one side, best (highest price) first."""

# Stands for "no bid": one below the lowest price, so that a side without bids neither crosses nor locks the other.
_NO_BID: Price = -1

# An existing key needs no place in the order, so the plain dict's store is enough and saves half of the update's time.
_store = dict.__setitem__


class BookError(PeerError):
    """The venue's changes lead to a book that cannot be; the book was left as it was."""


class ImpossibleSizeError(BookError):
    """A level would get a size that no level can have."""

    def __init__(self, side: Side, price: Price, size: Count) -> None:
        self.side = side
        self.price = price
        self.size = size
        super().__init__(f"impossible size {size} (1/100 contract) at {side} {price} (1/10,000 dollar)")


class RepeatedLevelError(BookError):
    """A whole book names one price twice on one side."""

    def __init__(self, side: Side) -> None:
        self.side = side
        super().__init__(f"a price stands twice on side {side}")


class _Quotes(ABC):
    """What follows from the best bid of each side; in 1/10,000 dollar, None where a side is empty."""

    __slots__ = ()

    @abstractmethod
    def best_bid(self, side: Side) -> Level | None:
        """Return the highest bid of a side."""

    def best_ask(self, side: Side) -> Level | None:
        """Return the lowest ask of a side, which is the other side's best bid seen from here."""
        bid = self.best_bid(opposite(side))
        return None if bid is None else (complement(bid[0]), bid[1])

    @property
    def spread(self) -> Price | None:
        """The best ask less the best bid, equal for both sides; negative while crossed."""
        yes, no = self.best_bid("yes"), self.best_bid("no")
        return None if yes is None or no is None else ONE_DOLLAR - yes[0] - no[0]

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is above the best ask. Locked (equal) is not crossed."""
        spread = self.spread
        return spread is not None and spread < 0

    def doubled_mid(self, side: Side) -> int | None:
        """Return best bid + best ask of a side: twice the mid price, which keeps it whole."""
        bid, ask = self.best_bid(side), self.best_ask(side)
        return None if bid is None or ask is None else bid[0] + ask[0]

    def mid(self, side: Side) -> Fraction | None:
        """Return the exact mid price of a side."""
        doubled = self.doubled_mid(side)
        return None if doubled is None else Fraction(doubled, 2)

    def microprice(self, side: Side) -> Fraction | None:
        """Return the exact mid price weighted by size: nearer to the ask the more there is bid."""
        bid, ask = self.best_bid(side), self.best_ask(side)
        if bid is None or ask is None:
            return None
        return Fraction(bid[0] * ask[1] + ask[0] * bid[1], bid[1] + ask[1])


class Book(_Quotes):
    """The bids of both sides, changed in place; O(log levels) for a new or removed level, O(1) for any other change."""

    __slots__ = ("_best_no", "_best_yes", "_no", "_yes")

    def __init__(self, yes: Iterable[Level] = (), no: Iterable[Level] = ()) -> None:
        self.replace(yes, no)

    def apply(self, side: Side, price: Price, delta: Count) -> tuple[Count, Count]:
        """Add `delta` to a level and return its (old, new) size, 0 for no such level.

        Raises:
            ImpossibleSizeError: the size would be negative or above `MAX_COUNT`; nothing was changed.
        """
        levels = self._yes if side == "yes" else self._no
        old = levels.get(price, 0)
        new = old + delta
        if not 0 <= new <= MAX_COUNT:
            raise ImpossibleSizeError(side, price, new)
        if old and new:
            _store(levels, price, new)
        elif new:
            self._add(side, price, new)
        elif old:
            self._remove(side, price)
        return old, new

    def replace(self, yes: Iterable[Level], no: Iterable[Level]) -> None:
        """Replace all levels, given in any order.

        Raises:
            ImpossibleSizeError: a size is not in 1 to `MAX_COUNT`; nothing was changed.
            RepeatedLevelError: a price stands twice on one side; nothing was changed.
        """
        ladders = _ladder("yes", yes), _ladder("no", no)
        self._yes, self._no = ladders
        self._best_yes, self._best_no = _highest(self._yes), _highest(self._no)

    def _add(self, side: Side, price: Price, size: Count) -> None:
        if side == "yes":
            self._yes[price] = size
            self._best_yes = max(self._best_yes, price)
        else:
            self._no[price] = size
            self._best_no = max(self._best_no, price)

    def _remove(self, side: Side, price: Price) -> None:
        if side == "yes":
            del self._yes[price]
            if price == self._best_yes:
                self._best_yes = _highest(self._yes)
        else:
            del self._no[price]
            if price == self._best_no:
                self._best_no = _highest(self._no)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is above the best ask. Locked (equal) is not crossed."""
        return self._best_yes + self._best_no > ONE_DOLLAR

    def size_at(self, side: Side, price: Price) -> Count:
        """Return the size of one level, 0 if there is none."""
        size: Count = self._ladder(side).get(price, 0)
        return size

    def best_bid(self, side: Side) -> Level | None:
        """Return the highest bid of a side."""
        best = self._best_yes if side == "yes" else self._best_no
        return None if best == _NO_BID else (best, self._ladder(side)[best])

    def bids(self, side: Side) -> Levels:
        """Return all bids of a side, best first; O(levels)."""
        levels = self._ladder(side)
        return tuple([(price, levels[price]) for price in reversed(levels)])

    def equals(self, other: "Book") -> bool:
        """Return whether another book has the same levels; O(levels)."""
        return bool(self._yes == other._yes and self._no == other._no)

    def depth(self, side: Side, within: Price = ONE_DOLLAR) -> Count:
        """Return what is bid on a side in all, at most `within` below the best bid."""
        levels = self._ladder(side)
        best = self._best_yes if side == "yes" else self._best_no
        return sum(levels[price] for price in levels.irange(minimum=best - within))

    def _ladder(self, side: Side) -> SortedDict:
        return self._yes if side == "yes" else self._no


def _ladder(side: Side, levels: Iterable[Level]) -> SortedDict:
    """Return checked levels as an ordered mapping from price to size."""
    pairs = tuple(levels)
    for price, size in pairs:
        if not 0 < size <= MAX_COUNT:
            raise ImpossibleSizeError(side, price, size)
    ladder = SortedDict(pairs)
    if len(ladder) != len(pairs):
        raise RepeatedLevelError(side)
    return ladder


def _highest(levels: SortedDict) -> Price:
    best: Price = levels.peekitem(-1)[0] if levels else _NO_BID
    return best


@attrs.frozen
class BookView(_Quotes):
    """One book at one moment, never changed after it was made: what API, trading and tests look at."""

    market_ticker: str
    capture: UUID
    frame_no: int
    """The last frame that touched this book."""
    sequence_number: int | None
    """The venue's `seq` of that frame."""
    received_ns: Nanos
    """When that frame was received."""
    timestamp_ms: int | None
    """The venue's own time of the last change, None where it gave none."""
    is_valid: bool
    """Whether this is the venue's book for certain; if not, the levels are the last that were."""
    cause: str | None
    """Why it is not valid."""
    yes_bids: Levels
    no_bids: Levels
    is_settled: bool = True
    """False while the book is crossed within one action of the venue: not to be shown or decided upon."""

    def bids(self, side: Side) -> Levels:
        """Return all bids of a side, best first."""
        return self.yes_bids if side == "yes" else self.no_bids

    def asks(self, side: Side) -> Levels:
        """Return all asks of a side, best (lowest) first: the other side's bids at the complement of their price."""
        return tuple([(complement(price), size) for price, size in self.bids(opposite(side))])

    @property
    def yes_asks(self) -> Levels:
        """The asks of YES, best (lowest) first."""
        return self.asks("yes")

    @property
    def no_asks(self) -> Levels:
        """The asks of NO, best (lowest) first."""
        return self.asks("no")

    def best_bid(self, side: Side) -> Level | None:
        """Return the highest bid of a side."""
        bids = self.bids(side)
        return bids[0] if bids else None

    def depth(self, side: Side, within: Price = ONE_DOLLAR) -> Count:
        """Return what is bid on a side in all, at most `within` below the best bid."""
        bids = self.bids(side)
        return sum(size for price, size in bids if price >= bids[0][0] - within)
