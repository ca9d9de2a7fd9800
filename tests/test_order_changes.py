"""Amends, decreases and cancels, and orders that are refused (protocol 6.3 and 7)."""

from typing import Any

import attrs
import pytest

from rlflow.exchange.matching.grid import named_grid
from rlflow.exchange.matching.orders import AmendRequest, DecreaseRequest, OrderRefusedError, OrderRequest
from tests.order_floor import NOW, TICKER, Floor, opened, refusal


@pytest.fixture
def floor() -> Floor:
    return opened()


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
