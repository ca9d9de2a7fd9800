"""What an account must set aside for its resting orders: they are paid for in advance (protocol 7).

A bid for either side costs its price and the most it can pay in fees. What would only close a position costs nothing:
its proceeds are never less than its fee. The orders that fill first, those with the best price, close first. Cash less
what is set aside therefore never falls through fills, whatever their order, and never below 0 while fees stay.

Nothing is returned across the markets of an event; the venue does that for some. It errs on the safe side.
"""

from collections.abc import Iterable

import attrs

from rlflow.fees import FeeModel, round_up
from rlflow.units import Count, Money, Price, Side


@attrs.frozen
class Claim:
    """What an order may still buy."""

    side: Side
    price: Price
    """Of one contract of that side."""
    count: Count
    is_taker: bool = False
    """Whether it may fill at the taker's fee."""
    held: Money = 0
    """What rounding has taken from its earlier fills and owes to the next ones; below the account's unit."""


@attrs.frozen
class Terms:
    """How cost becomes money."""

    fees: FeeModel
    unit: Money
    """The account's; every amount is a multiple of it."""


def required(position: Count, claims: Iterable[Claim], terms: Terms) -> Money:
    """Return what one market's orders of one account require; those of equal price in the order of their fills."""
    ranked = sorted(claims, key=lambda claim: -claim.price)
    yes = _required(max(-position, 0), [claim for claim in ranked if claim.side == "yes"], terms)
    return yes + _required(max(position, 0), [claim for claim in ranked if claim.side == "no"], terms)


def _required(covered: Count, claims: Iterable[Claim], terms: Terms) -> Money:
    total = 0
    for claim in claims:
        closing = min(covered, claim.count)
        covered -= closing
        total += _price_of(claim, claim.count - closing, terms)
    return total


def _price_of(claim: Claim, count: Count, terms: Terms) -> Money:
    # All fills of an order together cost their sum rounded up once; so do those to come, less what is held.
    fees = terms.fees.most_fees(claim.price, count, is_taker=claim.is_taker)
    return round_up(claim.price * count + fees - claim.held, terms.unit)
