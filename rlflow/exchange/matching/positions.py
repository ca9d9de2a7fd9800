"""One account's net position in one market, at average cost (protocol 5.6, 6.4 and 7).

Buying YES while holding NO closes the pair: a dollar a contract comes back, so that selling is nothing else than buying
the other side. Everything here is exact; the only division splits a cost and keeps the rest with what stays open.
"""

import attrs

from rlflow.exchange.matching.orders import BookSide
from rlflow.units import ONE_DOLLAR, Count, Money, Nanos, Price, complement


@attrs.frozen
class PositionView:
    """A position at a moment."""

    account: str
    ticker: str
    count: Count = 0
    """Net contracts; positive is YES, negative NO."""
    cost: Money = 0
    """What the open contracts cost, without fees."""
    realized_pnl: Money = 0
    """Of what was closed or settled, without fees."""
    fees_paid: Money = 0
    """Since the first fill."""
    open_fees: Money = 0
    """The part of them that belongs to the open contracts."""
    traded: Money = 0
    """The cost of everything ever bought, either side."""
    volume: Count = 0
    updated_ns: Nanos = 0

    def after_fill(self, side: BookSide, price: Price, count: Count, fee: Money, at_ns: Nanos) -> "PositionView":
        """Return the position after a fill of its account at a YES price."""
        sign, own = (1, price) if side == "bid" else (-1, complement(price))
        closed = closing_count(self.count, side, count)
        opened = count - closed
        freed_cost, freed_fees = self._share(self.cost, closed), self._share(self.open_fees, closed)
        opening_fee = fee * opened // count
        return attrs.evolve(
            self,
            count=self.count + sign * count,
            cost=self.cost - freed_cost + own * opened,
            realized_pnl=self.realized_pnl + (ONE_DOLLAR - own) * closed - freed_cost,
            fees_paid=self.fees_paid + fee,
            open_fees=self.open_fees - freed_fees + opening_fee,
            traded=self.traded + own * count,
            volume=self.volume + count,
            updated_ns=at_ns,
        )

    def _share(self, amount: Money, closed: Count) -> Money:
        """Return the part of an amount that goes with the closed contracts."""
        return amount * closed // abs(self.count) if closed else 0

    def after_settlement(self, payout: Money, at_ns: Nanos) -> "PositionView":
        """Return the flat position after its contracts paid out."""
        pnl = self.realized_pnl + payout - self.cost
        return attrs.evolve(self, count=0, cost=0, open_fees=0, realized_pnl=pnl, updated_ns=at_ns)


def closing_count(position: Count, side: BookSide, count: Count) -> Count:
    """Return how many contracts of a fill reduce the position."""
    held = -position if side == "bid" else position
    return min(max(held, 0), count)
