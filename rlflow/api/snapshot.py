"""One book as JSON: cents and contracts, exact; and how to ask for it."""

from typing import Annotated, Final, TypeAlias

import msgspec

from rlflow.orderbook import BookView
from rlflow.units import Count, Nanos, Price, Side, hundredths

JsonLevels: TypeAlias = list[list[int | float]]
MAX_DEPTH: Final = 10_000
QUERY_FORM: Final = f"the query takes market, a ticker, and depth, from 1 to {MAX_DEPTH} levels, each once"


class SnapshotQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which book, and how much of it."""

    market: str | None = None
    """The market's ticker; if absent the first configured one, for a series the open one that closes next."""
    depth: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] | None = None
    """How many levels of each side; all if absent."""


def _levels(levels: tuple[tuple[Price, Count], ...], depth: int | None) -> JsonLevels:
    return [[hundredths(price), hundredths(count)] for price, count in levels[:depth]]


def _mid_cents(view: BookView, side: Side) -> int | float | None:
    """Return the mid in cents; exact, since half of 1/100 cent still prints in a float."""
    doubled = view.doubled_mid(side)
    return None if doubled is None else doubled / 200 if doubled % 200 else doubled // 200


def snapshot_json(view: BookView, now_ns: Nanos, depth: int | None = None) -> dict[str, object]:
    """Return the answer of `/rl/orderbook/snapshot`.

    Args:
        view: the book.
        now_ns: the time that its age is measured from.
        depth: how many levels of each side; None for all.
    """
    spread = None if view.spread is None else hundredths(view.spread)
    return {
        "market_ticker": view.market_ticker,
        "valid": view.is_valid,
        "capture_id": str(view.capture),
        "frame_no": view.frame_no,
        "sequence_number": view.sequence_number,
        "timestamp_ms": view.timestamp_ms,
        "received_ns": view.received_ns,
        "age_ms": max(now_ns - view.received_ns, 0) // 1_000_000,
        "yes_bids": _levels(view.yes_bids, depth),
        "yes_asks": _levels(view.yes_asks, depth),
        "no_bids": _levels(view.no_bids, depth),
        "no_asks": _levels(view.no_asks, depth),
        "yes_spread": spread,
        "no_spread": spread,
        "yes_mid_price": _mid_cents(view, "yes"),
        "no_mid_price": _mid_cents(view, "no"),
    }
