"""Recordings as what a venue would send again: connections of frames, and what each frame says.

Nothing here is imported from rlflow, so that a mistake of ours cannot hide in the expectation.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

import attrs

from tests.oracle import Frame, scaled

Levels: TypeAlias = tuple[tuple[int, int], ...]
"""Prices in 1/10,000 dollar and sizes in 1/100 contract, best bid first."""

KINDS = {"orderbook_snapshot": "snapshot", "orderbook_delta": "delta", "trade": "trade"}


class Message(NamedTuple):
    """What a frame of data says, in a form that frames and table rows share."""

    kind: str
    market: str
    at_ms: int | None
    """The venue's time; None of a snapshot, which has none."""
    content: tuple[object, ...]


@attrs.frozen
class Tape:
    """Files that are played one after the other, and what they hold."""

    name: str
    paths: tuple[Path, ...]
    recorded: Callable[[], Iterable[list[Frame]]]
    """Returns the frames of each recorded connection, in the order of the files."""
    is_sparse: bool = False
    """Whether other markets shared the sids but not the recording."""

    @cached_property
    def connections(self) -> list[list[Frame]]:
        """What each connection of a replay has to bring: those recorded, cut where a number falls."""
        return [part for frames in self.recorded() for part in _cut_at_falls(frames)]


def _cut_at_falls(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Yield the frames in parts; a number below the last of its sid is a reconnect that was not written down."""
    part: list[Frame] = []
    last: dict[int, int] = {}
    for frame in frames:
        if frame.get("sid") is not None and frame.get("seq") is not None:
            if frame["seq"] < last.get(frame["sid"], 0):
                yield part
                part, last = [], {}
            last[frame["sid"]] = frame["seq"]
        part.append(frame)
    yield part


def is_data(frame: Frame) -> bool:
    return frame["type"] in KINDS


def message(frame: Frame) -> Message:
    """Return what a frame of data says."""
    kind, body = KINDS[frame["type"]], frame["msg"]
    market = body["market_ticker"]
    if kind == "snapshot":
        return Message(kind, market, None, (levels(body, "yes"), levels(body, "no")))
    if kind == "delta":
        change = (body["side"], scaled(body["price_dollars"], 10_000), scaled(body["delta_fp"], 100))
        return Message(kind, market, _ms(body), change)
    taker = body.get("taker_outcome_side") or body["taker_side"]
    price, count = scaled(body["yes_price_dollars"], 10_000), scaled(body["count_fp"], 100)
    return Message(kind, market, _ms(body), (body["trade_id"], price, count, taker))


def levels(body: Frame, side: str) -> Levels:
    """Return the bids of one side of a snapshot; an absent side is empty."""
    pairs = body.get(f"{side}_dollars_fp", [])
    return tuple(sorted(((scaled(price, 10_000), scaled(size, 100)) for price, size in pairs), reverse=True))


def _ms(body: Frame) -> int:
    """Return the venue's time of an event; recordings of the cents era have it as text only."""
    if "ts_ms" in body:
        return int(body["ts_ms"])
    epoch = datetime.fromisoformat("1970-01-01T00:00:00Z")
    return (datetime.fromisoformat(body["ts"]) - epoch) // timedelta(milliseconds=1)
