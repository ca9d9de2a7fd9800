"""What the handlers work with: the venue, the settings, and the exchange around it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from rlflow.exchange.items import Image
from rlflow.exchange.listing import EventSheet, FeeChange, Listing, SeriesSheet
from rlflow.exchange.rest.settings import RestSettings
from rlflow.exchange.trade_history import TradeRecord


class VenueData(Protocol):
    """What is read of a venue, simulated or replayed."""

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

    def image(self, ticker: str) -> Image | None:
        """Return a market's book; None while a recording has not given it."""
        ...

    def trades(self, ticker: str) -> Iterable[TradeRecord]:
        """Return what is remembered of a market's trades, the newest first."""
        ...


@attrs.frozen
class Desk:
    """Everything a handler may use besides its request."""

    venue: VenueData
    settings: RestSettings
    statistics: Callable[[], Mapping[str, object]] = dict
    """The exchange's figures."""
    costs: Sequence[Mapping[str, object]] = ()
    """The endpoints that do not cost the default, as the venue lists them."""
