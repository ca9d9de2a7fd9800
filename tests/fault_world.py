"""A venue with faults and a collector joined in memory, under a clock that the test moves."""

import random
from typing import Any
from uuid import UUID

import attrs

from rlflow.errors import FeedLostError
from rlflow.exchange.wire.conversation import Conversation
from rlflow.exchange.wire.fault_script import FaultScript
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import ORDERBOOK, TRADE, Image, Item
from rlflow.kalshi.commander import Commander
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.session import Session
from rlflow.units import Side, format_count, format_price

START_MS = 1_795_305_600_000
STEP_MS = 50
STEPS_TO_KNOW = 10
SILENT_MS = 25_000
RECONNECT_MS = 1_000


class MovingMarkets:
    """Books that change at random and legally; YES and NO prices never meet."""

    def __init__(self, tickers: tuple[str, ...], seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._clock = 0
        self.books: dict[str, dict[Side, dict[int, int]]] = {
            ticker: {"yes": {4_000: 1_000, 3_900: 500}, "no": {4_500: 700}} for ticker in tickers
        }
        self.clocks = dict.fromkeys(tickers, 0)

    def image(self, ticker: str) -> Image:
        book = self.books.get(ticker, {"yes": {}, "no": {}})
        ladders = [tuple(book[side].items()) for side in ("yes", "no")]
        return Image(ticker, f"id-of-{ticker}", self.clocks.get(ticker, 0), *ladders)

    def quote(self, ticker: str) -> Item | None:  # noqa: ARG002
        return None

    def ticker_of(self, market_id: str) -> str | None:
        return market_id.removeprefix("id-of-")

    def objection(self, *, use_yes_price: bool) -> str | None:  # noqa: ARG002
        return None

    def step(self, at_ms: int) -> list[Item]:
        """Change one level, and print a trade now and then."""
        draw = self._random
        ticker = draw.choice(list(self.books))
        side: Side = draw.choice(["yes", "no"])
        levels, price = self.books[ticker][side], draw.randrange(100, 4_600, 100)
        delta = -levels[price] if price in levels else 100 * draw.randint(1, 50)
        levels[price] = levels.get(price, 0) + delta
        if not levels[price]:
            del levels[price]
        self._clock += 1
        self.clocks[ticker] = self._clock
        items = [self._delta(ticker, side, format_price(price), format_count(delta), at_ms)]
        return [*items, self._trade(ticker, at_ms)] if draw.random() < 0.2 else items

    def _delta(self, ticker: str, side: Side, price: str, delta: str, at_ms: int) -> Item:
        tail = (
            f',"msg":{{"market_ticker":"{ticker}","market_id":"id-of-{ticker}","clock":{self._clock},'
            f'"price_dollars":"{price}","delta_fp":"{delta}","side":"{side}","ts_ms":{at_ms}}},'
            f'"sending_ts_ms":{at_ms}}}'
        )
        return Item(ORDERBOOK, ticker, b'{"type":"orderbook_delta",', tail.encode())

    def _trade(self, ticker: str, at_ms: int) -> Item:
        tail = (
            f',"msg":{{"trade_id":"trade-{self._clock}","market_ticker":"{ticker}","yes_price_dollars":"0.4000",'
            f'"no_price_dollars":"0.6000","count_fp":"1.00","taker_outcome_side":"yes","ts_ms":{at_ms}}}}}'
        )
        return Item(TRADE, ticker, b'{"type":"trade",', tail.encode())


@attrs.define
class FaultWorld:
    """Both ends of a connection, made anew when it is lost. Time goes on in steps, in each of which the markets act."""

    faults: tuple[Fault, ...]
    tickers: tuple[str, ...] = ("A", "B", "C")
    markets: MovingMarkets = attrs.field(init=False)
    now_ms: int = START_MS
    connections: int = 0
    causes: list[str] = attrs.Factory(list)
    """Why connections were given up."""
    invalid_steps: int = 0
    """Steps behind which some book was not valid."""
    venue: Conversation = attrs.field(init=False)
    session: Session = attrs.field(init=False)
    commander: Commander = attrs.field(init=False)
    _said: list[bytes] = attrs.Factory(list)
    _deaf_until_ms: int = 0
    _stalled_until_ms: int = 0
    _heard_ms: int = START_MS
    _dead_since_ms: int | None = None
    _wrong_steps: int = 0

    def __attrs_post_init__(self) -> None:
        self.markets = MovingMarkets(self.tickers)
        self._connect()

    # Time

    def run(self, seconds: float) -> None:
        """Let the markets move and everything happen that comes of it."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self._step()

    def settle(self, limit_s: float = 120) -> float:
        """Run until every book is valid and as the venue's; return the seconds that took."""
        since_ms = self.now_ms
        while not self.is_level:
            assert self.now_ms < since_ms + limit_s * 1000, f"{self.causes}, {self.views()}"
            self._step()
        return (self.now_ms - since_ms) / 1000

    def _step(self) -> None:
        self.now_ms += STEP_MS
        if self._dead_since_ms is not None:
            self.markets.step(self.now_ms)
            if self.now_ms >= self._dead_since_ms + RECONNECT_MS:
                self._connect()
        else:
            self.venue.publish(self.markets.step(self.now_ms), self.now_ms)
            self._pump()
        self.invalid_steps += not all(view.is_valid for view in self.views().values())
        self._check_books()

    # What there is to see

    def views(self) -> dict[str, Any]:
        return {ticker: self.session.view(ticker) for ticker in self.session.books}

    @property
    def is_level(self) -> bool:
        """Whether every followed book is valid and the venue's."""
        views = self.views()
        return all(
            ticker in views and views[ticker].is_valid and self._is_true(views[ticker]) for ticker in self.tickers
        )

    def _is_true(self, view: Any) -> bool:
        book = self.markets.books[view.market_ticker]
        return dict(view.yes_bids) == book["yes"] and dict(view.no_bids) == book["no"]

    def _check_books(self) -> None:
        """A followed book that is called valid must be the venue's, once nothing is on its way any more.

        The loss of a frame can be known only from the next one; that takes a step, or a few if several are lost.
        """
        is_calm = not len(self.venue.outlet.outbox) and self._dead_since_ms is None and not self.venue.outlet.is_over
        followed = [view for ticker, view in self.views().items() if ticker in self.tickers]
        wrong = [view for view in followed if view.is_valid and not self._is_true(view)]
        self._wrong_steps = self._wrong_steps + 1 if wrong and is_calm else 0
        assert self._wrong_steps <= STEPS_TO_KNOW, wrong

    # The line

    def _connect(self) -> None:
        self.connections += 1
        script = FaultScript(fault for fault in self.faults if fault.is_for(self.connections))
        self.venue = Conversation(self.markets, None, script)
        self.session = Session(UUID(int=self.connections))
        self.session.feed(local_batch(Opened("ws://x", "sim"), self.session.capture, 0, self._ns))
        self.commander = Commander(self.tickers)
        self._dead_since_ms, self._heard_ms, self._said = None, self.now_ms, []
        self._said += self.commander.connected(self._now_s)
        self._pump()

    @property
    def _ns(self) -> int:
        return self.now_ms * 1_000_000

    @property
    def _now_s(self) -> float:
        return self.now_ms / 1000

    def _pump(self) -> None:
        """Carry commands and frames to and fro until nobody has anything to say."""
        try:
            while self._carry():
                pass
        except FeedLostError as lost:
            self._lose(lost.cause)
        else:
            if self.now_ms - self._heard_ms >= SILENT_MS:
                self._lose("silent")
            elif self.venue.outlet.ending is not None and not len(self.venue.outlet.outbox):
                self._lose("peer closed")

    def _lose(self, cause: str) -> None:
        self.causes.append(cause)
        self._dead_since_ms = self.now_ms

    def _carry(self) -> bool:
        deadline = self.commander.next_deadline()
        if deadline is not None and deadline <= self._now_s:
            self._said += self.commander.tick(self._now_s)
        self._carry_commands()
        frames = self._take_frames()
        if frames:
            self._heard_ms = self.now_ms
            batch = Batch(Kind.FRAMES, self.session.capture, self.session.upto_frame + 1, self._ns, tuple(frames))
            self.session.feed(batch)
            for notice in self.session.take_notices():
                self._said += self.commander.tell(notice, self._now_s)
        return bool(frames)

    def _carry_commands(self) -> None:
        outlet = self.venue.outlet
        if outlet.deafness_s:
            self._deaf_until_ms, outlet.deafness_s = self.now_ms + round(outlet.deafness_s * 1000), 0.0
        if self.now_ms >= self._deaf_until_ms:
            for text in self._said:
                self.venue.receive(text.decode(), self.now_ms)
            self._said.clear()
        self.venue.advance(self.now_ms)

    def _take_frames(self) -> list[bytes]:
        if self.now_ms < self._stalled_until_ms:
            return []
        outbox = self.venue.outlet.outbox
        if pause_s := outbox.take_pause():
            self._stalled_until_ms = self.now_ms + round(pause_s * 1000)
            return []
        return outbox.take(10**9)

    def follow(self, *tickers: str) -> None:
        """Let the collector follow these markets from now on."""
        self.tickers = tickers
        self._said += self.commander.follow(tickers, self._now_s)
