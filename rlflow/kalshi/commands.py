"""Commands to the venue as text frames (protocol 3.1 to 3.4).

Every command has an `id` from 1 (0 would mean none) that its answer repeats.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def subscribe(
    command_id: int, channels: Sequence[str], tickers: Iterable[str] | None, *, use_yes_price: bool = False
) -> bytes:
    """Ask for channels of these markets; a channel that the connection already holds is extended, without snapshots.

    Without markets (None) it is about channels that take none. The convention of NO prices is always said, because the
    venue is going to change its default (protocol 4.5).
    """
    if tickers is None:
        return _command(command_id, "subscribe", {"channels": list(channels)})
    return _command(
        command_id,
        "subscribe",
        {"channels": list(channels), "market_tickers": list(tickers), "use_yes_price": use_yes_price},
    )


def unsubscribe(command_id: int, sids: Iterable[int]) -> bytes:
    """End subscriptions; answered once for each."""
    return _command(command_id, "unsubscribe", {"sids": list(sids)})


def add_markets(command_id: int, sid: int, tickers: Iterable[str]) -> bytes:
    """Extend a subscription; each market it did not hold gets a snapshot."""
    return _update(command_id, sid, "add_markets", tickers)


def delete_markets(command_id: int, sid: int, tickers: Iterable[str]) -> bytes:
    """Take markets out of a subscription."""
    return _update(command_id, sid, "delete_markets", tickers)


def get_snapshot(command_id: int, sid: int, tickers: Iterable[str]) -> bytes:
    """Ask for a snapshot of each of these markets, which the subscription must hold, in the stream of its deltas."""
    return _update(command_id, sid, "get_snapshot", tickers)


def list_subscriptions(command_id: int) -> bytes:
    """Ask which channels are subscribed under which sid."""
    return _encode({"id": command_id, "cmd": "list_subscriptions"})


def _update(command_id: int, sid: int, action: str, tickers: Iterable[str]) -> bytes:
    return _command(
        command_id, "update_subscription", {"action": action, "sids": [sid], "market_tickers": list(tickers)}
    )


def _command(command_id: int, name: str, params: dict[str, Any]) -> bytes:
    return _encode({"id": command_id, "cmd": name, "params": params})
