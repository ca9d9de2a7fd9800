"""What orders cost accounts, and what a market's life does to both (protocol 7 and 8.1)."""

from collections.abc import Callable

import pytest

from rlflow.exchange.matching.answers import Answer
from rlflow.exchange.matching.engine import Engine
from rlflow.exchange.matching.happenings import Change, OrderChanged, PositionChanged
from rlflow.exchange.matching.orders import DecreaseRequest, OrderRefusedError
from rlflow.fees import FeeModel
from tests.order_floor import NOW, TICKER, Floor, opened, refusal


@pytest.fixture
def floor() -> Floor:
    return opened()


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
