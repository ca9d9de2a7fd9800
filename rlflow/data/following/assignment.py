"""Which market comes over which connection: pure, stable, and bounded for each connection."""

from collections.abc import Iterable, Iterator, Mapping


class Assignment:
    """The markets of each connection. A market stays where it is for as long as that is allowed.

    Connection 0 exists always, even without markets; others come and go. Within a connection, markets stand in the
    order in which they came, and the last are the first to go elsewhere.

    Args:
        capacity: how many markets a connection has at most; at least 1.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._connections: dict[int, dict[str, None]] = {0: {}}
        self._next = 1

    @property
    def connections(self) -> Mapping[int, tuple[str, ...]]:
        """The markets by the connection's number, which is never given twice."""
        return {number: tuple(markets) for number, markets in self._connections.items()}

    def assign(self, tickers: Iterable[str], capacity: int) -> None:
        """Let these be the markets from now on, at most so many on each connection. O(markets)."""
        self._capacity = capacity
        wanted = dict.fromkeys(tickers)
        for number, markets in self._connections.items():
            kept = [ticker for ticker in markets if ticker in wanted][:capacity]
            self._connections[number] = dict.fromkeys(kept)
        placed = {ticker for markets in self._connections.values() for ticker in markets}
        rooms = self._rooms()
        for ticker in wanted:
            if ticker not in placed:
                next(rooms)[ticker] = None
        self._connections = {number: markets for number, markets in self._connections.items() if markets or not number}

    def _rooms(self) -> Iterator[dict[str, None]]:
        """Yield a connection with room for one more market, each time."""
        for markets in list(self._connections.values()):
            while len(markets) < self._capacity:
                yield markets
        while True:
            markets = self._connections[self._next] = {}
            self._next += 1
            while len(markets) < self._capacity:
                yield markets
