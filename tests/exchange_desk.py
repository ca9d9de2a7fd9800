"""A conversation with the local venue whose answers are read at once, over markets that stand still."""

import json

from rlflow.exchange.wire.conversation import Caller, Conversation, Limits
from rlflow.exchange.wire.fault_script import FaultScript
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Image, Item
from tests.exchange_client import Frame

NOW_MS = 1_795_305_600_123


class TwoBooks:
    """Markets that stand still; tickers beginning with LATER will be told by a recording."""

    has_no_prices_only = False

    def image(self, ticker: str) -> Image | None:
        if ticker.startswith("LATER"):
            return None
        if ticker in {"A", "B"}:
            return Image(ticker, "some-id", 41_007, ((4_100, 1_200), (4_200, 350)), ((5_500, 2_000),))
        return Image(ticker)

    def quote(self, ticker: str) -> Item | None:
        if ticker not in {"A", "B"}:
            return None
        return Item("ticker", ticker, b'{"type":"ticker",', b',"msg":{"market_ticker":"%b"}}' % ticker.encode())

    def ticker_of(self, market_id: str) -> str | None:
        return {"id-of-A": "A", "id-of-B": "B"}.get(market_id)

    def objection(self, *, use_yes_price: bool) -> str | None:
        return "FORBIDDEN" if use_yes_price and self.has_no_prices_only else None


class Desk:
    """A conversation whose answers are read at once."""

    def __init__(self, limits: Limits | None = None, *faults: Fault, caller: Caller | None = None) -> None:
        self.markets = TwoBooks()
        self.conversation = Conversation(self.markets, limits, FaultScript(faults), caller)
        self.now_ms = NOW_MS

    def say(self, text: str | bytes) -> list[Frame]:
        self.conversation.receive(text, self.now_ms)
        return self.read()

    def publish(self, *items: Item) -> list[Frame]:
        self.conversation.publish(items, self.now_ms)
        return self.read()

    def wait(self, seconds: float) -> list[Frame]:
        self.now_ms += round(seconds * 1000)
        self.conversation.advance(self.now_ms)
        return self.read()

    def read(self) -> list[Frame]:
        return [json.loads(frame) for frame in self.read_bytes()]

    def read_bytes(self) -> list[bytes]:
        return self.conversation.outlet.outbox.take(10**9)


def delta(ticker: str, *, no_price: int = -1, recorded_seq: int | None = None) -> Item:
    tail = b',"msg":{"market_ticker":"%b","price_dollars":"0.5500","delta_fp":"1.00"}}' % ticker.encode()
    return Item(ORDERBOOK, ticker, b'{"type":"orderbook_delta",', tail, no_price, recorded_seq)


def trade(ticker: str) -> Item:
    return Item(TRADE, ticker, b'{"type":"trade",', b',"msg":{"market_ticker":"%b"}}' % ticker.encode())
