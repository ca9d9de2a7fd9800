"""The followed markets as JSON, and changing them."""

from datetime import UTC, datetime

import msgspec

from rlflow.api.service import Service
from rlflow.setting_values import tickers
from rlflow.units import Nanos


class MarketsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which markets to follow from now on, and which no more."""

    add: list[str] = msgspec.field(default_factory=list)
    """Tickers; those that are followed already are kept, and then followed whatever their series does."""
    remove: list[str] = msgspec.field(default_factory=list)
    """Tickers; also of markets that a series has brought."""


def _time(at_ns: Nanos | None) -> str | None:
    """Return a time as the venue writes it, None if it is not known."""
    return None if at_ns is None else datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def markets_json(service: Service) -> list[dict[str, object]]:
    """Return the followed markets, the configured ones first."""
    lanes = service.feeds.lanes_of()
    connected = {lane.name for lane in service.feeds.statistics().feeds if lane.feed.is_connected}
    return [
        {
            "market_ticker": market.ticker,
            "series_ticker": market.series,
            "status": market.status,
            "open_time": _time(market.open_ns),
            "close_time": _time(market.close_ns),
            "feeds": list(lanes.get(market.ticker, ())),
            "connected": any(name in connected for name in lanes.get(market.ticker, ())),
            "valid": service.books.is_valid(market.ticker),
        }
        for market in service.following.markets()
    ]


async def change_markets(service: Service, wish: MarketsBody) -> dict[str, object]:
    """Carry out a wish and return the answer.

    Raises:
        ValueError: it is no wish that can be carried out.
        UnknownMarketError: a market is not known to the venue, or not followed; nothing was changed.
    """
    for ticker in (*wish.add, *wish.remove):
        if tickers(ticker) != (ticker,):
            raise ValueError(f"{ticker[:60]!r} is not a ticker")
    if both := sorted(set(wish.add) & set(wish.remove)):
        raise ValueError(f"to be added and removed: {', '.join(both[:10])}")
    if not wish.add and not wish.remove:
        raise ValueError("name markets to add or to remove")
    add, before = list(dict.fromkeys(wish.add)), set(service.following.followed())
    remove = list(dict.fromkeys(wish.remove))
    await service.following.change(add, remove)
    return {
        "added": [ticker for ticker in add if ticker not in before],
        "kept": [ticker for ticker in add if ticker in before],
        "removed": remove,
        "markets": len(service.following.followed()),
        "lasts": "until the process ends; then RL_MARKET_TICKER and RL_SERIES_TICKER count",
    }
