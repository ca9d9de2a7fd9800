"""How fast REST may be asked: a local copy of the venue's token bucket, so that its own never refuses (6.5)."""

from typing import Final

from rlflow.kalshi.answers import BucketLimits

REQUEST_COST: Final = 10.0
"""Tokens of every request that we make."""
SHARE: Final = 0.5
"""Of the account's bucket, what we use: whoever trades with the same account has the rest."""
# The lowest tier's, until the account's own limits are known.
LOWEST: Final = BucketLimits(rate=200.0, capacity=200.0)


class TokenBucket:
    """Tokens that refill at a rate; taking more than there are means waiting. Times are seconds of one clock."""

    def __init__(self, now_s: float, limits: BucketLimits = LOWEST) -> None:
        self._limits = limits
        self._tokens = limits.capacity * SHARE
        self._at_s = now_s

    @property
    def limits(self) -> BucketLimits:
        """The account's, of which `SHARE` is used."""
        return self._limits

    def adopt(self, limits: BucketLimits, now_s: float) -> None:
        """Go on with other limits; what was saved up or owed stays."""
        self._refill(now_s)
        self._limits = limits
        self._refill(now_s)

    def take(self, cost: float, now_s: float) -> float:
        """Take tokens that the caller will use for sure; return how many seconds it has to wait before."""
        self._refill(now_s)
        self._tokens -= cost
        return max(0.0, -self._tokens / self._rate)

    def drain(self, now_s: float) -> None:
        """Lose what was saved up: the venue's own bucket turned out to be empty."""
        self._refill(now_s)
        self._tokens = min(self._tokens, 0.0)

    @property
    def _rate(self) -> float:
        return self._limits.rate * SHARE

    def _refill(self, now_s: float) -> None:
        gained = max(0.0, now_s - self._at_s) * self._rate
        # Never below the cost of one request, which could not be made then.
        capacity = max(REQUEST_COST, self._limits.capacity * SHARE)
        self._tokens = min(capacity, self._tokens + gained)
        self._at_s = max(self._at_s, now_s)
