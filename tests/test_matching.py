"""How orders meet in the simulated venue: priority, times in force, one's own orders (protocol 6.3 and 7)."""

import pytest

from rlflow.exchange.matching.happenings import Change, Deal, Filled, OrderChanged, PositionChanged
from rlflow.exchange.matching.orders import OrderRefusedError
from rlflow.fees import FeeModel
from tests.order_floor import NOW, SECOND, Floor, opened, refusal


@pytest.fixture
def floor() -> Floor:
    return opened()


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
