"""Public trades, the newest first (protocol 6.2)."""

import heapq
from collections.abc import Iterable

from rlflow.exchange.markets.trade_history import TradeRecord
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.paging import page
from rlflow.exchange.rest.routes import Route
from rlflow.exchange.wire.frames import rfc3339_ms
from rlflow.units import complement, format_count, format_price


def trades(desk: Desk, request: Request) -> Answer:
    """Return a market's trades, or those of all markets. There are no block trades here."""
    query = request.query
    ticker, period, wants_blocks = query.text("ticker"), query.period(), query.flag("is_block_trade")

    history = desk.venue.trades(ticker) if ticker else all_trades(desk)
    found = page(
        ((-trade.number, trade) for trade in history),
        query,
        keep=lambda trade: not wants_blocks and trade.at_ns in period,
    )
    return ok(trades=[_trade_json(trade) for trade in found.items], cursor=found.cursor)


def all_trades(desk: Desk) -> Iterable[TradeRecord]:
    """Return the trades of all markets, the newest first."""
    histories = [desk.venue.trades(ticker) for ticker in desk.venue.listings]
    return heapq.merge(*histories, key=lambda trade: -trade.number)


def _trade_json(trade: TradeRecord) -> Json:
    return {
        "trade_id": trade.trade_id,
        "ticker": trade.ticker,
        "count_fp": format_count(trade.count),
        "yes_price_dollars": format_price(trade.yes_price),
        "no_price_dollars": format_price(complement(trade.yes_price)),
        "taker_side": trade.taker,
        "taker_outcome_side": trade.taker,
        "taker_book_side": trade.taker_book_side,
        "created_time": rfc3339_ms(trade.at_ns),
        "is_block_trade": False,
    }


ROUTES = (Route("GET", "/markets/trades", trades, is_public=True),)
