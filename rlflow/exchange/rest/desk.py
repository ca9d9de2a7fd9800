"""What the handlers work with: the venue, the settings, and the exchange around it."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Protocol

import attrs

from rlflow.exchange.handshake import Verifier
from rlflow.exchange.markets.candles import Candle
from rlflow.exchange.markets.listing import EventSheet, FeeChange, Horizon, Listing, SeriesSheet
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.markets.venue_control import VenueControl
from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRequest
from rlflow.exchange.rest.past import Past
from rlflow.exchange.rest.settings import Knobs, RestSettings
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import Image, Top
from rlflow.exchange.wire.outlet import Ending
from rlflow.kalshi.auth import PublicKey
from rlflow.units import Nanos


class AnyVenue(Protocol):
    """What is asked of a venue, simulated or replayed."""

    @property
    def is_exchange_active(self) -> bool:
        """Whether anything works; not during maintenance."""
        ...

    @property
    def is_trading(self) -> bool:
        """Whether orders can be placed."""
        ...

    @property
    def listings(self) -> Mapping[str, Listing]:
        """Every market by ticker, the oldest first."""
        ...

    @property
    def series(self) -> Mapping[str, SeriesSheet]:
        """Every series by ticker."""
        ...

    def events(self) -> Mapping[str, EventSheet]:
        """Return every event by ticker, the oldest first."""
        ...

    def fee_changes(self) -> Sequence[FeeChange]:
        """Return the announced changes of fees and those that have happened."""
        ...

    def horizon(self) -> Horizon:
        """Return how far back it remembers everything."""
        ...

    def image(self, ticker: str) -> Image | None:
        """Return a market's book; None while a recording has not given it."""
        ...

    def top(self, ticker: str) -> Top:
        """Return the best prices of a market's book."""
        ...

    def trades(self, ticker: str) -> Iterable[TradeRecord]:
        """Return what is remembered of a market's trades, the newest first."""
        ...

    def candles(self, ticker: str, minutes: int) -> Iterable[Candle]:
        """Return a market's candles of periods of so many minutes, the oldest first."""
        ...

    @property
    def engine(self) -> Engine:
        """The accounts and their orders, to be read."""
        ...

    # What accounts do; all raise `OrderRefusedError`

    def place(self, account: str, request: OrderRequest, at_ns: Nanos) -> Answer:
        """Place an order."""
        ...

    def cancel(self, account: str, order_id: str, at_ns: Nanos, *, ticker: str = "") -> Answer:
        """Cancel a resting order; a `ticker` that is not its own is refused."""
        ...

    def cancel_all(self, account: str, at_ns: Nanos) -> None:
        """Cancel everything that rests."""
        ...

    def decrease(self, account: str, order_id: str, request: DecreaseRequest, at_ns: Nanos) -> Answer:
        """Make a resting order smaller."""
        ...

    def amend(self, account: str, order_id: str, request: AmendRequest, at_ns: Nanos) -> Answer:
        """Change a resting order."""
        ...


class Connections(Protocol):
    """The websockets that are open."""

    def inject(self, fault: Fault) -> int:
        """Let a fault strike; return how many open connections it is for."""
        ...

    def take_faults_back(self) -> None:
        """Let no fault strike any more."""
        ...

    def end(self, ending: Ending) -> None:
        """End all of them without what is queued for them."""
        ...


@attrs.define
class Trouble:
    """What the venue's REST interface has."""

    status: int | None = None
    """What every request is answered with; None: with what it asks for."""


@attrs.frozen
class Desk:
    """Everything a handler may use besides its request."""

    venue: AnyVenue
    knobs: Knobs
    past: Past
    """Accounts as reads show them."""
    connections: Connections
    control: VenueControl | None = None
    """What can be done to the venue; None for a replay."""
    statistics: Callable[[], Mapping[str, object]] = dict
    """The exchange's figures."""
    keys: MutableMapping[str, PublicKey] = attrs.field(factory=dict, repr=False)
    """The public keys that are let in, by key id."""
    trouble: Trouble = attrs.field(factory=Trouble)
    costs: Sequence[Mapping[str, object]] = ()
    """The endpoints that do not cost the default, as the venue lists them."""

    @property
    def settings(self) -> RestSettings:
        """How REST behaves now."""
        return self.knobs.settings.rest

    @property
    def verifier(self) -> Verifier:
        """What judges signatures now."""
        return Verifier(self.keys, round(self.knobs.settings.max_skew_s * 1000))
