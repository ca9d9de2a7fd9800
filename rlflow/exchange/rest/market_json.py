"""A market as REST shows it (protocol 6.2)."""

import math

from rlflow.exchange.markets.listing import Listing, MarketSheet
from rlflow.exchange.wire.frames import rfc3339_ms
from rlflow.exchange.wire.items import Top
from rlflow.units import ONE_DOLLAR, complement, format_count, format_price

Json = dict[str, object]


def market_json(listing: Listing, top: Top) -> Json:
    """Return a market's data sheet with its prices.

    The run is the market's whole history: what was 24 hours ago is shown as nothing, and all volume as today's.
    """
    return _sheet_json(listing.sheet) | _state_json(listing) | _price_json(listing, top)


def _sheet_json(sheet: MarketSheet) -> Json:
    expiration_ns = sheet.close_ns + round(sheet.settlement_timer_s * 1e9)
    return {
        "ticker": sheet.ticker,
        "event_ticker": sheet.event_ticker,
        "market_type": "binary",
        "title": sheet.title,
        "yes_sub_title": sheet.yes_sub_title,
        "no_sub_title": sheet.no_sub_title,
        "open_time": rfc3339_ms(sheet.open_ns),
        "close_time": rfc3339_ms(sheet.close_ns),
        "expected_expiration_time": rfc3339_ms(sheet.close_ns),
        "latest_expiration_time": rfc3339_ms(expiration_ns),
        # Whole seconds on the venue; those of short-lived markets here may be less.
        "settlement_timer_seconds": math.ceil(sheet.settlement_timer_s),
        "can_close_early": sheet.can_close_early,
        "notional_value_dollars": format_price(ONE_DOLLAR),
        "settlement_bounds_type": "default",
        "rules_primary": sheet.rules_primary,
        "rules_secondary": sheet.rules_secondary,
        "price_level_structure": sheet.grid.structure,
        "price_ranges": sheet.grid.ranges(),
        "exchange_index": sheet.exchange_index,
        **sheet.strike(),
    }


def _state_json(listing: Listing) -> Json:
    state: Json = {
        "status": listing.status,
        "created_time": rfc3339_ms(listing.created_ns),
        "updated_time": rfc3339_ms(listing.updated_ns),
        "result": listing.result,
        "expiration_value": "",
    }
    if listing.settlement_value is not None:
        state["settlement_value_dollars"] = format_price(listing.settlement_value)
    if listing.settled_ns is not None:
        state["settlement_ts"] = rfc3339_ms(listing.settled_ns)
    return state


def _price_json(listing: Listing, top: Top) -> Json:
    nothing = format_price(0)
    return {
        "yes_bid_dollars": format_price(top.bid),
        "yes_ask_dollars": format_price(top.ask),
        "no_bid_dollars": format_price(complement(top.ask)),
        "no_ask_dollars": format_price(complement(top.bid)),
        "yes_bid_size_fp": format_count(top.bid_size),
        "yes_ask_size_fp": format_count(top.ask_size),
        "last_price_dollars": format_price(listing.last_price or 0),
        "previous_yes_bid_dollars": nothing,
        "previous_yes_ask_dollars": nothing,
        "previous_price_dollars": nothing,
        "volume_fp": format_count(listing.volume),
        "volume_24h_fp": format_count(listing.volume),
        "open_interest_fp": format_count(listing.open_interest),
    }
