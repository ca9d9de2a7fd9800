"""What is public about a market, as publications: changes of its book, trades, quotes, its lifecycle (protocol 4, 5).

Field order is the venue's. Only `delta` is on the hot path.
"""

from typing import Any

import msgspec

from rlflow.exchange.markets.listing import EventSheet, Listing, MarketSheet, whole_seconds
from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.happenings import Change
from rlflow.exchange.wire import frames
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Item
from rlflow.units import ONE_CONTRACT, ONE_DOLLAR, Nanos, Price, complement, format_count, format_price

TICKER = "ticker"
LIFECYCLE = "market_lifecycle_v2"

_MONEY_PER_DOLLAR = ONE_DOLLAR * ONE_CONTRACT


class Times:
    """The time fields that end a frame, shared by all of an action: when it happened, and when they are queued."""

    def __init__(self, at_ns: Nanos, queued_ns: Nanos) -> None:
        self.at_ns = at_ns
        self.queued_ns = queued_ns
        self.at_ms = at_ns // 1_000_000
        self.sending = f'"sending_ts_ms":{queued_ns // 1_000_000}}}'
        self.delta = f'"ts":"{frames.rfc3339_ms(at_ns)}","ts_ms":{self.at_ms}}},{self.sending}'

    # Seldom needed.

    @property
    def trade(self) -> str:
        """Of a trade."""
        return f'"ts":{self.at_ms // 1000},"ts_ms":{self.at_ms}}},{self.sending}'

    @property
    def ticker(self) -> str:
        """Of a ticker."""
        time = f'"time":"{frames.rfc3339_ms(self.at_ns)}"'
        return f'"ts":{self.at_ms // 1000},"ts_ms":{self.at_ms},{time}}},{self.sending}'


def delta(book: SimulatedBook, change: Change, times: Times) -> Item:
    """Return a level's change."""
    side, price, order = change.side, change.price, change.order
    tail = (
        f',"msg":{{{book.names_json},"clock":{book.clock},"price_dollars":"{frames.price_text(price)}",'
        f'"delta_fp":"{frames.count_text(change.delta)}","side":"{side}",{times.delta}'
    )
    item = Item(ORDERBOOK, book.ticker, b'{"type":"orderbook_delta",', tail.encode(), price if side == "no" else -1)
    if order is not None and order.client_order_id:
        item.causer, item.client_order_id = order.account, order.client_order_id
    return item


def trade(book: SimulatedBook, record: TradeRecord, times: Times) -> Item:
    """Return a trade."""
    tail = (
        f',"msg":{{"trade_id":"{record.trade_id}","market_ticker":{book.ticker_json},'
        f'"yes_price_dollars":"{frames.price_text(record.yes_price)}",'
        f'"no_price_dollars":"{frames.price_text(complement(record.yes_price))}",'
        f'"count_fp":"{format_count(record.count)}","taker_side":"{record.taker}","taker_outcome_side":"{record.taker}",'
        f'"taker_book_side":"{record.taker_book_side}","is_block_trade":false,{times.trade}'
    )
    return Item(TRADE, book.ticker, b'{"type":"trade",', tail.encode())


def empty_snapshot(book: SimulatedBook, times: Times) -> Item:
    """Return the snapshot that nobody asked for, after a close: both sides' keys are missing."""
    tail = f',"msg":{{{book.names_json},"clock":{book.clock}}},{times.sending}'
    return Item(ORDERBOOK, book.ticker, b'{"type":"orderbook_snapshot",', tail.encode())


def quote_text(listing: Listing, book: SimulatedBook) -> str:
    """Return what a `ticker` says of the market, all but the times.

    Quotes and totals; where a side is empty its size is 0 and its price as far off as can be.
    """
    yes, no = book.sides["yes"], book.sides["no"]
    price = "" if listing.last_price is None else format_price(listing.last_price)
    held = listing.open_interest * (listing.last_price or 0)
    return (
        f',"msg":{{"market_id":"{book.market_id}","market_ticker":{book.ticker_json},"price_dollars":"{price}",'
        f'"yes_bid_dollars":"{format_price(yes.best)}","yes_ask_dollars":"{format_price(complement(no.best))}",'
        f'"yes_bid_size_fp":"{format_count(yes.sizes.get(yes.best, 0))}",'
        f'"yes_ask_size_fp":"{format_count(no.sizes.get(no.best, 0))}",'
        f'"last_trade_size_fp":"{format_count(listing.last_count)}","volume_fp":"{format_count(listing.volume)}",'
        f'"open_interest_fp":"{format_count(listing.open_interest)}",'
        f'"dollar_volume":{listing.dollar_volume // _MONEY_PER_DOLLAR},'
        f'"dollar_open_interest":{held // _MONEY_PER_DOLLAR},'
    )


def ticker(book: SimulatedBook, quote: str, times: Times) -> Item:
    """Return the `ticker` that says this of the market."""
    return Item(TICKER, book.ticker, b'{"type":"ticker",', f"{quote}{times.ticker}".encode())


# The channel market_lifecycle_v2 (protocol 5.3); its times are whole seconds.


def market_event(ticker: str, event_type: str, times: Times, **fields: Any) -> Item:
    """Return an event of a market's life."""
    return _lifecycle("market_lifecycle_v2", {"market_ticker": ticker, "event_type": event_type, **fields}, times)


def created(sheet: MarketSheet, event: EventSheet, times: Times) -> Item:
    """Return that a market was created."""
    metadata: dict[str, Any] = {
        "name": sheet.yes_sub_title,
        "title": sheet.title,
        "yes_sub_title": sheet.yes_sub_title,
        "no_sub_title": sheet.no_sub_title,
        "rules_primary": sheet.rules_primary,
        "rules_secondary": sheet.rules_secondary,
        "can_close_early": sheet.can_close_early,
        "event_ticker": event.ticker,
        "expected_expiration_ts": whole_seconds(sheet.close_ns),
        **sheet.strike(),
    }
    return market_event(
        sheet.ticker,
        "created",
        times,
        open_ts=whole_seconds(sheet.open_ns),
        close_ts=whole_seconds(sheet.close_ns),
        exchange_index=sheet.exchange_index,
        price_level_structure=sheet.grid.structure,
        price_ranges=sheet.grid.ranges(),
        additional_metadata=metadata,
    )


def event_created(event: EventSheet, times: Times) -> Item:
    """Return that an event was created."""
    fields: dict[str, Any] = {
        "event_ticker": event.ticker,
        "exchange_index": 0,
        "title": event.title,
        "subtitle": event.sub_title,
        "collateral_return_type": event.collateral_return_type,
        "series_ticker": event.series_ticker,
    }
    if event.strike_ns is not None:
        fields["strike_date"] = whole_seconds(event.strike_ns)
    if event.strike_period:
        fields["strike_period"] = event.strike_period
    return _lifecycle("event_lifecycle", fields, times)


def event_fees(event: EventSheet, times: Times) -> Item:
    """Return which fees an event has now in place of its series'."""
    multiplier = event.fee_multiplier_override
    fields = {
        "event_ticker": event.ticker,
        "fee_type_override": event.fee_type_override,
        "fee_multiplier_override": None if multiplier is None else float(multiplier),
    }
    return _lifecycle("event_fee_update", fields, times)


def determined(listing: Listing, value: Price, times: Times) -> Item:
    """Return what a market's result is."""
    return market_event(
        listing.ticker,
        "determined",
        times,
        result=listing.result,
        determination_ts=whole_seconds(times.at_ns),
        settlement_value=format_price(value),
    )


def _lifecycle(kind: str, msg: dict[str, Any], times: Times) -> Item:
    tail = f',"msg":{msgspec.json.encode(msg).decode()},{times.sending}'
    return Item(LIFECYCLE, msg.get("market_ticker", ""), f'{{"type":"{kind}",'.encode(), tail.encode())
