"""The venue's side of a capture, for tests: true books, counters, and everything that can go wrong on the way.

A step is a name and three small numbers; `Venue` turns steps into frames. So hypothesis shrinks a failing stream by
leaving out steps, and what remains is still a stream.
"""

import json
from typing import Any

import attrs

from rlflow.orderbook import Levels
from rlflow.session.records import Dropped, Local, Stale
from rlflow.units import ONE_DOLLAR, format_count, format_price

TICKERS = ("A", "B", "C")
START_NS = 1_795_305_600_000_000_000
MS = 1_000_000

LEGAL = (
    "change",
    "change",
    "change",
    "change",
    "requote",
    "sweep",
    "trade",
    "snapshot",
    "late",
    "ok",
    "ticker",
    "news",
)
SUBSCRIBING = ("add", "delete", "resubscribe", "listing", "retrade", "refusal")
FAULTS = (
    "lose",
    "drop",
    "repeat",
    "swap",
    "resend",
    "restart",
    "die",
    "cut",
    "garble",
    "negative",
    "cross",
    "stale",
    "stranger",
    "other sid",
    "wait",
    "invent",
)

Step = tuple[str, int, int, int]
Book = dict[str, dict[int, int]]


@attrs.frozen
class Truth:
    """A market as the venue had it when it sent a frame."""

    ticker: str
    yes_bids: Levels
    no_bids: Levels


@attrs.frozen
class Item:
    """A frame or local record on its way, with the pause before it."""

    content: bytes | Local
    truth: Truth | None = None
    pause_ns: int = 0


@attrs.define
class Venue:
    """The other side: true books, counters, and a list of what it has sent."""

    use_yes_price: bool
    has_clock: bool
    has_time: bool
    books: dict[str, Book] = attrs.Factory(dict)
    clocks: dict[str, int] = attrs.Factory(dict)
    sent: list[Item] = attrs.Factory(list)
    restarted_at: int = 0
    """How much had been sent when the subscription last restarted."""
    held: list[str] = attrs.Factory(list)
    """Markets of the order book subscription."""
    sid: int = 1
    trade_sid: int = 2
    top_sid: int = 2
    seqs: dict[int, int] = attrs.Factory(dict)
    now: int = 0
    """Counts the engine's actions."""
    fresh: set[str] = attrs.Factory(set)
    """Markets without a delta since their snapshot."""
    pause_ns: int = 0
    ticker: str = "A"
    """The market of the step at hand, then its three numbers."""
    a: int = 0
    b: int = 0
    c: int = 0

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self, frame: dict[str, Any], ticker: str | None = None) -> None:
        truth = None
        if ticker is not None:
            yes, no = (tuple(sorted(self.books[ticker][side].items(), reverse=True)) for side in ("yes", "no"))
            truth = Truth(ticker, yes, no)
        self.put(json.dumps(frame).encode(), truth)

    def put(self, content: bytes | Local, truth: Truth | None = None) -> None:
        self.sent.append(Item(content, truth, self.pause_ns))
        self.pause_ns = 0

    def seq(self, sid: int) -> int:
        self.seqs[sid] = self.seqs.get(sid, 0) + 1
        return self.seqs[sid]

    def price(self, side: str, price: int) -> str:
        return format_price(ONE_DOLLAR - price if side == "no" and self.use_yes_price else price)

    def subscribed(self, channel: str, sid: int) -> None:
        self.send({"type": "subscribed", "id": 1, "msg": {"channel": channel, "sid": sid}})

    def snapshot(self, ticker: str, number: int | None = None) -> None:
        body: dict[str, Any] = {"market_ticker": ticker, "market_id": ""}
        if self.has_clock:
            body["clock"] = self.clocks.get(ticker, 0)
        for side, levels in self.books[ticker].items():
            if levels:
                body[f"{side}_dollars_fp"] = [[self.price(side, p), format_count(n)] for p, n in levels.items()]
        frame = {"type": "orderbook_snapshot", "sid": self.sid, "seq": self.seq(self.sid), "msg": body}
        self.fresh.add(ticker)
        self.send(frame if number is None else frame | {"id": number}, ticker)

    def delta(self, ticker: str, side: str, price: int, change: int, *, sid: int | None = None) -> None:
        levels = self.books[ticker][side]
        size = levels.get(price, 0) + change
        levels.pop(price, None)
        if size > 0:
            levels[price] = size
        self.clocks[ticker] = self.now
        self.fresh.discard(ticker)
        self.raw_delta(ticker, side, price, change, clock=self.now, sid=sid or self.sid)

    def raw_delta(self, ticker: str, side: str, price: int, change: int, *, clock: int, sid: int) -> None:
        body: dict[str, Any] = {"market_ticker": ticker, "price_dollars": self.price(side, price), "side": side}
        body["delta_fp"] = format_count(change)
        if self.has_clock:
            body["clock"] = clock
        if self.has_time:
            body["ts_ms"] = START_NS // MS + self.now
        frame = {"type": "orderbook_delta", "sid": sid, "seq": self.seq(sid), "msg": body, "sending_ts_ms": self.now}
        self.send(frame, ticker)

    def trade(self) -> None:
        body = {"trade_id": str(self.now), "market_ticker": "A", "yes_price_dollars": "0.4500", "count_fp": "2.00"}
        frame = {"type": "trade", "sid": self.trade_sid, "seq": self.seq(self.trade_sid)}
        self.send(frame | {"msg": body | {"taker_side": "yes", "is_block_trade": False}})

    def ok(self) -> None:
        frame = {"type": "ok", "id": 3, "sid": self.sid, "seq": self.seq(self.sid)}
        self.send(frame | {"msg": {"market_tickers": list(self.held)}})

    # -- steps ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.held = list(TICKERS[:2])
        self.books = {ticker: {"yes": {3000: 500}, "no": {5000: 700}} for ticker in TICKERS}
        self.subscribed("orderbook_delta", self.sid)
        self.subscribed("trade", self.trade_sid)
        for ticker in self.held:
            self.snapshot(ticker)

    def step(self, step: Step) -> None:
        name, self.a, self.b, self.c = step
        self.now += 1
        self.pause_ns += MS if self.c % 3 else 0
        self.ticker = self.held[self.a % len(self.held)] if self.held else "A"
        getattr(self, "do_" + name.replace(" ", "_"))()

    def do_change(self) -> None:
        side = ("yes", "no")[self.b % 2]
        price = (1 + self.b // 2 % 4) * 1000 + (self.a % 2)
        size = self.books[self.ticker][side].get(price, 0)
        self.delta(
            self.ticker, side, price, -size if size and self.c < 4 else -1 if size > 1 and self.c < 7 else 100 + self.c
        )

    def do_requote(self) -> None:
        side = ("yes", "no")[self.b % 2]
        for price, size in list(self.books[self.ticker][side].items())[:1]:
            self.delta(self.ticker, side, price, -size)
            self.delta(self.ticker, side, 1000 + 500 * (self.c % 7), size)

    def do_sweep(self) -> None:
        """A buyer takes all NO bids and leaves the rest: published rest first, so the book is crossed meanwhile."""
        self.delta(self.ticker, "yes", 8000, 100)
        for price, size in list(self.books[self.ticker]["no"].items()):
            if price > 2000:
                self.delta(self.ticker, "no", price, -size)
        self.delta(self.ticker, "no", 1000, 5)
        self.now += 1
        self.delta(self.ticker, "yes", 8000, -100)

    def do_trade(self) -> None:
        self.trade()

    def do_snapshot(self) -> None:
        self.snapshot(self.ticker, 9 if self.c % 2 else None)

    def do_late(self) -> None:
        """A delta that the snapshot below includes already."""
        if self.has_clock and self.ticker in self.fresh and self.ticker in self.clocks:
            self.raw_delta(
                self.ticker, "yes", 3000, -100_000, clock=self.clocks[self.ticker] - self.c % 2, sid=self.sid
            )

    def do_ok(self) -> None:
        self.ok()

    def do_ticker(self) -> None:
        self.send({"type": "ticker", "sid": 9, "msg": {"market_ticker": self.ticker}})

    def do_news(self) -> None:
        """A type that we do not know takes a place in a sequence that we do."""
        self.send({"type": "orderbook_news", "sid": self.sid, "seq": self.seq(self.sid), "msg": {}})

    def do_add(self) -> None:
        new = TICKERS[self.b % len(TICKERS)]
        if new not in self.held:
            self.held.append(new)
            if self.c % 4:
                self.ok()
            self.snapshot(new)

    def do_delete(self) -> None:
        if len(self.held) > 1:
            self.held.remove(self.ticker)
            self.ok()

    def do_resubscribe(self) -> None:
        if self.c % 2:
            self.send({"type": "unsubscribed", "id": 5, "sid": self.sid, "seq": self.seq(self.sid)})
        else:
            error = {"code": 25, "msg": "buffer overflow"}
            self.send({"type": "error", "sid": self.sid, "seq": self.seq(self.sid), "msg": error})
        self.top_sid += 1
        self.sid = self.top_sid
        if self.c % 3:
            self.subscribed("orderbook_delta", self.sid)
        for held in self.held:
            self.snapshot(held)

    def do_retrade(self) -> None:
        self.send({"type": "unsubscribed", "id": 6, "sid": self.trade_sid, "seq": self.seq(self.trade_sid)})
        self.top_sid += 1
        self.trade_sid = self.top_sid
        if self.c % 2:
            self.subscribed("trade", self.trade_sid)
        self.trade()

    def do_listing(self) -> None:
        self.send({"type": "ok", "id": 4, "msg": [{"channel": "orderbook_delta", "sid": self.sid}]})

    def do_refusal(self) -> None:
        self.send({"type": "error", "id": 7, "msg": {"code": 8, "msg": "unknown channel"}})

    # -- faults -----------------------------------------------------------------------------------------------------

    def do_lose(self) -> None:
        """A frame is lost, of either subscription."""
        (self.trade if self.c % 4 == 0 else self.do_change)()
        self.sent.pop()

    def do_drop(self) -> None:
        """Some frames were received, but nothing could take them."""
        before = len(self.sent)
        for _ in range(1 + self.b % 3):
            (self.trade if self.c % 4 == 0 else self.do_change)()
        del self.sent[before:]
        self.put(Dropped(1 + self.b % 3, "nobody took them"))

    def do_repeat(self) -> None:
        self.put(self.sent[-1].content, self.sent[-1].truth)

    def do_swap(self) -> None:
        self.do_change()
        self.b += 1
        self.do_change()
        self.sent[-2:] = self.sent[:-3:-1]

    def do_resend(self) -> None:
        """Older data frames again; none from before a restart, whose number might fit the new count by chance.

        Without the venue's clock nobody could tell such a frame from a new one.
        """
        recent = self.sent[max(len(self.sent) - 8, self.restarted_at) :]
        older = [item for item in recent if isinstance(item.content, bytes) and b"_delta" in item.content[:30]]
        for item in older[self.b % 8 :] if self.c % 2 else older[:1]:
            self.put(item.content, item.truth)

    def do_restart(self) -> None:
        self.restarted_at = len(self.sent)
        self.seqs[self.sid] = self.a // 4
        if self.c % 3 == 0:
            self.subscribed("orderbook_delta", self.sid)
        self.snapshot(self.ticker) if self.c % 2 else self.do_change()

    def do_die(self) -> None:
        """A subscription ends, and what comes on it afterwards should not."""
        sid = self.trade_sid if self.a % 3 == 0 else self.sid
        error = {"type": "error", "sid": sid, "msg": {"code": (10, 17, 25, 26)[self.b % 4], "msg": "x"}}
        self.send(error if self.c % 2 else error | {"seq": self.seq(sid)})

    def do_cut(self) -> None:
        self.do_change()
        content = self.sent.pop().content
        assert isinstance(content, bytes)
        self.put(content[: -1 - self.c])

    def do_garble(self) -> None:
        """A frame that is JSON, but not what it claims to be."""
        (self.trade if self.c % 4 == 0 else self.do_change)()
        content = self.sent.pop().content
        assert isinstance(content, bytes)
        wrong = ((b'_dollars": "', b'_dollars": "x'), (b'"market_ticker"', b'"market"'), (b'"sid": ', b'"sid": -'))
        self.put(content.replace(*wrong[self.b % 3]))

    def do_negative(self) -> None:
        self.delta(self.ticker, "yes", 4000, -100_000)

    def do_invent(self) -> None:
        """The venue's own book was another all along, and it says so when it is asked."""
        self.books[self.ticker]["yes"] = {1000 + 100 * (self.c % 3): 300}
        if self.b % 2:
            self.clocks[self.ticker] = self.now
        self.snapshot(self.ticker, 9)

    def do_cross(self) -> None:
        """The book is left crossed; what comes next, or time, shows it."""
        self.delta(self.ticker, "yes", 9000, 100)
        self.pause_ns += 100 * MS * (self.c % 4)

    def do_stale(self) -> None:
        self.put(Stale(tickers=(self.ticker, TICKERS[self.b % 3])[: 1 + self.c % 2], cause="no snapshot came"))

    def do_stranger(self) -> None:
        """A delta of a market that may not be subscribed."""
        self.delta(TICKERS[self.b % 3], "no", 2000, 100)

    def do_other_sid(self) -> None:
        """A second subscription of the same markets, or data on the wrong channel."""
        if self.c % 3 == 0:
            self.raw_delta(self.ticker, "yes", 1000, 100, clock=self.now, sid=self.trade_sid)
            return
        self.top_sid += 1
        old, self.sid = self.sid, self.top_sid
        if self.c % 3 == 1:
            self.snapshot(self.ticker)
            self.raw_delta(self.ticker, "yes", 1000, 100, clock=self.now, sid=old)
        else:
            self.delta(self.ticker, "yes", 1000, 100, sid=old)

    def do_wait(self) -> None:
        self.pause_ns += (100, 250, 300, 31 * 60 * 1000)[self.c % 4] * MS
