"""The recorded windows of one busy market beside the project, as streams for `tests.market_statistics`."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rlflow.exchange.matching.happenings import Change, Deal, Happening
from rlflow.units import Count, Price, Side, complement, parse_count, parse_price
from tests.market_statistics import Group, Stream
from tests.real_recordings import GOLD, connections

SHORTEST = 1_000
"""A piece with fewer frames (a file that midnight cut off) tells nothing."""


def windows() -> list[Path]:
    """Return the files, none where there are no recordings."""
    return GOLD


def streams(path: Path) -> Iterator[Stream]:
    """Yield the unbroken pieces of a file: one, or two where its connection was broken."""
    frames = [raw.frame for raw in connections(path)[0] if raw.frame["sid"] in {1, 2}]
    starts = [n for n, frame in enumerate(frames) if frame["type"] == "orderbook_snapshot"]
    for start, end in zip(starts, [*starts[1:], len(frames)], strict=True):
        piece = frames[start + 1 : end]
        if len(piece) >= SHORTEST:
            yield Stream(_time_us(piece[0]), _levels(frames[start]["msg"]), _groups(piece))


def _levels(msg: dict[str, Any]) -> dict[Side, dict[Price, Count]]:
    sides: tuple[tuple[Side, str], ...] = (("yes", "yes_dollars_fp"), ("no", "no_dollars_fp"))
    return {side: {parse_price(price): parse_count(size) for price, size in msg.get(key, [])} for side, key in sides}


def _groups(frames: Sequence[dict[str, Any]]) -> Iterator[Group]:
    """Yield what has the same time: deltas know theirs to the microsecond, trades to the millisecond."""
    for at_us, group in groupby(frames, key=_time_us):
        yield Group(at_us, [_happening(frame) for frame in group])


def _time_us(frame: dict[str, Any]) -> int:
    msg = frame["msg"]
    if frame["type"] == "trade":
        return int(msg["ts_ms"]) * 1_000
    # The fraction has as many digits as it needs, none for a whole second.
    fraction = msg["ts"].removesuffix("Z")[20:].ljust(6, "0")
    return int(msg["ts_ms"]) // 1_000 * 1_000_000 + int(fraction)


def _happening(frame: dict[str, Any]) -> Happening:
    msg = frame["msg"]
    if frame["type"] == "orderbook_delta":
        return Change(msg["side"], parse_price(msg["price_dollars"]), parse_count(msg["delta_fp"]))
    yes_price, is_yes_taker = parse_price(msg["yes_price_dollars"]), msg["taker_outcome_side"] == "yes"
    maker: Side = "no" if is_yes_taker else "yes"
    return Deal(maker, complement(yes_price) if is_yes_taker else yes_price, parse_count(msg["count_fp"]))
