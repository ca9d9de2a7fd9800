"""The matching engine beside a naive venue: whatever accounts and the crowd do, both agree to the micro-dollar."""

from collections.abc import Callable, Iterable
from fractions import Fraction

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.happenings import (
    Change,
    CrowdHappening,
    Deal,
    Filled,
    Happening,
    OrderChanged,
    PositionChanged,
)
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest
from rlflow.exchange.matching.proceedings import Action
from rlflow.fees import FeeModel
from rlflow.units import Side, opposite
from tests.naive_venue import CROWD, NaiveVenue, Refused
from tests.naive_venue import Order as NaiveOrder
from tests.order_requests import KEYS, TICKER, client_ids, counts, keys, requests
from tests.strategies import sides

MICRO = 10**6
RANKS: tuple[type, ...] = (Change, Deal, Filled, OrderChanged, PositionChanged)


def rank(happening: Happening) -> int:
    return RANKS.index(type(happening))


class EngineBesideNaiveVenue(RuleBasedStateMachine):
    """Every rule does the same to both; invariants compare all that can be seen."""

    @initialize(
        fee_type=st.sampled_from(("quadratic", "quadratic_with_maker_fees", "flat")),
        multiplier=st.sampled_from(("1", "0.5", "3")),
        unit=st.sampled_from((100, 10_000)),
        dollars=st.sampled_from((2, 8, 1_000)),
    )
    def begin(self, fee_type: str, multiplier: str, unit: int, dollars: int) -> None:
        self.book = SimulatedBook(TICKER, "id")
        self.engine = Engine(7, deposit=dollars * MICRO, unit=unit)
        self.engine.add_market(self.book, FeeModel.from_sheet(fee_type, multiplier))
        self.naive = NaiveVenue(fee_type, Fraction(multiplier), Fraction(unit, MICRO), Fraction(dollars))
        self.published: dict[tuple[str, int], int] = {}
        self.now = 1_000
        self.is_paused = False
        for key in KEYS:
            self.engine.account(key)
            self.naive.holder(key)
        self.naive.holder(CROWD)
        for side in ("yes", "no"):
            for cents in (46, 47, 49):
                self.crowd_adds(side, cents, 2_00)

    # Reading what the engine says

    def heed(self, happenings: Iterable[Happening]) -> None:
        """Apply the deltas, and check the order of publication and that fills belong to trades."""
        happenings = list(happenings)
        for happening in happenings:
            if isinstance(happening, Change):
                level = (happening.side, happening.price)
                assert happening.delta
                self.published[level] = self.published.get(level, 0) + happening.delta
                assert self.published[level] >= 0
        about_accounts = [rank(happening) for happening in happenings if rank(happening) > 1]
        assert about_accounts == sorted(about_accounts)
        assert all(rank(happening) <= 1 for happening in happenings[: len(happenings) - len(about_accounts)])
        deals = {deal.trade_id: deal for deal in happenings if isinstance(deal, Deal) if deal.trade_id}
        for fill in (happening for happening in happenings if isinstance(happening, Filled)):
            deal = deals[fill.trade_id]
            assert fill.count == deal.count
            assert fill.price == (deal.price if deal.maker == "yes" else 10_000 - deal.price)
            assert fill.is_taker == ((fill.side == "bid") != (deal.maker == "yes"))

    def both(self, real: Callable[[], list[Action]], naive: Callable[[], None]) -> None:
        """Do it to both; where the engine refuses, the naive venue does for the same reason, and nothing changed."""
        before = self.state()
        try:
            actions = real()
        except OrderRefusedError as refused:
            with pytest.raises(Refused, match=f"^{refused.code}$"):
                naive()
            assert self.state() == before
            return
        naive()
        for action in actions:
            assert action.ticker == TICKER
            self.heed(action.happenings)

    def state(self) -> list[object]:
        accounts = self.engine.accounts.values()
        seen = [(a.cash, a.available, dict(a.orders), dict(a.positions), len(a.fills)) for a in accounts]
        return [self.book.image(), *seen]

    # Accounts

    @precondition(lambda self: not self.is_paused)
    @rule(key=keys, request=requests, lives=st.one_of(st.none(), st.integers(1, 60)))
    def place_somewhere(self, key: str, request: OrderRequest, lives: int | None) -> None:
        self.place(key, request, lives)

    def place(self, key: str, request: OrderRequest, lives: int | None) -> None:
        if lives and request.time_in_force == "good_till_canceled":
            request = attrs.evolve(request, expiration_ns=self.now + lives)
        names: list[str] = []

        def real() -> list[Action]:
            answer = self.engine.place(key, request, self.now)
            names.append(answer.order.order_id)
            return [answer.action]

        self.both(real, lambda: self.naive.place(key, request, names[0] if names else ""))

    @precondition(lambda self: not self.is_paused)
    @rule(key=keys, request=requests, worse=st.integers(0, 2))
    def place_against_the_best(self, key: str, request: OrderRequest, worse: int) -> None:
        """Cross the book, so that much is traded."""
        yes, no = self.book.sides["yes"].best, self.book.sides["no"].best
        price = 10_000 - no + worse * 100 if request.side == "bid" else yes - worse * 100
        self.place(key, attrs.evolve(request, price=min(max(price, 100), 9_900)), None)

    def pick(self, data: st.DataObject) -> NaiveOrder:
        return data.draw(st.sampled_from([order for order in self.naive.orders if order.owner != CROWD]))

    @property
    def has_orders(self) -> bool:
        return any(order.owner != CROWD for order in self.naive.orders)

    @precondition(lambda self: self.has_orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = self.pick(data)
        self.both(
            lambda: [self.engine.cancel(order.owner, order.name, self.now, ticker=TICKER).action],
            lambda: self.naive.remove(order, ""),
        )

    @precondition(lambda self: self.has_orders)
    @rule(key=keys)
    def cancel_all(self, key: str) -> None:
        def naive() -> None:
            for order in self.naive.resting(key):
                self.naive.remove(order, "")

        self.both(lambda: self.engine.cancel_all(key, self.now), naive)

    @precondition(lambda self: self.has_orders)
    @rule(data=st.data(), by=counts, is_to=st.booleans())
    def decrease(self, data: st.DataObject, by: int, is_to: bool) -> None:
        order = self.pick(data)
        remaining = max(order.count - by, 0)
        request = DecreaseRequest(reduce_to=remaining) if is_to else DecreaseRequest(reduce_by=by)
        self.both(
            lambda: [self.engine.decrease(order.owner, order.name, request, self.now).action],
            lambda: self.naive.shrink(order.name, remaining, "Decrease"),
        )

    @precondition(lambda self: self.has_orders and not self.is_paused)
    @rule(
        data=st.data(),
        moves=st.sampled_from((-300, -100, 0, 0, 100, 300)),
        grows=st.integers(-60, 60),
        expires=st.sampled_from((None, 0, 30)),
        updated=client_ids,
    )
    def amend(self, data: st.DataObject, moves: int, grows: int, expires: int | None, updated: str) -> None:
        order = self.pick(data)
        price = min(max(order.price + moves, 100), 9_900)
        request = AmendRequest(
            TICKER,
            "bid" if order.side == "yes" else "ask",
            price if order.side == "yes" else 10_000 - price,
            max(order.filled + order.count + grows, 1),
            updated_client_order_id=updated,
            expiration_ns=expires and self.now + expires,
        )
        if updated == self.engine.accounts[order.owner].orders[order.name].client_order_id:
            request = AmendRequest(request.ticker, request.side, request.price, request.count)
        self.both(
            lambda: [self.engine.amend(order.owner, order.name, request, self.now).action],
            lambda: self.naive.amend(order.name, request),
        )

    # The crowd

    @rule(side=sides, cents=st.integers(44, 54), count=counts)
    def crowd_rests(self, side: Side, cents: int, count: int) -> None:
        self.crowd_adds(side, cents, count)

    def crowd_adds(self, side: Side, cents: int, count: int) -> None:
        price = min(cents * 100, self.book.highest_bid(side))
        if price <= 0:
            return
        self.book.sides[side].change(price, count)
        self.naive.orders.append(NaiveOrder(CROWD, side, price, count))
        self.heed([Change(side, price, count)])

    @rule(side=sides, data=st.data(), count=counts)
    def crowd_withdraws(self, side: Side, data: st.DataObject, count: int) -> None:
        prices = [price for price in self.book.sides[side].prices if self.book.crowd(side, price)]
        if not prices:
            return
        price = data.draw(st.sampled_from(prices))
        count = min(count, self.book.crowd(side, price))
        self.book.sides[side].change(price, -count)
        self.naive.crowd_withdraws(side, price, count)
        self.heed([Change(side, price, -count)])

    @rule(maker=sides, budget=st.integers(1, 1_500), is_first=st.booleans())
    def crowd_trades(self, maker: Side, budget: int, is_first: bool) -> None:
        deals: list[CrowdHappening] = []
        changes: list[CrowdHappening] = []
        taker = NaiveOrder(CROWD, opposite(maker), 9_999, 0)
        for price in reversed(self.book.sides[maker].prices[-3:]):
            count = min(budget - taker.count, self.book.sides[maker].sizes[price])
            if count:
                taker.count += count
                deals.append(Deal(maker, price, count))
                changes.append(Change(maker, price, -count))
                self.book.take(maker, price, count)
        made = [*deals, *changes] if is_first else [*changes, *deals]
        self.heed(self.engine.crowd_trade(TICKER, made, self.now) if self.book.taken else made)
        self.naive.trade(taker)
        assert taker.count == 0

    # Time and the venue

    @precondition(lambda self: any(order.expires for order in self.naive.orders))
    @rule(passes=st.integers(1, 30))
    def expire(self, passes: int) -> None:
        self.now += passes
        self.both(lambda: self.engine.expire(self.now), lambda: self.naive.expire(self.now))

    @precondition(lambda self: not self.is_paused)
    @rule()
    def pause(self) -> None:
        self.is_paused = True
        self.both(
            lambda: [self.engine.pause(TICKER, self.now)], lambda: self.naive.end_all("HaltCancel", on_pause=True)
        )

    @rule()
    def halt(self) -> None:
        self.both(lambda: self.engine.halt(self.now), lambda: self.naive.end_all("HaltCancel", on_pause=True))

    @precondition(lambda self: self.is_paused)
    @rule(is_wiped=st.booleans())
    def resume(self, is_wiped: bool) -> None:
        self.is_paused = False
        if is_wiped:
            self.both(lambda: [self.engine.wipe(TICKER, self.now)], self.wipe_naive)
        self.engine.set_trading(TICKER, "open")

    def wipe_naive(self) -> None:
        self.naive.end_all("HaltCancel")
        self.naive.orders.clear()

    @precondition(lambda self: len(self.naive.known) > 4)
    @rule(value=st.sampled_from((0, 10_000, 3_333)))
    def close_and_settle(self, value: int) -> None:
        self.both(lambda: [self.engine.close_market(TICKER, self.now)], lambda: self.naive.end_all("CloseCancel"))
        crowd = self.naive.money() - self.naive.deposits()
        self.both(lambda: [self.engine.settle(TICKER, value, "yes", self.now)], lambda: self.naive.settle(value))
        # Rounding payouts to cents leaves less than a cent an account with the venue; it counts as the crowd's.
        lost = crowd - (self.naive.money() - self.naive.deposits())
        assert 0 <= lost < Fraction(len(KEYS), 100)
        self.naive.holder(CROWD).cash += lost
        self.engine.set_trading(TICKER, "paused" if self.is_paused else "open")

    # What always holds

    @invariant()
    def books_agree(self) -> None:
        expected = self.naive.levels()
        assert {level: size for level, size in self.published.items() if size} == expected
        for side in ("yes", "no"):
            resting = self.book.sides[side]
            sizes = {price: size for (other, price), size in expected.items() if other == side}
            assert resting.sizes == sizes
            assert resting.prices == sorted(sizes)
            assert resting.best == max(sizes, default=0)
            for price in resting.prices:
                assert sum(portion.count for portion in resting.portions(price)) == sizes[price]
                assert resting.crowd(price) == self.naive.crowd_at(side, price)
                assert resting.has_orders(price) == (resting.crowd(price) < sizes[price])
        assert self.book.sides["yes"].best + self.book.sides["no"].best < 10_000

    @invariant()
    def orders_agree(self) -> None:
        for name, order in self.naive.known.items():
            view = self.engine.accounts[order.owner].orders[name]
            assert (view.resting_side, view.resting_price) == (order.side, order.price)
            assert (view.status, view.reason) == (order.status, order.reason)
            assert (view.remaining_count, view.fill_count) == (order.count, order.filled)
            assert view.taker_fees + view.maker_fees == order.fees * MICRO >= 0
            if order.status == "resting":
                assert self.engine.queue_position(order.owner, name) == self.naive.ahead(name)

    @invariant()
    def accounts_agree(self) -> None:
        for key, holder in self.naive.accounts():
            account, position = self.engine.account(key), self.engine.account(key).position(TICKER)
            assert account.cash == holder.cash * MICRO
            assert position.count == holder.yes
            assert position.fees_paid == holder.fees * MICRO
            assert account.set_aside(TICKER) == self.naive.needs(key) * MICRO
            assert account.available == account.cash - account.set_aside(TICKER) >= 0
            assert account.balance_cents == account.available // 10_000
            deposit = int(self.naive.deposit * MICRO)
            assert account.cash == deposit + position.realized_pnl - position.cost - position.fees_paid
            assert 0 <= position.cost <= abs(position.count) * 10_000
            assert sum(fill.count for fill in account.fills) == position.volume
            assert sum(fill.fee for fill in account.fills) == position.fees_paid

    @invariant()
    def money_is_conserved(self) -> None:
        assert self.naive.money() == self.naive.deposits()
        assert sum(holder.yes for holder in self.naive.holders.values()) == 0


TestEngineBesideNaiveVenue = EngineBesideNaiveVenue.TestCase
TestEngineBesideNaiveVenue.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, phases=set(Phase) - {Phase.explain}
)
