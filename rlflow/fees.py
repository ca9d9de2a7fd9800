"""What a fill costs: the venue's fee models, its rounding, and the accumulator of an order (protocol 7).

Everything is exact. A model gives the fee in dollars as a fraction; it is rounded up to a micro-dollar, then the change
of the balance is rounded down to the account's unit, and what that takes too much is kept per order and paid back as
soon as it makes a whole unit. Over a whole order the account therefore pays its notional and its trade fees, rounded up
to one unit.

Sources: docs.kalshi.com/getting_started/fee_rounding and the fee schedule in force since 2026-07-07, read 2026-11-22.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import attrs

from rlflow.units import ONE_DOLLAR, Count, Money, Price

DIRECT_MEMBER_UNIT: Money = 100
"""Balances of direct members are whole 1/10,000 dollars."""
BROKER_UNIT: Money = 10_000
"""Balances held through a broker that is no direct member are whole cents."""


@attrs.frozen
class _Rates:
    """Parts of C x P x (1 - P) in 1/10,000."""

    taker: int
    maker: int


_RATES: Mapping[str, _Rates] = {
    "quadratic": _Rates(700, 0),
    "quadratic_with_maker_fees": _Rates(700, 175),
    "quadratic_with_combo_maker_fees": _Rates(700, 350),
    # What a flat fee amounts to is published nowhere, and no market with one was seen: nothing.
    "flat": _Rates(0, 0),
}
# Up to here a better price never costs more in the end, whatever it does to the fee: 10 x 0.07 is below 1.
_MOST = 10


@attrs.frozen
class FeeModel:
    """The fees of one market at a time; an event's override beats its series' values."""

    fee_type: str = "quadratic"
    multiplier: Fraction = Fraction(1)

    def __attrs_post_init__(self) -> None:
        # Not by attrs' validators: people read these words in answers of the local venue.
        if self.fee_type not in _RATES:
            raise ValueError(f"fee_type must be one of {', '.join(_RATES)}, not {self.fee_type!r}")
        if not 0 <= self.multiplier <= _MOST:
            raise ValueError(f"the fee's multiplier must be 0 to {_MOST}, not {self.multiplier}")

    @classmethod
    def from_sheet(cls, fee_type: str, multiplier: Decimal | str | float) -> "FeeModel":
        """Return the model of the venue's words; ValueError for an unknown type or a multiplier outside 0 to 10.

        A float means what it prints, so that 0.1 is a tenth.
        """
        return cls(fee_type, Fraction(str(multiplier)))

    def taker_fee(self, price: Price, count: Count) -> Money:
        """Return the trade fee of whoever takes, either side's price; rounded up to a micro-dollar."""
        return self._fee(_RATES[self.fee_type].taker, price, count)

    def maker_fee(self, price: Price, count: Count) -> Money:
        """Return the trade fee of whoever rested, either side's price; rounded up to a micro-dollar."""
        return self._fee(_RATES[self.fee_type].maker, price, count)

    def trade_fee(self, price: Price, count: Count, *, is_taker: bool) -> Money:
        """Return the trade fee of a fill."""
        return self.taker_fee(price, count) if is_taker else self.maker_fee(price, count)

    def _fee(self, rate: int, price: Price, count: Count) -> Money:
        # count x price x (1 - price) is in 1e-10 dollars, the rate in 1e-4: together 1e-8 micro-dollars.
        numerator = self.multiplier.numerator * rate * count * price * (ONE_DOLLAR - price)
        return -(-numerator // (self.multiplier.denominator * 100_000_000))

    def most_fees(self, price: Price, count: Count, *, is_taker: bool) -> Money:
        """Return the most that an order of this size and limit can pay in trade fees, in however many fills.

        Each fill may round up by less than a micro-dollar, and there are at most `count` of them.
        """
        whole = self.trade_fee(price, count, is_taker=is_taker)
        return whole + count if whole else 0


def round_up(amount: Money, unit: Money) -> Money:
    """Return the amount rounded up to a multiple of the unit."""
    return -(-amount // unit) * unit


@attrs.frozen
class Charge:
    """The three parts of one fill's fee."""

    trade_fee: Money
    rounding_fee: Money
    rebate: Money

    @property
    def total(self) -> Money:
        """What the fill costs beyond its price; negative where the rebate is more than the fees."""
        return self.trade_fee + self.rounding_fee - self.rebate


@attrs.define
class RoundingAccumulator:
    """What rounding has taken from one order and not yet paid back; its fills as taker and as maker share it.

    `held` stays below a unit, so that all fills together are never charged less than 0. A single one can be: where its
    trade fee is 0, the rebate is all there is.
    """

    unit: Money
    held: Money = 0

    def charge(self, cost: Money, trade_fee: Money) -> Charge:
        """Charge a fill that costs so much without fees, and keep or pay back what rounding takes."""
        spent = cost + trade_fee
        rounding_fee = round_up(spent, self.unit) - spent
        self.held += rounding_fee
        rebate = self.held // self.unit * self.unit
        self.held -= rebate
        return Charge(trade_fee, rounding_fee, rebate)
