"""The venue's own books at every clock, heard on a connection of our own that nothing goes wrong with."""

import contextlib
import json
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import trio
import trio_websocket

from rlflow.exchange.credentials import load_or_make_credentials
from rlflow.units import Count, Price, Side, parse_count, parse_price
from tests.exchange_client import connected, subscribe

Level: TypeAlias = tuple[Side, Price]
Book: TypeAlias = dict[Level, Count]

LIMIT_S = 60.0


@attrs.define
class _Market:
    """A snapshot and all that came behind it; clocks never go down."""

    start: Book
    start_clock: int
    clocks: list[int] = attrs.Factory(list)
    changes: list[tuple[Level, Count]] = attrs.Factory(list)


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

    def first_clock(self, ticker: str) -> int:
        """Return the clock before which nothing is known of a market."""
        return self._markets[ticker].start_clock

    def wait_heard(self, ticker: str, clock: int) -> None:
        """Wait until everything up to a clock has been heard, or nothing but it is missing for long."""
        give_up = time.monotonic() + LIMIT_S
        market = self._markets[ticker]
        while clock > (market.clocks[-1] if market.clocks else market.start_clock):
            assert time.monotonic() < give_up, f"{ticker}: the venue has not told clock {clock}"
            time.sleep(0.02)

    def walker(self, ticker: str) -> "Walker":
        """Return what gives the books of a market at clocks that do not go down."""
        market = self._markets[ticker]
        return Walker(market, dict(market.start))

    def hear(self, frame: dict[str, Any]) -> None:
        """Take one of the venue's frames."""
        body = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot" and body["market_ticker"] not in self._markets:
            self._markets[body["market_ticker"]] = _Market(_book_of(body), body["clock"])
        elif frame["type"] == "orderbook_delta":
            market = self._markets[body["market_ticker"]]
            if body["clock"] > market.start_clock:
                market.clocks.append(body["clock"])
                market.changes.append(
                    ((body["side"], parse_price(body["price_dollars"])), parse_count(body["delta_fp"]))
                )


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
    """Listen to these markets in a thread until the context ends; the venue's first connection is this one."""
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
    with token.scope, contextlib.suppress(trio_websocket.ConnectionClosed):
        async with connected(url, load_or_make_credentials(key_dir).signer) as client:
            await client.say(subscribe(1, *tickers, channels=["orderbook_delta"]))
            while True:
                truth.hear(json.loads(await client.websocket.get_message()))
                if len(truth.tickers) == len(tickers):
                    truth._is_listening.set()
