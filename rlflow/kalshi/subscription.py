"""One channel's subscription as its client knows it: where it stands, and how often it may begin anew."""

import enum
from typing import Final

import attrs

from rlflow.errors import FeedLostError
from rlflow.kalshi.refused import ASK_AGAIN_S, Refused

MAX_RESTARTS: Final = 5
"""How often a subscription is made anew, each time after twice the pause, before the connection is given up."""
STEADY_S: Final = 60.0
"""A subscription that was live for so long has earned its restarts again."""


class Phase(enum.Enum):
    """Where a subscription stands."""

    IDLE = enum.auto()
    """Not subscribed; it will be, at `not_before`."""
    SUBSCRIBING = enum.auto()
    LIVE = enum.auto()
    LEAVING = enum.auto()
    """Unsubscribed by us, not yet answered."""


@attrs.define(eq=False)
class Subscription:
    """The subscription of one channel on one connection."""

    channel: str
    has_markets: bool = True
    """Whether it is about certain markets; the lifecycle channel brings all of them."""
    phase: Phase = Phase.IDLE
    sid: int | None = None
    """Of the live subscription, or of the one that is being left."""
    held: frozenset[str] = frozenset()
    """The markets that it has, or was asked to have."""
    shunned_sid: int | None = None
    """The one that was left or is dead; to be merged into it again gives no new one."""
    not_before: float = 0.0
    withheld: Refused = attrs.Factory(Refused)
    """The markets that this one was not given, though the venue said nothing against them."""
    room: int | None = None
    """How many markets the venue lets it hold, as far as it has said so."""
    _live_since: float = 0.0
    _restarts: int = 0

    @property
    def is_live(self) -> bool:
        """Whether it brings data."""
        return self.phase is Phase.LIVE

    def begin(self, tickers: frozenset[str]) -> None:
        """Note that it was asked for."""
        self.phase, self.sid, self.held = Phase.SUBSCRIBING, None, tickers

    def go_live(self, sid: int, now: float) -> None:
        """Note that the venue has granted it."""
        self.phase, self.sid, self.shunned_sid, self._live_since = Phase.LIVE, sid, None, now

    def restart(self, cause: str, now: float) -> None:
        """Count that it has to be made anew, at `not_before`.

        `FeedLostError` if that has been tried often enough; but books are worth more than news of markets' lives.
        """
        if self.is_live and now - self._live_since >= STEADY_S:
            self._restarts = 0
        if self._restarts >= MAX_RESTARTS:
            if self.has_markets:
                tried = f"{self.channel} had to be subscribed {MAX_RESTARTS} times"
                raise FeedLostError(f"{tried}, at last because: {cause}")
            self.not_before = now + ASK_AGAIN_S
            return
        self._restarts += 1
        # At once the first time, then after 1, 2, 4, 8 s.
        self.not_before = now + (2.0 ** (self._restarts - 2) if self._restarts > 1 else 0.0)

    def put_off(self, until: float) -> None:
        """Note that the venue does not grant it, or its end; it is asked for again, but not before."""
        self.end()
        self.not_before = until

    def leave(self) -> None:
        """Note that its end was asked for."""
        self.phase = Phase.LEAVING

    def end(self) -> None:
        """Note that it is no more."""
        self.phase, self.shunned_sid, self.sid = Phase.IDLE, self.sid or self.shunned_sid, None
        self.withheld = Refused()
