"""Replaying recordings: which, how fast, and the books that the frames played so far have built."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from rlflow.errors import CommandError
from rlflow.exchange.tape import RecordedConnection
from rlflow.exchange.wire.items import Image, Item, Ladder
from rlflow.kalshi.messages import DeltaBody, Message, OrderbookDelta, OrderbookSnapshot, SnapshotBody
from rlflow.recordings import read_recording
from rlflow.session.records import Opened
from rlflow.units import Count, Nanos, Price, Side, complement, parse_count, parse_price

_TICKER = re.compile(rb'"market_ticker":\s*"([^"\\]+)"')


@attrs.frozen
class Replay:
    """Recordings to be played one after the other."""

    connections: Callable[[], Iterable[RecordedConnection]]
    """Gives the recorded connections in order, from the first, at every call."""
    tickers: frozenset[str]
    """All markets in them. Others get an empty book."""
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    """Times as fast as recorded; infinite: as fast as the slowest connection takes it."""
    closes_at_end: bool = False
    """Whether connections are closed after the last frame; otherwise they stay open, and silent."""
    longest_pause_s: float = 60.0
    """Recorded pauses beyond this, such as those between two recordings, are cut to it (recorded seconds)."""


def replay_source(paths: Sequence[Path], *, sparse_seq: bool = False, speed: float = math.inf) -> Replay:
    """Return the replay of recorded files. Reads every file once for its markets: blocking, seconds for large ones.

    Args:
        paths: Files of any form that `rlflow.recordings` reads, in the order of playing.
        sparse_seq: The recorder left out other markets of the same sid; numbers are given anew, from 1.
        speed: Times as fast as recorded.

    Raises:
        RecordingError: A file is damaged, or no recording.
        OSError: A file cannot be read.
        CommandError: There is no market in any of them.
    """
    recordings = [read_recording(path, sparse_seq=sparse_seq) for path in paths]

    def connections() -> Iterator[RecordedConnection]:
        for recording in recordings:
            yield from recording.captures()

    tickers = frozenset(ticker for connection in connections() for ticker in _tickers(connection))
    if not tickers:
        raise CommandError(f"no market in {', '.join(map(str, paths)) or 'no recording'}", code=2)
    return Replay(connections, tickers, speed)


def _tickers(connection: RecordedConnection) -> set[str]:
    """Return the markets in a recorded connection."""
    found: set[bytes] = set()
    for batch in connection.batches():
        for frame in batch.frames:
            match = _TICKER.search(frame)
            if match is not None:
                found.add(match.group(1))
    return {ticker.decode() for ticker in found}


class Pace:
    """When the next frames are due: recorded distances, divided by the speed."""

    def __init__(self, replay: Replay) -> None:
        self._speed = replay.speed
        self._longest_s = replay.longest_pause_s
        self._last_ns: Nanos | None = None
        self._due = 0.0

    def due(self, at_ns: Nanos, now: float) -> float:
        """Return when frames received at `at_ns` are to be sent, in seconds of the clock that `now` is from.

        Being late is made up for, as a venue's backlog is; a recorder's clock that was set back is not followed.
        """
        if self._last_ns is None:
            self._due = now
        else:
            gap_s = min(max((at_ns - self._last_ns) / 1e9, 0.0), self._longest_s)
            self._due += gap_s / self._speed
        self._last_ns = at_ns
        return self._due

    def resume(self, now: float) -> float:
        """Return when they are due after nobody has listened for a while; later frames follow from there."""
        self._due = max(self._due, now)
        return self._due


class ReplayedMarkets:
    """The books as of the last frame played, for whoever subscribes in the middle or asks for a snapshot."""

    def __init__(self, tickers: frozenset[str]) -> None:
        self._tickers = tickers
        self._books: dict[str, _ReplayedBook] = {}
        self._use_yes_price = False

    def begin(self, opened: Opened) -> None:
        """Forget all books: a connection begins, and brings its own snapshots."""
        self._books.clear()
        self._use_yes_price = opened.use_yes_price

    def apply(self, message: Message) -> None:
        """Follow one frame that was played."""
        if isinstance(message, OrderbookSnapshot):
            self._books[message.msg.market_ticker] = _ReplayedBook(message.msg)
        elif isinstance(message, OrderbookDelta):
            book = self._books.get(message.msg.market_ticker)
            if book is not None and not book.change(message.msg):
                del self._books[message.msg.market_ticker]

    def image(self, ticker: str) -> Image | None:
        """Return a market's book; None while the recording has not given it, an empty one outside the recording."""
        if ticker not in self._tickers:
            return Image(ticker)
        book = self._books.get(ticker)
        return None if book is None else book.image(no_as_yes=self._use_yes_price)

    def quote(self, ticker: str) -> Item | None:  # noqa: ARG002  # part of the protocol
        """Return None: recordings hold no tickers."""
        return None

    def ticker_of(self, market_id: str) -> str | None:
        """Return the market that has this id, None while the recording has not given its book."""
        return next((ticker for ticker, book in self._books.items() if book.market_id == market_id), None)

    def objection(self, *, use_yes_price: bool) -> str | None:
        """Return why a convention cannot be served: recorded frames are sent as they are."""
        if use_yes_price == self._use_yes_price:
            return None
        return f"this recording was made with use_yes_price {str(self._use_yes_price).lower()}"


class _ReplayedBook:
    """One market's levels, prices as recorded."""

    def __init__(self, body: SnapshotBody) -> None:
        self._ticker, self.market_id = body.market_ticker, body.market_id
        self._clock = body.clock or 0
        self._sides: dict[Side, dict[Price, Count]] = {
            "yes": {parse_price(price): parse_count(count) for price, count in body.yes_dollars_fp},
            "no": {parse_price(price): parse_count(count) for price, count in body.no_dollars_fp},
        }

    def change(self, body: DeltaBody) -> bool:
        """Follow one delta; return whether the book is still a possible one."""
        side, price = self._sides[body.side], parse_price(body.price_dollars)
        size = side.get(price, 0) + parse_count(body.delta_fp)
        self._clock = body.clock or self._clock
        if size > 0:
            side[price] = size
        else:
            side.pop(price, None)
        return size >= 0

    def image(self, *, no_as_yes: bool) -> Image:
        no = self._ladder("no")
        if no_as_yes:
            no = tuple((complement(price), count) for price, count in no)
        return Image(self._ticker, self.market_id, self._clock, self._ladder("yes"), no)

    def _ladder(self, side: Side) -> Ladder:
        return tuple(self._sides[side].items())
