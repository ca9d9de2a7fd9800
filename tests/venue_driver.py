"""A simulated venue whose time the test lets pass, and everything that it has published."""

import json
from typing import Any

from rlflow.exchange.markets.floor import Outlets
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.wire.items import ORDERBOOK, Image, Item
from rlflow.units import ONE_DOLLAR, Nanos, parse_count, parse_price

START_NS: Nanos = 1_795_305_600_119_000_000
"""2026-11-22 00:00:00.119 UTC."""
SECOND_NS: Nanos = 1_000_000_000
Levels = dict[str, dict[int, int]]


def frame(item: Item) -> dict[str, Any]:
    """Return an item as a subscription would send it."""
    decoded: dict[str, Any] = json.loads(item.head + b'"sid":1,"seq":1' + item.tail)
    return decoded


def body(item: Item) -> dict[str, Any]:
    """Return the `msg` of an item."""
    msg: dict[str, Any] = frame(item)["msg"]
    return msg


def levels(image: Image) -> Levels:
    return {"yes": dict(image.yes), "no": dict(image.no)}


def apply(book: Levels, msg: dict[str, Any]) -> None:
    """Follow one delta."""
    side, price = book[msg["side"]], parse_price(msg["price_dollars"])
    side[price] = side.get(price, 0) + parse_count(msg["delta_fp"])
    assert side[price] >= 0
    if side[price] == 0:
        del side[price]


def room(book: Levels) -> int:
    """Return what is left between the best bids of both sides; 0 is locked, below is crossed."""
    return ONE_DOLLAR - max(book["yes"], default=0) - max(book["no"], default=0)


class Driven:
    """The venue, driven as its tasks drive it."""

    def __init__(self, spec: VenueSpec, now_ns: Nanos = START_NS) -> None:
        self.items: list[Item] = []
        self.disconnects = 0
        self.wakes = 0
        self.now_ns = self._acted_ns = now_ns
        self.venue = Venue(spec, now_ns, Outlets(self.items.extend, self._disconnect, self._wake))

    def _disconnect(self) -> None:
        self.disconnects += 1

    def _wake(self) -> None:
        self.wakes += 1

    def run_until(self, end_ns: Nanos) -> "Driven":
        """Let time pass."""
        while True:
            gap_s = self.venue.gap_s()
            acts_ns = self._acted_ns + int(gap_s * 1e9) if gap_s < 1e6 else end_ns + 1
            next_ns = self.venue.next_ns
            if next_ns is not None and next_ns <= min(acts_ns, end_ns):
                self.now_ns = max(self.now_ns, next_ns)
                self.venue.keep_time(self.now_ns)
            elif acts_ns <= end_ns:
                self.now_ns = self._acted_ns = max(self.now_ns, acts_ns)
                self.items.extend(self.venue.act(self.now_ns))
            else:
                self.now_ns = end_ns
                return self

    def run(self, seconds: float) -> "Driven":
        """Let so much time pass."""
        return self.run_until(self.now_ns + round(seconds * SECOND_NS))

    def take(self, channel: str | None = None) -> list[Item]:
        """Return what was published since the last call, of one channel if that is given, and forget it."""
        taken = [item for item in self.items if channel in {None, item.channel}]
        self.items.clear()
        return taken

    def events(self, ticker: str | None = None) -> list[str]:
        """Return what the lifecycle channel has said so far, of one market if that is given."""
        said = [frame(item) for item in self.items if item.channel == "market_lifecycle_v2"]
        return [
            each["msg"].get("event_type", each["type"])
            for each in said
            if ticker is None or each["msg"].get("market_ticker") == ticker
        ]


class Follower:
    """A client's books: it takes snapshots when it pleases, and follows every delta."""

    def __init__(self) -> None:
        self.books: dict[str, Levels] = {}
        self.clocks: dict[str, int] = {}

    def follow(self, items: list[Item]) -> None:
        """Follow what was published; every clock of a market is at least its last one."""
        for item in items:
            if item.channel != ORDERBOOK:
                continue
            msg = body(item)
            book = self.books.setdefault(item.ticker, {"yes": {}, "no": {}})
            assert msg["clock"] >= self.clocks.get(item.ticker, 0)
            self.clocks[item.ticker] = msg["clock"]
            if "side" in msg:
                apply(book, msg)
            else:
                assert "yes_dollars_fp" not in msg
                assert "no_dollars_fp" not in msg
                self.books[item.ticker] = {"yes": {}, "no": {}}
