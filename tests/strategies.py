"""Generators of what the venue may legally send; shared by the tests of everything that reads it.

`Wire` writes the frames of one connection one by one, for tests that tell a story. `connections` lets hypothesis write
whole ones.
"""

from typing import Any

import attrs
import msgspec
from hypothesis import strategies as st

from rlflow.units import ONE_DOLLAR, Count, Price, Side, complement, format_count, format_price, opposite

MARKET_ID = "0b6f0d3e-0000-4000-8000-00000000000a"
START_MS = 1_795_305_600_000
TICKS = (100, 10, 1)
"""Price steps of real markets: a cent, a tenth and a hundredth of one."""

sides: st.SearchStrategy[Side] = st.sampled_from(("yes", "no"))
tickers = st.from_regex(r"KX[A-Z0-9]{2,8}-2[67][A-Z]{3}[0-9]{2}(-[A-Z]?[0-9]{1,4}(\.[0-9]{2})?)?", fullmatch=True)
prices: st.SearchStrategy[Price] = st.integers(1, ONE_DOLLAR - 1)
counts: st.SearchStrategy[Count] = st.one_of(st.integers(1, 500), st.integers(1, 200).map(lambda n: n * 100))
"""Positive sizes in 1/100 contract; whole ones are frequent."""


@attrs.frozen
class Market:
    """A market as far as its book goes."""

    ticker: str
    tick: Price = 100

    def prices(self) -> st.SearchStrategy[Price]:
        """Return prices on its grid."""
        return st.integers(1, ONE_DOLLAR // self.tick - 1).map(lambda steps: steps * self.tick)


def markets(max_size: int = 3) -> st.SearchStrategy[list[Market]]:
    """Return one to `max_size` different markets."""
    one = st.builds(Market, tickers, st.sampled_from(TICKS))
    return st.lists(one, min_size=1, max_size=max_size, unique_by=lambda market: market.ticker)


@attrs.define
class Wire:
    """Writes the frames of one connection: `seq` per sid, one clock, one time, books that never become negative."""

    use_yes_price: bool = False
    with_clock: bool = True
    """False: the form used before 2026-10-20, without `clock` and `sending_ts_ms`."""
    now_ms: int = START_MS
    clock: int = 0
    sids: dict[str, int] = attrs.Factory(dict)
    """The live subscription of each channel."""
    seqs: dict[int, int] = attrs.Factory(dict)
    books: dict[str, dict[Side, dict[Price, Count]]] = attrs.Factory(dict)
    clocks: dict[str, int] = attrs.Factory(dict)
    """Of each market's last change."""
    _trades: int = 0

    def subscribed(self, channel: str, command_id: int | None = None) -> bytes:
        """Write the answer to a subscription, which gets a new sid."""
        sid = self.sids[channel] = len(self.seqs) + 1
        self.seqs[sid] = 0
        return self._frame("subscribed", {"channel": channel, "sid": sid}, id=command_id)

    def unsubscribed(self, channel: str, command_id: int | None = None) -> bytes:
        """Write the end of a subscription."""
        sid = self.sids.pop(channel)
        return self._frame("unsubscribed", None, id=command_id, sid=sid, seq=self._seq(sid))

    def ok(self, tickers: list[str] | None, command_id: int | None = None, channel: str = "orderbook_delta") -> bytes:
        """Write the answer to a change of the subscription, or to one that was merged."""
        body = None if tickers is None else {"market_tickers": tickers}
        sid = self.sids[channel]
        return self._frame("ok", body, id=command_id, sid=sid, seq=self._seq(sid))

    def listed(self, command_id: int) -> bytes:
        """Write the answer to `list_subscriptions`."""
        return self._frame("ok", [{"channel": name, "sid": sid} for name, sid in self.sids.items()], id=command_id)

    def error(self, code: int, command_id: int | None = None, channel: str | None = None, **body: object) -> bytes:
        """Write an error: to a command, of a subscription, or both."""
        sid = None if channel is None else self.sids[channel]
        seq = None if sid is None else self._seq(sid)
        return self._frame("error", {"code": code, "msg": "a text", **body}, id=command_id, sid=sid, seq=seq)

    def snapshot(self, ticker: str, command_id: int | None = None) -> bytes:
        """Write the whole book as it stands."""
        sid = self.sids["orderbook_delta"]
        body: dict[str, Any] = {"market_ticker": ticker, "market_id": MARKET_ID}
        if self.with_clock:
            body["clock"] = self.clocks.get(ticker, 0)
        for side, levels in self._book(ticker).items():
            if levels:
                rows = [[self._wire_price(side, price), format_count(levels[price])] for price in sorted(levels)]
                body[f"{side}_dollars_fp"] = rows
        return self._frame("orderbook_snapshot", body, sid=sid, seq=self._seq(sid), id=command_id)

    def delta(self, ticker: str, side: Side, price: Price, delta: Count, *, same_action: bool = False) -> bytes:
        """Change one level and write that; `same_action` shares the clock and time of the change before."""
        levels = self._book(ticker)[side]
        size = levels.get(price, 0) + delta
        assert size >= 0, "the venue does not send what makes a level negative"
        levels[price] = size
        if size == 0:
            del levels[price]
        if not same_action:
            self._advance()
        self.clocks[ticker] = self.clock
        sid = self.sids["orderbook_delta"]
        body: dict[str, Any] = {"market_ticker": ticker, "market_id": MARKET_ID}
        if self.with_clock:
            body["clock"] = self.clock
        body |= {"price_dollars": self._wire_price(side, price), "delta_fp": format_count(delta), "side": side}
        body |= {"ts": "2026-11-22T00:00:00.119Z", "ts_ms": self.now_ms}
        return self._frame("orderbook_delta", body, sid=sid, seq=self._seq(sid))

    def trade(self, ticker: str, taker: Side, yes_price: Price, count: Count) -> bytes:
        """Write a trade; the delta of the maker's side is written apart."""
        self._trades += 1
        sid = self.sids["trade"]
        body = {
            "trade_id": f"00000000-0000-4000-8000-{self._trades:012d}",
            "market_ticker": ticker,
            "yes_price_dollars": format_price(yes_price),
            "no_price_dollars": format_price(complement(yes_price)),
            "count_fp": format_count(count),
            "taker_side": taker,
            "taker_outcome_side": taker,
            "taker_book_side": "bid" if taker == "yes" else "ask",
            "is_block_trade": False,
            "ts": self.now_ms // 1000,
            "ts_ms": self.now_ms,
        }
        return self._frame("trade", body, sid=sid, seq=self._seq(sid))

    def other(self, kind: str = "event_fee_update", channel: str | None = None) -> bytes:
        """Write a frame of a type that is not stored; with a channel it takes a `seq` of that subscription."""
        sid = None if channel is None else self.sids[channel]
        return self._frame(kind, {"any": ["thing", 1]}, sid=sid, seq=None if sid is None else self._seq(sid))

    def _book(self, ticker: str) -> dict[Side, dict[Price, Count]]:
        return self.books.setdefault(ticker, {"yes": {}, "no": {}})

    def _advance(self) -> None:
        self.clock += 3
        self.now_ms += 1

    def _seq(self, sid: int) -> int:
        self.seqs[sid] += 1
        return self.seqs[sid]

    def _wire_price(self, side: Side, price: Price) -> str:
        return format_price(complement(price) if self.use_yes_price and side == "no" else price)

    def _frame(self, kind: str, body: object, **envelope: int | None) -> bytes:
        """Write the keys that have a value, in the venue's order."""
        frame: dict[str, object] = {"type": kind}
        frame |= {name: envelope[name] for name in ("id", "sid", "seq") if envelope.get(name) is not None}
        if body is not None:
            frame["msg"] = body
        if self.with_clock:
            frame["sending_ts_ms"] = self.now_ms
        return msgspec.json.encode(frame)


@st.composite
def connections(
    draw: st.DrawFn, *, max_frames: int = 40, use_yes_price: bool = False, with_clock: bool = True
) -> list[bytes]:
    """Draw the frames of one legal connection: subscriptions, a snapshot of each market, then anything in any order."""
    line = Wire(use_yes_price=use_yes_price, with_clock=with_clock)
    held = draw(markets())
    frames = [line.subscribed("orderbook_delta", 1), line.subscribed("trade", 2)]
    for market in held:
        for side in ("yes", "no"):
            line._book(market.ticker)[side] |= draw(st.dictionaries(market.prices(), counts, max_size=4))
        frames.append(line.snapshot(market.ticker))
    for _ in range(draw(st.integers(0, max_frames))):
        frames += _next_frames(draw, line, draw(st.sampled_from(held)), held)
    return frames


_KINDS = ("delta",) * 6 + ("reprice", "trade", "snapshot", "other", "ok")


def _next_frames(draw: st.DrawFn, line: Wire, market: Market, held: list[Market]) -> list[bytes]:
    """Draw what happens next in a market; one action of the venue's engine."""
    match draw(st.sampled_from(_KINDS)):
        case "delta":
            return [_delta(draw, line, market, draw(sides))]
        case "reprice":
            side = draw(sides)
            return [_delta(draw, line, market, side), _delta(draw, line, market, side, same_action=True)]
        case "trade":
            return _trade(draw, line, market)
        case "snapshot":
            return [line.snapshot(market.ticker, draw(st.none() | st.integers(1, 99)))]
        case "other":
            channel = draw(st.sampled_from((None, "orderbook_delta", "trade")))
            return [line.other("event_fee_update" if channel else "ticker", channel)]
        case _:
            return [line.ok([one.ticker for one in held], draw(st.integers(1, 99)))]


def _delta(draw: st.DrawFn, line: Wire, market: Market, side: Side, *, same_action: bool = False) -> bytes:
    """Draw a change of a level that is there, or a new level."""
    levels = line._book(market.ticker)[side]
    price = draw(st.sampled_from(sorted(levels)) | market.prices() if levels else market.prices())
    size = levels.get(price, 0)
    delta = draw(counts | st.integers(-size, -1) | st.just(-size) if size else counts)
    return line.delta(market.ticker, side, price, delta, same_action=same_action)


def _trade(draw: st.DrawFn, line: Wire, market: Market) -> list[bytes]:
    """Draw a trade against a resting level, and its delta, in either order."""
    maker = draw(sides)
    levels = line._book(market.ticker)[maker]
    if not levels:
        return []
    price = max(levels)
    count = draw(st.integers(1, levels[price]))
    delta = line.delta(market.ticker, maker, price, -count)
    trade = line.trade(market.ticker, opposite(maker), price if maker == "yes" else complement(price), count)
    return draw(st.permutations([delta, trade]))
