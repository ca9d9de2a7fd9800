"""Token buckets: how much an account may ask (protocol 6.5)."""

import enum

import attrs


@attrs.frozen
class Rate:
    """How a bucket fills; tokens."""

    refill_rate: int
    """A second."""
    bucket_capacity: int


class Kind(enum.Enum):
    """Which bucket a request is paid from."""

    READ = "read"
    WRITE = "write"
    BALANCE = "balance"


class Tier(enum.Enum):
    """An account's usage tier."""

    BASIC = "basic"
    ADVANCED = "advanced"
    EXPERT = "expert"
    PREMIER = "premier"
    PARAGON = "paragon"
    PRIME = "prime"
    PRESTIGE = "prestige"

    def rate(self, kind: Kind) -> Rate:
        """Return how one of its buckets fills."""
        read, write = _TOKENS[self]
        is_low = self in {Tier.BASIC, Tier.ADVANCED}
        match kind:
            case Kind.READ:
                return Rate(read, 2 * read if is_low else read)
            case Kind.WRITE:
                return Rate(write, write if self is Tier.BASIC else 2 * write)
            case Kind.BALANCE:
                # Paid with the default cost like everything else: one request a second, or five.
                tokens = DEFAULT_COST if is_low else 5 * DEFAULT_COST
                return Rate(tokens, tokens)


# To read and to write, a second.
_TOKENS = {
    Tier.BASIC: (200, 100),
    Tier.ADVANCED: (300, 300),
    Tier.EXPERT: (600, 600),
    Tier.PREMIER: (1000, 1000),
    Tier.PARAGON: (2000, 2000),
    Tier.PRIME: (4000, 4000),
    Tier.PRESTIGE: (6000, 8000),
}
DEFAULT_COST = 10


class Bucket:
    """One account's tokens of one kind. Full at first."""

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._rate = rate
        self._tokens = float(rate.bucket_capacity)
        self._at_s = now_s

    def take(self, cost: int, now_s: float) -> bool:
        """Take so many tokens; return whether there were enough. If not, none are taken (protocol: no penalty)."""
        grown = self._tokens + (now_s - self._at_s) * self._rate.refill_rate
        self._tokens, self._at_s = min(grown, self._rate.bucket_capacity), now_s
        # A request may come exactly when its tokens are there; a sum of floats must not make it late.
        if self._tokens + 1e-6 < cost:
            return False
        self._tokens -= cost
        return True


@attrs.frozen
class _Owner:
    account: str
    tier: Tier
    kind: Kind


class Buckets:
    """The buckets of all accounts of a venue; who comes into another tier has full ones."""

    def __init__(self) -> None:
        self._buckets: dict[_Owner, Bucket] = {}

    def take(self, account: str, tier: Tier, kind: Kind, cost: int, now_s: float) -> bool:
        """Let an account pay; return whether it could. `now_s` is of any clock that never goes back."""
        owner = _Owner(account, tier, kind)
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = Bucket(tier.rate(kind), now_s)
        return bucket.take(cost, now_s)
