"""Accounts quote and take in the crowd's own market for thousands of actions, and nothing gets lost between them."""

import random
from collections import Counter

import pytest

from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.crowd.order_flow import OrderFlow
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.engine import DEFAULT_DEPOSIT, Engine
from rlflow.exchange.matching.grid import named_grid
from rlflow.exchange.matching.happenings import Change, Deal, Filled, Happening
from rlflow.exchange.matching.orders import BookSide, OrderRefusedError, OrderRequest, own_price, resting_side
from rlflow.fees import FeeModel
from rlflow.units import complement

TICKER = "KXSIM-A"
KEYS = ("ann", "bob", "cid")


class Market:
    """A crowd, three accounts, and what the published deltas add up to."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.book = SimulatedBook(TICKER, "id", named_grid("tapered_deci_cent"))
        self.flow = OrderFlow(self.book, Draws(f"seed {seed}"), 5_000)
        self.engine = Engine(seed)
        self.engine.add_market(self.book, FeeModel("quadratic_with_maker_fees"))
        self.published = Counter(
            {(side, price): size for side, resting in self.book.sides.items() for price, size in resting.ladder()}
        )
        self.fills: list[Filled] = []
        self.now_ns = 0

    def heed(self, happenings: list[Happening]) -> None:
        for happening in happenings:
            if isinstance(happening, Change):
                self.published[happening.side, happening.price] += happening.delta
        deals = Counter[str]()
        for deal in happenings:
            if isinstance(deal, Deal) and deal.trade_id:
                deals[deal.trade_id] += deal.count
        for fill in happenings:
            if isinstance(fill, Filled):
                assert deals[fill.trade_id] == fill.count
                self.fills.append(fill)

    def crowd_acts(self) -> None:
        self.now_ns = max(self.now_ns, self.flow.next_due_ns)
        happenings = self.flow.act(self.now_ns)
        self.heed(self.engine.crowd_trade(TICKER, happenings, self.now_ns) if self.book.taken else list(happenings))

    def account_acts(self) -> None:
        key = self.chance.choice(KEYS)
        resting = list(self.engine.account(key).resting(TICKER))
        if len(resting) > 4:
            view = self.chance.choice(resting).view
            self.heed(self.engine.cancel(key, view.order_id, self.now_ns).action.happenings)
            return
        side: BookSide = self.chance.choice(("bid", "ask"))
        best = self.book.sides[resting_side(side)].best or 5_000
        own = min(max(best + self.chance.choice((-100, 0, 0, 100, 300)), 100), 9_900)
        price = complement(self.book.grid.floor(complement(own_price(side, own))))
        request = OrderRequest(TICKER, side, price, self.chance.choice((1, 37, 5_00, 60_00)))
        try:
            answer = self.engine.place(key, request, self.now_ns)
        except OrderRefusedError as refused:
            assert refused.code == "available_balance_too_low"  # noqa: PT017
            return
        self.heed(answer.action.happenings)

    def check(self) -> None:
        yes, no = self.book.sides["yes"], self.book.sides["no"]
        assert yes.best + no.best < 10_000
        levels = {(side, price): size for side, rest in self.book.sides.items() for price, size in rest.sizes.items()}
        assert levels == {level: size for level, size in self.published.items() if size}


@pytest.mark.parametrize("seed", range(4))
def test_books_orders_and_money_agree_after_thousands_of_actions(seed: int) -> None:
    market = Market(seed)
    for number in range(4_000):
        market.crowd_acts()
        if number % 5 == 0:
            market.account_acts()
        market.check()
    makers = [fill for fill in market.fills if not fill.is_taker]
    assert len(makers) > 30
    assert len(market.fills) - len(makers) > 30
    for account in market.engine.accounts.values():
        position = account.position(TICKER)
        assert account.available >= 0
        assert account.cash == DEFAULT_DEPOSIT + position.realized_pnl - position.cost - position.fees_paid
        assert sum(fill.count if fill.side == "bid" else -fill.count for fill in account.fills) == position.count
        for order in account.resting(TICKER):
            level = market.book.sides[order.view.resting_side].portions(order.view.resting_price)
            assert [part.count for part in level if part.order_id == order.view.order_id] == [
                order.view.remaining_count
            ]
