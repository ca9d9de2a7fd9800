"""Markets that the venue does not grant, each to be asked for again in its own time."""

from collections.abc import Iterable
from typing import Final

import attrs

ASK_AGAIN_S: Final = 60.0
"""What the venue has refused, a market or the lifecycle channel, is asked for again after so long."""


@attrs.define(eq=False)
class Refused:
    """Markets to do without for a while."""

    _until: dict[str, float] = attrs.Factory(dict)

    def __contains__(self, ticker: str) -> bool:
        """Return whether a market is to be done without."""
        return ticker in self._until

    @property
    def tickers(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self._until)

    def refuse(self, tickers: Iterable[str], now: float) -> None:
        """Do without these for a while."""
        self._until.update(dict.fromkeys(tickers, now + ASK_AGAIN_S))

    def forgive(self, tickers: Iterable[str]) -> bool:
        """Want these again; return whether that changes anything."""
        forgiven = self._until.keys() & frozenset(tickers)
        for ticker in forgiven:
            del self._until[ticker]
        return bool(forgiven)

    def forgive_due(self, now: float) -> bool:
        """Want again whatever was refused for long enough; return whether that changes anything."""
        return self.forgive([ticker for ticker, until in self._until.items() if until <= now])

    def next_deadline(self) -> float | None:
        """Return when `forgive_due` does something; None: never."""
        return min(self._until.values(), default=None)
