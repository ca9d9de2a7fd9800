"""The simulated markets: whose turn it is, the engine's clock, and the publications that an action makes."""

import heapq
import math
from collections.abc import Sequence

from rlflow.exchange import frames
from rlflow.exchange.activity import LIVELY
from rlflow.exchange.book import SimulatedBook
from rlflow.exchange.draws import Draws
from rlflow.exchange.grid import named_grid
from rlflow.exchange.happenings import Change, Deal
from rlflow.exchange.items import ORDERBOOK, TRADE, Image, Item
from rlflow.exchange.order_flow import OrderFlow
from rlflow.units import Nanos, Price, complement, format_count

# Where the markets start, so that they do not look like one market.
_FAIR: tuple[Price, ...] = (5_000, 4_300, 5_700, 4_700, 5_300)
# Messages a second that a market makes by its own time.
_NATURAL_RATE = 67.0
_GRIDS = ("linear_cent", "linear_cent", "tapered_deci_cent")


class Simulation:
    """Markets with made-up order flow. The same seed and the same times give the same bytes.

    The first market is the busiest; every third one ticks in tenths of a cent below 10 and above 90 cents.
    """

    def __init__(self, tickers: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._clock = 0
        self._trades = 0
        self._flows = [
            OrderFlow(
                SimulatedBook(ticker, frames.market_id(ticker), named_grid(_GRIDS[number % 3])),
                Draws(f"rlflow {seed} {ticker}"),
                _FAIR[number % len(_FAIR)],
                tempo=LIVELY,
            )
            for number, ticker in enumerate(dict.fromkeys(tickers))
        ]
        for flow in self._flows:
            self._tick(flow.book)
        self._by_ticker = {flow.book.ticker: flow for flow in self._flows}
        self._tickers = {flow.book.market_id: flow.book.ticker for flow in self._flows}
        self._at = 0.0
        self._due = [(self._due_of(number), number) for number in range(len(self._flows))]
        heapq.heapify(self._due)

    def gap(self) -> float:
        """Return the time from the last action to the next, in units of the mean time between two *messages*."""
        return self._due[0][0] - self._at

    def step(self, at_ns: Nanos) -> list[Item]:
        """Carry out one action and return its publications, which share a clock and a time; never nothing."""
        self._at, number = self._due[0]
        flow = self._flows[number]
        happenings = flow.act(flow.next_due_ns)
        heapq.heapreplace(self._due, (self._due_of(number), number))
        self._tick(flow.book)
        times = _Times(at_ns)
        return [
            self._delta(flow.book, happening, times)
            if isinstance(happening, Change)
            else self._trade(flow.book, happening, times)
            for happening in happenings
        ]

    def _due_of(self, number: int) -> float:
        """Return when a market acts next: each lives by its own time, which passes faster the busier it is."""
        markets = len(self._flows)
        share = math.sqrt((number + 1) / markets) - math.sqrt(number / markets)
        return self._flows[number].next_due_ns * 1e-9 * _NATURAL_RATE / share

    def _tick(self, book: SimulatedBook) -> None:
        self._clock += 1
        book.clock = self._clock

    def image(self, ticker: str) -> Image:
        """Return the market's book, an empty one with clock 0 for a ticker that is not simulated."""
        flow = self._by_ticker.get(ticker)
        return Image(ticker) if flow is None else flow.book.image()

    def quote(self, ticker: str) -> Item | None:  # noqa: ARG002  # part of the protocol
        """Return None: no tickers are published."""
        return None

    def ticker_of(self, market_id: str) -> str | None:
        """Return the market that has this id, None if no market has."""
        return self._tickers.get(market_id)

    def objection(self, *, use_yes_price: bool) -> str | None:  # noqa: ARG002  # part of the protocol
        """Return None: both price conventions can be served."""
        return None

    def _delta(self, book: SimulatedBook, change: Change, times: "_Times") -> Item:
        tail = (
            f',"msg":{{"market_ticker":{book.ticker_json},"market_id":"{book.market_id}","clock":{book.clock},'
            f'"price_dollars":"{frames.price_text(change.price)}","delta_fp":"{format_count(change.delta)}",'
            f'"side":"{change.side}",{times.delta}'
        )
        no_price = change.price if change.side == "no" else -1
        return Item(ORDERBOOK, book.ticker, b'{"type":"orderbook_delta",', tail.encode(), no_price)

    def _trade(self, book: SimulatedBook, deal: Deal, times: "_Times") -> Item:
        self._trades += 1
        yes_price = deal.price if deal.maker == "yes" else complement(deal.price)
        # The taker is on the other side of the maker; buying YES is a bid in the venue's words.
        taker, book_side = ("no", "ask") if deal.maker == "yes" else ("yes", "bid")
        tail = (
            f',"msg":{{"trade_id":"{frames.trade_id(self._seed, self._trades)}","market_ticker":{book.ticker_json},'
            f'"yes_price_dollars":"{frames.price_text(yes_price)}",'
            f'"no_price_dollars":"{frames.price_text(complement(yes_price))}",'
            f'"count_fp":"{format_count(deal.count)}","taker_side":"{taker}","taker_outcome_side":"{taker}",'
            f'"taker_book_side":"{book_side}","is_block_trade":false,{times.trade}'
        )
        return Item(TRADE, book.ticker, b'{"type":"trade",', tail.encode())


class _Times:
    """The time fields that end a frame, shared by all frames of an action."""

    def __init__(self, at_ns: Nanos) -> None:
        at_ms = at_ns // 1_000_000
        self.delta = f'"ts":"{frames.rfc3339_ms(at_ns)}","ts_ms":{at_ms}}},"sending_ts_ms":{at_ms}}}'
        self.trade = f'"ts":{at_ms // 1000},"ts_ms":{at_ms}}},"sending_ts_ms":{at_ms}}}'
