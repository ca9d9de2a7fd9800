"""What an account's reads show: on the venue, some moments ago (protocol 6.4, read-after-write lag)."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import attrs

from rlflow.exchange.matching.accounts import MONEY_PER_CENT, Account
from rlflow.exchange.matching.orders import OrderView
from rlflow.exchange.matching.positions import PositionView
from rlflow.exchange.rest.settings import Knobs
from rlflow.units import Money, Nanos

V = TypeVar("V")


@attrs.frozen
class Holdings:
    """An account at a moment."""

    orders: dict[str, OrderView]
    """Every order ever accepted, by id, the oldest first."""
    positions: dict[str, PositionView]
    """By ticker."""
    available: Money

    @property
    def balance_cents(self) -> int:
        """What is available, rounded down."""
        return self.available // MONEY_PER_CENT


@attrs.frozen
class _Sample:
    at_ns: Nanos
    holdings: Holdings


class Past:
    """Samples accounts as often as they are asked for anything, for as long as reads lag behind.

    What has not changed since the lag began is shown as it is. What has is shown as in the last sample before that,
    which misses nothing but changes that others made between two requests. Without a lag the accounts themselves are
    shown; with one, every request costs a copy of the account's orders and positions.
    """

    def __init__(self, account: Callable[[str], Account], knobs: Knobs) -> None:
        self._account = account
        self._knobs = knobs
        self._samples: dict[str, deque[_Sample]] = {}

    @property
    def _orders_lag_ns(self) -> Nanos:
        return round(self._knobs.settings.rest.orders_lag_s * 1e9)

    @property
    def _positions_lag_ns(self) -> Nanos:
        return round(self._knobs.settings.rest.positions_lag_s * 1e9)

    def note(self, key_id: str, now_ns: Nanos) -> None:
        """Sample an account; to be called before and behind whatever a request does."""
        lag_ns = max(self._orders_lag_ns, self._positions_lag_ns)
        if not lag_ns:
            # Without the changes since, they would tell another past once there is a lag again.
            self._samples.clear()
        if not lag_ns or not key_id:
            return
        samples = self._samples.setdefault(key_id, deque())
        account = self._account(key_id)
        samples.append(_Sample(now_ns, Holdings(dict(account.orders), dict(account.positions), account.available)))
        while len(samples) > 1 and samples[1].at_ns <= now_ns - lag_ns:
            samples.popleft()

    def orders(self, key_id: str, now_ns: Nanos) -> dict[str, OrderView]:
        """Return the account's orders as a read shows them now."""
        return self._at(key_id, now_ns, self._orders_lag_ns).orders

    def holdings(self, key_id: str, now_ns: Nanos) -> Holdings:
        """Return the account's positions and balance as a read shows them now."""
        return self._at(key_id, now_ns, self._positions_lag_ns)

    def _at(self, key_id: str, now_ns: Nanos, lag_ns: Nanos) -> Holdings:
        account = self._account(key_id)
        present = Holdings(account.orders, account.positions, account.available)
        if not lag_ns:
            return present
        at_ns = now_ns - lag_ns
        samples = self._samples.get(key_id, ())
        sampled = next((each.holdings for each in reversed(samples) if each.at_ns <= at_ns), None)
        return _merged(present, sampled or (samples[0].holdings if samples else present), at_ns)


def _merged(present: Holdings, sampled: Holdings, at_ns: Nanos) -> Holdings:
    """Return what is as it was then, and the sample of what has changed since."""
    orders = {key: view for key, view in present.orders.items() if view.updated_ns <= at_ns}
    positions = {key: view for key, view in present.positions.items() if view.updated_ns <= at_ns}
    if len(orders) == len(present.orders) and len(positions) == len(present.positions):
        return present
    return Holdings(
        _in_order(present.orders, orders, sampled.orders),
        _in_order(present.positions, positions, sampled.positions),
        sampled.available,
    )


def _in_order(keys: Iterable[str], present: Mapping[str, V], sampled: Mapping[str, V]) -> dict[str, V]:
    """Return the present value of each key, the sampled one of those that have none, in the order of the keys."""
    both = {**sampled, **present}
    return {key: both[key] for key in keys if key in both}
