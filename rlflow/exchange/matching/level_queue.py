"""One level of a simulated book that holds orders of accounts: who is served in which order."""

import msgspec

from rlflow.units import Count


class Portion(msgspec.Struct):
    """A stretch of a level's queue."""

    order_id: str
    """Empty: the crowd's, whose orders nobody tells apart."""
    count: Count


class LevelQueue:
    """First come, first served; neighbouring volume of the crowd is one portion, and no portion is empty."""

    def __init__(self, crowd: Count) -> None:
        self.portions = [Portion("", crowd)] if crowd else []

    @property
    def crowd(self) -> Count:
        """What belongs to the crowd."""
        return sum(portion.count for portion in self.portions if not portion.order_id)

    @property
    def has_orders(self) -> bool:
        """Whether any of it belongs to an account."""
        return any(portion.order_id for portion in self.portions)

    def append(self, order_id: str, count: Count) -> None:
        """Put an order behind all others."""
        if not order_id and self.portions and not self.portions[-1].order_id:
            self.portions[-1].count += count
        else:
            self.portions.append(Portion(order_id, count))

    def withdraw(self, count: Count) -> None:
        """Let the crowd take back so much, what came last first; AssertionError if it has less."""
        self._reduce("", count)

    def reduce(self, order_id: str, count: Count) -> None:
        """Take so much from an order, which keeps its place; AssertionError if it has less."""
        self._reduce(order_id, count)

    def _reduce(self, order_id: str, count: Count) -> None:
        for portion in reversed(self.portions):
            if portion.order_id == order_id:
                part = min(count, portion.count)
                portion.count -= part
                count -= part
        assert count == 0, f"{count} more than {order_id or 'the crowd'} has here"
        self._tidy()

    def take(self, count: Count) -> list[Portion]:
        """Serve a taker from the front and return what it got, in order; AssertionError if there is less."""
        taken: list[Portion] = []
        for portion in self.portions:
            part = min(count, portion.count)
            if part == 0:
                break
            portion.count -= part
            count -= part
            taken.append(Portion(portion.order_id, part))
        assert count == 0, f"{count} more than the level holds"
        self._tidy()
        return taken

    def ahead(self, order_id: str) -> Count:
        """Return how much is served before an order that is in the queue."""
        total = 0
        for portion in self.portions:
            if portion.order_id == order_id:
                break
            total += portion.count
        return total

    def _tidy(self) -> None:
        # Volume of the crowd that has become adjacent joins; nobody can tell its orders apart.
        portions, self.portions = self.portions, []
        for portion in portions:
            if portion.count:
                self.append(portion.order_id, portion.count)
