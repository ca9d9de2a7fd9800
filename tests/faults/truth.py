"""The venue's own books at every clock, heard on a connection of our own that nothing goes wrong with."""

import contextlib
import json
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import trio
import trio_websocket

from rlflow.exchange.credentials import load_or_make_credentials
from rlflow.units import Count, Price, Side, parse_count, parse_price
from tests.exchange_client import Client, connected, subscribe
from tests.running import wait_for

Level: TypeAlias = tuple[Side, Price]
Book: TypeAlias = dict[Level, Count]

LIMIT_S = 60.0
AGAIN_S = 0.02


@attrs.define
class _Market:
    """A snapshot and all that came behind it; clocks never go down."""

    start: Book
    start_clock: int
    clocks: list[int] = attrs.Factory(list)
    changes: list[tuple[Level, Count]] = attrs.Factory(list)
    unheard: list[tuple[int, int]] = attrs.Factory(list)
    """Between these clocks something may have changed that nobody was told."""

    @property
    def last_clock(self) -> int:
        """The newest clock that was heard of."""
        return self.clocks[-1] if self.clocks else self.start_clock

    def hear(self, level: Level, delta: Count, clock: int) -> None:
        """Take a change."""
        if clock > self.start_clock:
            self.clocks.append(clock)
            self.changes.append((level, delta))

    def rejoin(self, book: Book, clock: int) -> None:
        """Go on with a new snapshot, when the connection was away."""
        before = Walker(self, dict(self.start)).at(self.last_clock)
        self.unheard.append((self.last_clock, clock))
        for level in before.keys() | book.keys():
            self.hear(level, book.get(level, 0) - before.get(level, 0), clock)


@attrs.define
class Walker:
    """Goes through one market's history, forwards only."""

    _market: _Market
    _book: Book
    _done: int = 0

    def at(self, clock: int) -> Book:
        """Return the book at this clock; the same dictionary each time, changed."""
        upto = max(bisect_right(self._market.clocks, clock), self._done)
        for level, delta in self._market.changes[self._done : upto]:
            add(self._book, level, delta)
        self._done = upto
        return self._book


@attrs.define
class Truth:
    """Grows while it listens; ask it for clocks that `wait_heard` has waited for."""

    _markets: dict[str, _Market] = attrs.Factory(dict)
    _is_listening: threading.Event = attrs.Factory(threading.Event)

    @property
    def tickers(self) -> tuple[str, ...]:
        """The markets whose books it knows."""
        return tuple(self._markets)

    def knows(self, ticker: str, clock: int) -> bool:
        """Return whether a market's book at this clock is known for certain."""
        market = self._markets[ticker]
        return clock >= market.start_clock and not any(since < clock < upto for since, upto in market.unheard)

    def wait_heard(self, ticker: str, clock: int) -> None:
        """Wait until everything up to a clock has been heard, for as long as it goes on."""
        market = self._markets[ticker]
        while clock > (before := market.last_clock):
            wait_for(f"clock {clock} of {ticker}", lambda before=before: market.last_clock > before or None)  # type: ignore[misc]

    def walker(self, ticker: str) -> "Walker":
        """Return what gives the books of a market at clocks that do not go down."""
        market = self._markets[ticker]
        return Walker(market, dict(market.start))

    def hear(self, frame: dict[str, Any]) -> None:
        """Take one of the venue's frames."""
        body = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            known = self._markets.get(body["market_ticker"])
            if known is None:
                self._markets[body["market_ticker"]] = _Market(_book_of(body), body["clock"])
            else:
                known.rejoin(_book_of(body), body["clock"])
        elif frame["type"] == "orderbook_delta":
            level = (body["side"], parse_price(body["price_dollars"]))
            self._markets[body["market_ticker"]].hear(level, parse_count(body["delta_fp"]), body["clock"])


def add(book: Book, level: Level, delta: Count) -> None:
    """Change one level; an empty one is none."""
    left = book.get(level, 0) + delta
    if left:
        book[level] = left
    else:
        book.pop(level, None)


def _book_of(body: dict[str, Any]) -> Book:
    return {
        (side, parse_price(price)): parse_count(count)
        for side in ("yes", "no")
        for price, count in body.get(f"{side}_dollars_fp", ())
    }


@contextlib.contextmanager
def listening(url: str, key_dir: Path, tickers: Sequence[str]) -> Iterator[Truth]:
    """Listen to these markets in a thread until the context ends; the venue's first connection is this one.

    Where the venue ends it, as for maintenance, the next one is made as soon as may be.
    """
    truth, token = Truth(), _Token()
    thread = threading.Thread(target=trio.run, args=(_listen, truth, token, url, key_dir, tuple(tickers)))
    thread.start()
    try:
        assert truth._is_listening.wait(LIMIT_S)
        yield truth
    finally:
        token.cancel()
        thread.join()


@attrs.define
class _Token:
    """Ends the listener from another thread."""

    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    trio_token: trio.lowlevel.TrioToken | None = None

    def cancel(self) -> None:
        if self.trio_token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self.trio_token.run_sync_soon(self.scope.cancel)


async def _listen(truth: Truth, token: _Token, url: str, key_dir: Path, tickers: tuple[str, ...]) -> None:
    token.trio_token = trio.lowlevel.current_trio_token()
    signer = load_or_make_credentials(key_dir).signer
    with token.scope:
        while True:
            with contextlib.suppress(trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, OSError):
                async with connected(url, signer) as client:
                    await _listen_once(truth, client, tickers)
            await trio.sleep(AGAIN_S)


async def _listen_once(truth: Truth, client: Client, tickers: tuple[str, ...]) -> None:
    await client.say(subscribe(1, *tickers, channels=["orderbook_delta"]))
    while True:
        frame = json.loads(await client.websocket.get_message())
        if frame["type"] == "error":
            # On a busy machine we were too slow for the venue; what it has told meanwhile is unheard.
            await client.say(subscribe(2, *tickers, channels=["orderbook_delta"]))
        truth.hear(frame)
        if len(truth.tickers) == len(tickers):
            truth._is_listening.set()
