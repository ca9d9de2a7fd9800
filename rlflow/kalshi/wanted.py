"""Which markets one connection should hold, which of them the venue refused, and how many may be added at once."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from rlflow.kalshi.refused import Refused
from rlflow.kalshi.subscription import Subscription

CHUNK: Final = 100
"""So many markets are added at once: 100 snapshots of 1 to 3 KB (protocol 9.1) are one burst of some 200 KB."""
CHUNK_LIMIT_S: Final = 3.0
"""The next markets are added after so long, whether the snapshots of the last have come or not."""


class Wanted:
    """The markets to follow, in the order in which they are to be added."""

    def __init__(self, tickers: Iterable[str]) -> None:
        self._tickers = dict.fromkeys(tickers)
        self.refused = Refused()

    @property
    def is_refused_whole(self) -> bool:
        """Whether there are markets, and none that was not refused."""
        return bool(self._tickers) and self.refused.tickers >= self._tickers.keys()

    def follow(self, tickers: Iterable[str]) -> None:
        """Want these from now on."""
        self._tickers = dict.fromkeys(tickers)
        self.refused.forgive(self.refused.tickers - self._tickers.keys())

    def refuse(self, tickers: Iterable[str], now: float) -> None:
        """Do without these for a while, on every channel."""
        self.refused.refuse(self._tickers.keys() & frozenset(tickers), now)

    def of(self, subscription: Subscription) -> Iterator[str]:
        """Yield what a subscription should hold, the first first, as many as it has room for."""
        room = sys.maxsize if subscription.room is None else subscription.room
        granted = (each for each in self._tickers if each not in self.refused and each not in subscription.withheld)
        return islice(granted, room)

    def first_of(self, *subscriptions: Subscription) -> frozenset[str]:
        """Return the markets to begin these subscriptions with."""
        return frozenset.intersection(*(frozenset(islice(self.of(one), CHUNK)) for one in subscriptions))


class Pace:
    """How many books may be added now, so that their snapshots do not come all at once."""

    def __init__(self) -> None:
        self._until = 0.0
        self.is_waiting = False
        """Whether there are books that were not added yet."""

    def begin(self, now: float) -> None:
        """Note that a first chunk was added."""
        self._until = now + CHUNK_LIMIT_S

    def take(self, lacking: Sequence[str], outstanding: int, now: float) -> frozenset[str]:
        """Return those of the books that lack which may be added now, while so many others have not come yet."""
        room = CHUNK if self._until <= now else CHUNK - outstanding
        chunk = frozenset(lacking[: max(room, 0)])
        if chunk:
            self.begin(now)
        self.is_waiting = len(chunk) < len(lacking)
        return chunk

    def is_due(self, outstanding: int, now: float) -> bool:
        """Return whether the next books may be added: the last have come, or have had their time."""
        return self.is_waiting and (self._until <= now or not outstanding)

    def next_deadline(self) -> float | None:
        """Return when the last books will have had their time; None: nobody waits for that."""
        return self._until if self.is_waiting else None
