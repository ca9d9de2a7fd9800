"""Markets that move to another connection: the one that has them holds them until the other brings them."""

import math
from collections.abc import Iterable
from typing import Final

MOVE_LIMIT_S: Final = 10.0
"""Markets are left at the latest after so long: of one that has closed, the venue may send the other no book at all."""


class Moves:
    """What one connection still holds of the markets that are another's by now. Times are seconds of Trio's clock."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def still_held(self, moved: Iterable[str], now: float) -> tuple[str, ...]:
        """Return which of these markets, all that the connection has of others', it is to go on holding.

        It leaves them together: each change would make it ask again for those that the venue did not let it hold.
        """
        self._until = {ticker: self._until.get(ticker, now + MOVE_LIMIT_S) for ticker in moved}
        return tuple(self._until) if any(until > now for until in self._until.values()) else ()

    def arrived(self, ticker: str) -> bool:
        """Note that the other connection has a valid book of a market; return whether it was the last one to come."""
        if self._until.get(ticker, -math.inf) == -math.inf:
            return False
        self._until[ticker] = -math.inf
        return all(until == -math.inf for until in self._until.values())
