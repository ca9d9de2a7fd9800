"""Whom a new order meets, in price-time order, before anything is changed."""

from collections.abc import Callable, Iterator

import attrs

from rlflow.exchange.matching.book import RestingSide
from rlflow.exchange.matching.orders import SelfTradePrevention
from rlflow.units import Count, Price


@attrs.frozen
class Meeting:
    """One stretch of a level that a taker gets."""

    price: Price
    """Of the resting side."""
    order_id: str
    """Empty: the crowd's."""
    count: Count


@attrs.frozen
class Plan:
    """What a taker would do; execute it before anything else happens to the book."""

    meetings: tuple[Meeting, ...] = ()
    """In the order of the trades."""
    own: tuple[str, ...] = ()
    """The account's own resting orders in its way, which go before the trades."""
    is_cut: bool = False
    """It met one of its own and dies there."""

    @property
    def count(self) -> Count:
        """How much would trade."""
        return sum(meeting.count for meeting in self.meetings)

    @property
    def crosses(self) -> bool:
        """Whether it meets anything at all."""
        return bool(self.meetings or self.own or self.is_cut)


def plan(
    resting: RestingSide,
    lowest: Price,
    count: Count,
    *,
    is_own: Callable[[str], bool],
    prevention: SelfTradePrevention,
) -> Plan:
    """Plan for an order that takes from bids of the other side down to a price, their own (protocol 7)."""
    meetings: list[Meeting] = []
    own: list[str] = []
    for stretch in _stretches(resting, lowest):
        if count == 0:
            break
        if not is_own(stretch.order_id):
            part = min(count, stretch.count)
            meetings.append(Meeting(stretch.price, stretch.order_id, part))
            count -= part
        elif prevention == "taker_at_cross":
            return Plan(tuple(meetings), is_cut=True)
        else:
            own.append(stretch.order_id)
    return Plan(tuple(meetings), tuple(own))


def _stretches(resting: RestingSide, lowest: Price) -> Iterator[Meeting]:
    for price in reversed(resting.prices):
        if price < lowest:
            return
        for portion in resting.portions(price):
            yield Meeting(price, portion.order_id, portion.count)
