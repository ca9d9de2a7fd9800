"""Ids of orders and trades: shaped like UUIDs, distinct within a run, the same for the same seed."""


class Identifiers:
    """Counts orders and trades of one venue."""

    def __init__(self, seed: int) -> None:
        self._seed = seed & 0xFFFFFFFF
        self._orders = 0
        self._trades = 0

    def next_trade_id(self) -> str:
        """Return the id of the next trade."""
        self._trades += 1
        return f"{self._seed:08x}-0000-4000-8000-{self._trades:012x}"

    def next_order_id(self) -> str:
        """Return the id of the next order."""
        self._orders += 1
        return f"{self._seed:08x}-0001-4000-8000-{self._orders:012x}"
