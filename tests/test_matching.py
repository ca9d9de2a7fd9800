"""Orders in the simulated venue, one rule after the other (protocol 6.3 and 7)."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from rlflow.exchange.answers import Answer
from rlflow.exchange.book import SimulatedBook
from rlflow.exchange.engine import Engine
from rlflow.exchange.grid import named_grid
from rlflow.exchange.happenings import Change, Deal, Filled, Happening, OrderChanged, PositionChanged
from rlflow.exchange.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest, OrderView
from rlflow.fees import FeeModel

TICKER = "KXSIM-A"
NOW = 1_795_305_600_000_000_000
SECOND = 1_000_000_000


@attrs.define
class Floor:
    """One market in which the crowd bids 20 contracts at 0.42 and asks 10 at 0.45 and 10 at 0.46."""

    book: SimulatedBook
    engine: Engine

    def place(self, side: str, price: int, count: int, key: str = "ann", **more: Any) -> Answer:
        return self.engine.place(key, OrderRequest(TICKER, side, price, count, **more), NOW)  # type: ignore[arg-type]  # the literals are checked by use

    def amend(self, order: OrderView, price: int, count: int, **more: Any) -> Answer:
        return self.engine.amend(
            order.account, order.order_id, AmendRequest(TICKER, order.side, price, count, **more), NOW
        )

    def crowd_buys(self, price: int, count: int) -> list[Happening]:
        """Let a taker of the crowd buy YES at one price."""
        no = 10_000 - price
        self.book.take("no", no, count)
        return self.engine.crowd_trade(TICKER, [Change("no", no, -count), Deal("no", no, count)], NOW)

    def cash(self, key: str = "ann") -> int:
        return self.engine.account(key).cash - 10_000_000_000

    def position(self, key: str = "ann") -> int:
        return self.engine.account(key).position(TICKER).count


@pytest.fixture
def floor() -> Floor:
    book = SimulatedBook(TICKER, "id")
    book.sides["yes"].change(4_200, 20_00)
    book.sides["no"].change(5_500, 10_00)
    book.sides["no"].change(5_400, 10_00)
    engine = Engine(3)
    engine.add_market(book, FeeModel())
    return Floor(book, engine)


def refusal(error: pytest.ExceptionInfo[OrderRefusedError]) -> tuple[int, str]:
    return error.value.status, error.value.code


# Meeting the book


def test_a_taker_gets_the_resting_prices_best_first_and_the_rest_of_it_rests(floor: Floor) -> None:
    answer = floor.place("bid", 4_600, 25_00)
    assert (answer.fill_count, answer.order.remaining_count, answer.order.status) == (20_00, 5_00, "resting")
    assert answer.average_fill_price == 455_000
    fees = FeeModel()
    assert answer.order.taker_fees == fees.taker_fee(4_500, 10_00) + 50 + fees.taker_fee(4_600, 10_00) + 20
    assert answer.average_fee_paid == answer.order.taker_fees // 20
    assert floor.book.sides["yes"].sizes == {4_200: 20_00, 4_600: 5_00}
    assert floor.book.sides["no"].sizes == {}


def test_an_action_is_published_as_deltas_trades_fills_orders_positions(floor: Floor) -> None:
    floor.place("ask", 4_500, 1_00, "bob")
    answer = floor.place("bid", 4_500, 12_00, client_order_id="mine")
    happenings = answer.action.happenings
    kinds = [Change] * 3 + [Deal] * 2 + [Filled] * 3 + [OrderChanged] * 2 + [PositionChanged] * 2
    assert [type(happening) for happening in happenings] == kinds
    changes = [happening for happening in happenings if isinstance(happening, Change)]
    assert [(c.side, c.price, c.delta) for c in changes] == [
        ("no", 5_500, -10_00),
        ("no", 5_500, -1_00),
        ("yes", 4_500, 1_00),
    ]
    assert {change.order.client_order_id for change in changes if change.order} == {"mine"}
    _, deal = (happening for happening in happenings if isinstance(happening, Deal))
    fills = [happening for happening in happenings if isinstance(happening, Filled)]
    assert [fill.account for fill in fills if fill.trade_id == deal.trade_id] == ["ann", "bob"]
    assert [fill.post_position for fill in fills] == [10_00, 11_00, -1_00]


def test_first_come_is_first_served_at_a_price(floor: Floor) -> None:
    first = floor.place("ask", 4_500, 2_00, "bob").order
    floor.book.sides["no"].change(5_500, 3_00)
    second = floor.place("ask", 4_500, 2_00, "cid").order
    assert floor.engine.queue_position("bob", first.order_id) == 10_00
    assert floor.engine.queue_position("cid", second.order_id) == 15_00
    floor.crowd_buys(4_500, 11_00)
    assert (floor.position("bob"), floor.position("cid")) == (-1_00, 0)
    floor.crowd_buys(4_500, 5_00)
    assert (floor.position("bob"), floor.position("cid")) == (-2_00, -1_00)


def test_the_crowd_withdraws_its_own_last_orders_first(floor: Floor) -> None:
    order = floor.place("ask", 4_500, 2_00, "bob").order
    floor.book.sides["no"].change(5_500, 3_00)
    floor.book.sides["no"].change(5_500, -4_00)
    assert floor.engine.queue_position("bob", order.order_id) == 9_00
    assert floor.book.crowd("no", 5_500) == 9_00
    with pytest.raises(AssertionError):
        floor.book.sides["no"].change(5_500, -9_01)


def test_a_trade_of_the_crowd_is_divided_by_those_whom_it_met(floor: Floor) -> None:
    floor.place("ask", 4_500, 2_00, "bob")
    floor.book.sides["no"].change(5_500, 3_00)
    happenings = floor.crowd_buys(4_500, 14_00)
    deals = [happening for happening in happenings if isinstance(happening, Deal)]
    assert [deal.count for deal in deals] == [10_00, 2_00, 2_00]
    (fill,) = [happening for happening in happenings if isinstance(happening, Filled)]
    assert (fill.trade_id, fill.is_taker, fill.fee) == (deals[1].trade_id, False, 0)
    assert [type(happening) for happening in happenings[-2:]] == [OrderChanged, PositionChanged]


# Times in force


def test_the_rest_of_an_immediate_order_goes(floor: Floor) -> None:
    order = floor.place("bid", 4_500, 12_00, time_in_force="immediate_or_cancel").order
    assert (order.status, order.fill_count, order.remaining_count) == ("canceled", 10_00, 0)
    assert 4_500 not in floor.book.sides["yes"].sizes


def test_fill_or_kill_fills_whole_or_is_refused(floor: Floor) -> None:
    with pytest.raises(OrderRefusedError) as error:
        floor.place("bid", 4_500, 10_01, time_in_force="fill_or_kill", client_order_id="again")
    assert refusal(error) == (409, "fill_or_kill_insufficient_resting_volume")
    order = floor.place("bid", 4_600, 20_00, time_in_force="fill_or_kill", client_order_id="again").order
    assert (order.status, order.fill_count) == ("executed", 20_00)


def test_an_order_expires_at_its_time(floor: Floor) -> None:
    order = floor.place("bid", 4_300, 1_00, expiration_ns=NOW + SECOND).order
    floor.place("bid", 4_300, 1_00, expiration_ns=NOW + 2 * SECOND)
    assert floor.engine.expire(NOW + SECOND - 1) == []
    (action,) = floor.engine.expire(NOW + SECOND)
    (changed,) = [happening for happening in action.happenings if isinstance(happening, OrderChanged)]
    assert (changed.order.order_id, changed.reason) == (order.order_id, "ExpiryCancel")
    assert floor.book.sides["yes"].sizes[4_300] == 1_00


def test_an_amended_time_replaces_the_old_one(floor: Floor) -> None:
    kept = floor.place("bid", 4_300, 1_00, expiration_ns=NOW + SECOND).order
    moved = floor.place("bid", 4_300, 1_00).order
    floor.amend(kept, 4_300, 1_00, expiration_ns=0)
    floor.amend(moved, 4_300, 1_00, expiration_ns=NOW + 3 * SECOND)
    assert floor.engine.expire(NOW + 2 * SECOND) == []
    (action,) = floor.engine.expire(NOW + 3 * SECOND)
    assert [h.order.order_id for h in action.happenings if isinstance(h, OrderChanged)] == [moved.order_id]


@pytest.mark.parametrize("price", [4_500, 4_600])
def test_a_post_only_order_that_would_trade_is_refused(floor: Floor, price: int) -> None:
    with pytest.raises(OrderRefusedError, match="post only cross") as error:
        floor.place("bid", price, 1_00, post_only=True)
    assert refusal(error) == (400, "invalid_order")
    assert floor.place("bid", 4_400, 1_00, post_only=True).order.status == "resting"


def test_reduce_only_closes_a_position_and_never_turns_it(floor: Floor) -> None:
    floor.place("bid", 4_500, 3_00)
    order = floor.place("ask", 4_200, 5_00, time_in_force="immediate_or_cancel", reduce_only=True).order
    assert (order.fill_count, order.status, order.reason) == (3_00, "canceled", "ReduceOnlyCancel")
    assert floor.position() == 0
    order = floor.place("ask", 4_200, 5_00, time_in_force="immediate_or_cancel", reduce_only=True).order
    assert (order.fill_count, order.reason) == (0, "ReduceOnlyCancel")


# One's own orders


def test_a_taker_dies_at_its_own_order(floor: Floor) -> None:
    own = floor.place("ask", 4_400, 1_00).order
    order = floor.place("bid", 4_500, 5_00).order
    assert (order.status, order.fill_count, order.remaining_count) == ("canceled", 0, 0)
    assert order.reason == "SelfTradeCancel"
    assert floor.engine.account("ann").orders[own.order_id].status == "resting"


def test_fill_or_kill_that_meets_its_own_order_ends_as_a_partial_fill(floor: Floor) -> None:
    floor.place("ask", 4_600, 1_00)
    floor.place("ask", 4_500, 2_00, "bob")
    order = floor.place("bid", 4_600, 23_00, time_in_force="fill_or_kill").order
    assert (order.status, order.fill_count, order.reason) == ("canceled", 22_00, "SelfTradeCancel")


def test_the_resting_one_of_two_own_orders_goes_on_request(floor: Floor) -> None:
    own = floor.place("ask", 4_400, 1_00).order
    order = floor.place("bid", 4_500, 5_00, self_trade_prevention="maker").order
    assert (order.status, order.fill_count) == ("executed", 5_00)
    gone = floor.engine.account("ann").orders[own.order_id]
    assert (gone.status, gone.reason) == ("canceled", "SelfTradeCancel")


# Changing orders


@pytest.mark.parametrize(
    ("price", "count", "ahead"),
    [(4_300, 2_00, 0), (4_300, 3_00, 0), (4_300, 4_00, 7_00), (4_200, 3_00, 20_00)],
    ids=["smaller", "equal", "larger", "elsewhere"],
)
def test_an_order_keeps_its_place_unless_it_grows_or_moves(floor: Floor, price: int, count: int, ahead: int) -> None:
    order = floor.place("bid", 4_300, 3_00).order
    floor.book.sides["yes"].change(4_300, 7_00)
    amended = floor.amend(order, price, count).order
    assert (amended.price, amended.remaining_count, amended.reason) == (price, count, "Amend")
    assert floor.engine.queue_position("ann", order.order_id) == ahead


def test_an_amended_count_includes_what_has_filled(floor: Floor) -> None:
    order = floor.place("bid", 4_500, 12_00).order
    amended = floor.amend(order, 4_400, 11_00).order
    assert (amended.initial_count, amended.fill_count, amended.remaining_count) == (11_00, 10_00, 1_00)
    with pytest.raises(OrderRefusedError) as error:
        floor.amend(order, 4_400, 10_00)
    assert refusal(error) == (400, "invalid_order_size")


def test_an_amended_order_may_trade_but_not_if_it_is_post_only(floor: Floor) -> None:
    answer = floor.amend(floor.place("bid", 4_300, 3_00).order, 4_500, 3_00)
    assert (answer.order.status, answer.fill_count) == ("executed", 3_00)
    order = floor.amend(floor.place("bid", 4_300, 3_00, post_only=True).order, 4_500, 3_00).order
    assert (order.status, order.reason, order.fill_count) == ("canceled", "PostOnlyCrossCancel", 0)
    assert 4_300 not in floor.book.sides["yes"].sizes


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"ticker": "KXSIM-B"}, "order_ticker_mismatch"),
        ({"side": "ask"}, "order_side_mismatch"),
        ({"client_order_id": "other"}, "order_id_and_client_order_id_mismatch"),
        ({"price": 4_350}, "invalid_price"),
        ({"count": 0}, "invalid_order_size"),
        ({"expiration_ns": NOW}, "invalid_order"),
    ],
)
def test_an_amend_that_does_not_fit_its_order_is_refused(floor: Floor, more: dict[str, Any], code: str) -> None:
    order = floor.place("bid", 4_300, 3_00, client_order_id="mine").order
    request = attrs.evolve(AmendRequest(TICKER, "bid", 4_300, 2_00), **more)
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.amend("ann", order.order_id, request, NOW)
    assert refusal(error) == (400, code)
    assert floor.engine.account("ann").orders[order.order_id] == order


def test_a_decrease_keeps_the_place_and_all_of_it_ends_the_order(floor: Floor) -> None:
    order = floor.place("bid", 4_300, 5_00).order
    floor.book.sides["yes"].change(4_300, 7_00)
    answer = floor.engine.decrease("ann", order.order_id, DecreaseRequest(reduce_by=2_00), NOW)
    assert (answer.reduced_by, answer.order.remaining_count, answer.order.reason) == (2_00, 3_00, "Decrease")
    assert floor.engine.queue_position("ann", order.order_id) == 0
    answer = floor.engine.decrease("ann", order.order_id, DecreaseRequest(reduce_to=0), NOW)
    assert (answer.reduced_by, answer.order.status) == (3_00, "canceled")


@pytest.mark.parametrize(
    "request_",
    [
        DecreaseRequest(),
        DecreaseRequest(reduce_by=0),
        DecreaseRequest(reduce_by=1, reduce_to=1),
        DecreaseRequest(reduce_to=5_01),
        DecreaseRequest(reduce_to=-1),
    ],
)
def test_a_senseless_decrease_is_refused(floor: Floor, request_: DecreaseRequest) -> None:
    order = floor.place("bid", 4_300, 5_00).order
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.decrease("ann", order.order_id, request_, NOW)
    assert refusal(error) == (400, "invalid_order_size")


def test_a_cancel_says_what_it_took_and_carries_no_reason(floor: Floor) -> None:
    order = floor.place("bid", 4_500, 12_00).order
    answer = floor.engine.cancel("ann", order.order_id, NOW + 1)
    assert (answer.reduced_by, answer.order.status, answer.order.reason) == (2_00, "canceled", "")
    assert answer.order.updated_ns == NOW + 1
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.cancel("ann", order.order_id, NOW)
    assert refusal(error) == (404, "not_found")


def test_only_its_account_can_cancel_an_order_and_only_in_its_market(floor: Floor) -> None:
    order = floor.place("bid", 4_300, 1_00).order
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.cancel("bob", order.order_id, NOW)
    assert refusal(error) == (404, "not_found")
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.cancel("ann", order.order_id, NOW, ticker="KXSIM-B")
    assert refusal(error) == (400, "order_ticker_mismatch")


# Refused orders


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"ticker": "KXSIM-B"}, 404, "not_found"),
        ({"price": 4_250}, 400, "invalid_price"),
        ({"price": 0}, 400, "invalid_price"),
        ({"price": 10_000}, 400, "invalid_price"),
        ({"price": 20_000}, 400, "invalid_price"),
        ({"count": 0}, 400, "invalid_order_size"),
        ({"count": -1}, 400, "invalid_order_size"),
        ({"count": 2**53}, 400, "invalid_order_size"),
        ({"expiration_ns": NOW}, 400, "invalid_order"),
        ({"expiration_ns": NOW + 1, "time_in_force": "fill_or_kill"}, 400, "invalid_order"),
        ({"post_only": True, "time_in_force": "immediate_or_cancel"}, 400, "invalid_order"),
        ({"reduce_only": True}, 400, "invalid_order"),
        ({"count": 25_000_00}, 400, "available_balance_too_low"),
    ],
)
def test_an_impossible_order_is_refused_and_leaves_nothing(
    floor: Floor, more: dict[str, Any], status: int, code: str
) -> None:
    before = floor.book.image()
    with pytest.raises(OrderRefusedError) as error:
        floor.engine.place("ann", attrs.evolve(OrderRequest(TICKER, "bid", 4_300, 1_00), **more), NOW)
    assert refusal(error) == (status, code)
    assert floor.book.image() == before
    assert floor.engine.account("ann").orders == {}


def test_a_client_order_id_is_good_once_per_account_for_ever(floor: Floor) -> None:
    order = floor.place("bid", 4_300, 1_00, client_order_id="a").order
    floor.engine.cancel("ann", order.order_id, NOW)
    with pytest.raises(OrderRefusedError) as error:
        floor.place("bid", 4_300, 1_00, client_order_id="a")
    assert refusal(error) == (409, "order_already_exists")
    assert floor.place("bid", 4_300, 1_00, "bob", client_order_id="a").order.status == "resting"
    other = floor.place("bid", 4_300, 1_00, client_order_id="b").order
    floor.amend(other, 4_300, 1_00, updated_client_order_id="c")
    for used in "abc":
        with pytest.raises(OrderRefusedError):
            floor.place("bid", 4_300, 1_00, client_order_id=used)


def test_the_smallest_order_is_a_hundredth_of_a_contract(floor: Floor) -> None:
    assert floor.place("bid", 4_500, 1).fill_count == 1


def test_resting_orders_stay_when_the_price_grid_changes(floor: Floor) -> None:
    floor.book.grid = named_grid("deci_cent")
    order = floor.place("bid", 4_310, 1_00).order
    floor.book.grid = named_grid("linear_cent")
    with pytest.raises(OrderRefusedError, match="grid"):
        floor.place("bid", 4_310, 1_00)
    assert floor.engine.cancel("ann", order.order_id, NOW).reduced_by == 1_00


# Money


def test_a_resting_order_is_paid_for_in_advance_and_a_cancel_gives_it_back(floor: Floor) -> None:
    account = floor.engine.account("ann")
    order = floor.place("ask", 4_700, 10_00).order
    assert account.cash - account.available == 5_300 * 10_00
    assert account.balance_cents == 1_000_000 - 530
    floor.engine.cancel("ann", order.order_id, NOW)
    assert account.available == account.cash


def test_selling_what_one_holds_needs_nothing_in_advance(floor: Floor) -> None:
    floor.place("bid", 4_500, 10_00)
    account = floor.engine.account("ann")
    floor.place("ask", 4_700, 10_00)
    assert account.available == account.cash
    floor.place("ask", 4_800, 1_00)
    assert account.cash - account.available == 5_200 * 1_00


def test_buying_the_other_side_gives_the_dollars_back(floor: Floor) -> None:
    floor.place("bid", 4_500, 10_00)
    paid = floor.cash()
    answer = floor.place("ask", 4_200, 10_00)
    assert floor.position() == 0
    assert floor.cash() - paid == 4_200 * 10_00 - answer.order.taker_fees
    view = floor.engine.account("ann").position(TICKER)
    assert (view.cost, view.realized_pnl, view.volume) == (0, -300 * 10_00, 20_00)
    assert floor.cash() == view.realized_pnl - view.fees_paid


def test_a_position_turns_in_one_fill(floor: Floor) -> None:
    floor.place("bid", 4_500, 4_00)
    floor.place("ask", 4_200, 10_00)
    view = floor.engine.account("ann").position(TICKER)
    assert (view.count, view.cost, view.realized_pnl) == (-6_00, 5_800 * 6_00, -300 * 4_00)


def test_the_balance_is_shown_in_whole_cents_rounded_down(floor: Floor) -> None:
    floor.place("bid", 4_500, 1)
    account = floor.engine.account("ann")
    assert floor.cash() == -4_500 - 200
    assert account.balance_cents == 999_999


# The market's life


def test_a_closed_market_takes_nothing_and_its_orders_go(floor: Floor) -> None:
    order = floor.place("bid", 4_300, 1_00).order
    floor.engine.set_trading(TICKER, "closed")
    attempts: list[Callable[[], Answer]] = [
        lambda: floor.place("bid", 4_300, 1_00),
        lambda: floor.engine.cancel("ann", order.order_id, NOW),
        lambda: floor.amend(order, 4_300, 1_00),
        lambda: floor.engine.decrease("ann", order.order_id, DecreaseRequest(reduce_by=1), NOW),
    ]
    for attempt in attempts:
        with pytest.raises(OrderRefusedError) as error:
            attempt()
        assert refusal(error) == (400, "MARKET_INACTIVE")
    assert floor.engine.cancel_all("ann", NOW) == []
    action = floor.engine.close_market(TICKER, NOW)
    assert [h.reason for h in action.happenings if isinstance(h, OrderChanged)] == ["CloseCancel"]
    assert floor.book.sides["yes"].sizes == {4_200: 20_00}


def test_a_paused_market_takes_cancels_only_and_an_unpause_empties_it(floor: Floor) -> None:
    kept = floor.place("bid", 4_300, 1_00).order
    asked = floor.place("bid", 4_300, 1_00, cancel_on_pause=True).order
    floor.engine.pause(TICKER, NOW)
    assert floor.engine.account("ann").orders[asked.order_id].reason == "HaltCancel"
    with pytest.raises(OrderRefusedError, match="paused"):
        floor.place("bid", 4_300, 1_00)
    with pytest.raises(OrderRefusedError, match="paused"):
        floor.amend(kept, 4_200, 1_00)
    action = floor.engine.wipe(TICKER, NOW)
    assert floor.engine.account("ann").orders[kept.order_id].reason == "HaltCancel"
    changes = {(c.side, c.price): c.delta for c in action.happenings if isinstance(c, Change)}
    assert changes == {("yes", 4_200): -20_00, ("yes", 4_300): -1_00, ("no", 5_400): -10_00, ("no", 5_500): -10_00}
    assert len(floor.book.sides["yes"]) == len(floor.book.sides["no"]) == 0
    floor.engine.set_trading(TICKER, "open")
    assert floor.place("bid", 4_300, 1_00).order.status == "resting"


@pytest.mark.parametrize(
    ("value", "result", "revenue"), [(10_000, "yes", 3_000_000), (0, "no", 0), (3_335, "scalar", 1_000_000)]
)
def test_settlement_pays_whole_cents_and_ends_the_position(floor: Floor, value: int, result: str, revenue: int) -> None:
    floor.place("bid", 4_500, 3_00)
    before = floor.cash()
    floor.engine.close_market(TICKER, NOW)
    action = floor.engine.settle(TICKER, value, result, NOW + 5)
    assert floor.cash() - before == revenue
    account = floor.engine.account("ann")
    (settlement,) = account.settlements
    assert (settlement.result, settlement.revenue, settlement.position.count) == (result, revenue, 3_00)
    assert [type(happening) for happening in action.happenings] == [PositionChanged]
    assert account.position(TICKER).realized_pnl == revenue - 4_500 * 3_00
    floor.engine.remove_market(TICKER)
    with pytest.raises(OrderRefusedError) as error:
        floor.place("bid", 4_300, 1_00)
    assert refusal(error) == (404, "not_found")


def test_no_contracts_are_paid_the_complement(floor: Floor) -> None:
    floor.place("ask", 4_200, 3_00)
    before = floor.cash()
    floor.engine.close_market(TICKER, NOW)
    floor.engine.settle(TICKER, 0, "no", NOW)
    assert floor.cash() - before == 3_000_000


def test_fees_change_for_the_fills_to_come(floor: Floor) -> None:
    order = floor.place("ask", 4_500, 2_00, "bob").order
    floor.engine.set_fees(TICKER, FeeModel("quadratic_with_maker_fees"))
    floor.crowd_buys(4_500, 12_00)
    assert floor.engine.account("bob").orders[order.order_id].maker_fees == 8_700


def test_the_same_seed_gives_the_same_ids_and_no_id_twice(floor: Floor) -> None:
    ids = [floor.place("bid", 4_300, 1_00).order.order_id for _ in range(3)]
    trades = [floor.engine.identifiers.next_trade_id() for _ in range(3)]
    assert len({*ids, *trades}) == 6
    again = Engine(3).identifiers
    assert [again.next_order_id() for _ in range(3)] == ids
