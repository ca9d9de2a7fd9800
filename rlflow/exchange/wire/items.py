"""What a market publishes: encoded once, sent to every subscription that covers it."""

from typing import Protocol

import attrs
import msgspec

from rlflow.units import ONE_DOLLAR, Count, Price, complement, format_price

ORDERBOOK = "orderbook_delta"
TRADE = "trade"

Ladder = tuple[tuple[Price, Count], ...]


class Item(msgspec.Struct, gc=False):
    """One publication; the frame is `head`, then the connection's own sid and seq, then `tail`."""

    channel: str
    ticker: str
    """Empty: for every subscription of the channel that covers all of `markets`."""
    head: bytes
    tail: bytes
    no_price: Price = -1
    """The NO price of a NO level's change, which `use_yes_price` turns into its complement; -1: nothing to turn."""
    recorded_seq: int | None = None
    """The number it had in a recording whose numbers are kept; None: the next free one."""
    markets: tuple[str, ...] = ()
    account: str = ""
    """The API key id whose connections alone get it; empty: public."""
    causer: str = ""
    """The API key id whose order made this change of a book; its connections alone get `client_order_id`."""
    client_order_id: str = ""

    def yes_priced_tail(self) -> bytes:
        """Return the tail for a subscription that asked for YES prices throughout (protocol 4.5)."""
        if self.no_price < 0:
            return self.tail
        return self.tail.replace(_priced(self.no_price), _priced(complement(self.no_price)), 1)

    def owned_tail(self, tail: bytes) -> bytes:
        """Return a tail of this item with what only the causer may know (protocol 4.1)."""
        named = b'"msg":{"client_order_id":%b,' % msgspec.json.encode(self.client_order_id)
        return tail.replace(b'"msg":{', named, 1)


def _priced(price: Price) -> bytes:
    return b'"price_dollars":"%b"' % format_price(price).encode()


@attrs.frozen
class Image:
    """A market's whole book at a moment, prices as each side's own, in no particular order."""

    market_ticker: str
    market_id: str = ""
    clock: int = 0
    """The engine's counter at the market's last change; 0 before the first."""
    yes: Ladder = ()
    no: Ladder = ()


@attrs.frozen
class Top:
    """The best bid and ask in YES prices. An empty side has size 0 and a bid of 0, or an ask of a dollar."""

    bid: Price = 0
    bid_size: Count = 0
    ask: Price = ONE_DOLLAR
    ask_size: Count = 0

    @classmethod
    def of(cls, image: Image) -> "Top":
        """Return the best prices of a book."""
        bid, bid_size = max(image.yes, default=(0, 0))
        no_bid, ask_size = max(image.no, default=(0, 0))
        return cls(bid, bid_size, complement(no_bid), ask_size)


class Markets(Protocol):
    """What a conversation asks about the markets."""

    def image(self, ticker: str) -> Image | None:
        """Return the book to send as a snapshot now, an empty one for a market that nobody knows.

        None: a recording is about to bring its own snapshot, so none must be sent.
        """
        ...

    def quote(self, ticker: str) -> Item | None:
        """Return the market's `ticker` publication as of now; None where no tickers are published."""
        ...

    def ticker_of(self, market_id: str) -> str | None:
        """Return the market that has this id, None if no market has."""
        ...

    def objection(self, *, use_yes_price: bool) -> str | None:
        """Return why an order book subscription with this convention cannot be served, None if it can."""
        ...
