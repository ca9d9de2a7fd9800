"""What a market is going to do by itself."""

import attrs

from rlflow.exchange.crowd.activity import NATURAL, Tempo
from rlflow.units import Price

EVEN: Price = 5_000


@attrs.frozen
class Life:
    """How long a market takes for what follows its close, in seconds."""

    drain_s: float
    """From the close until the venue clears the book."""
    determination_s: float
    """From there to the result."""


@attrs.frozen
class Plan:
    """How a market is to live, besides what its sheet says."""

    life: Life
    fair: Price = EVEN
    """Where its price begins."""
    weight: float = 1.0
    """How busy it is, compared to others."""
    tempo: Tempo = NATURAL
    is_endless: bool = False
    """Whether its price wanders for ever, not towards its close."""
