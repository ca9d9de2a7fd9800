"""Payment in advance: what is set aside is enough for whatever fills, and no more than needed."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from rlflow.exchange.matching.collateral import Claim, Terms, required
from rlflow.exchange.matching.orders import BookSide
from rlflow.exchange.matching.positions import PositionView, closing_count
from rlflow.fees import FeeModel, RoundingAccumulator
from rlflow.units import ONE_DOLLAR, Side, opposite
from tests.strategies import counts, prices, sides

FREE = Terms(FeeModel("flat"), 100)
claims = st.builds(Claim, sides, prices, counts, st.booleans())
book_sides: st.SearchStrategy[BookSide] = st.sampled_from(("bid", "ask"))
positions = st.integers(-600, 600)
terms = st.builds(
    Terms,
    st.builds(
        FeeModel.from_sheet, st.sampled_from(("quadratic", "quadratic_with_maker_fees")), st.sampled_from((1, 7))
    ),
    st.sampled_from((100, 10_000)),
)


@attrs.define
class Live:
    """An order with its accumulator."""

    claim: Claim
    rounding: RoundingAccumulator


def test_both_sides_are_paid_at_their_own_price() -> None:
    assert required(0, [Claim("yes", 4_200, 10_00), Claim("no", 5_500, 1_00)], FREE) == 4_200 * 10_00 + 5_500 * 1_00


def test_a_position_covers_the_orders_that_fill_first() -> None:
    asks = [Claim("no", 3_000, 5_00), Claim("no", 5_000, 4_00)]
    assert required(4_00, asks, FREE) == 3_000 * 5_00
    assert required(6_00, asks, FREE) == 3_000 * 3_00
    assert required(9_00, asks, FREE) == 0
    assert required(-9_00, asks, FREE) == 3_000 * 5_00 + 5_000 * 4_00
    assert required(-9_00, [Claim("yes", 9_900, 9_00)], FREE) == 0


def test_fees_are_set_aside_at_the_takers_or_the_makers_rate() -> None:
    quadratic = Terms(FeeModel(), 100)
    assert required(0, [Claim("yes", 5_000, 1_00)], quadratic) == 500_000
    # 0.0175 dollars, and up to a micro-dollar for each of a hundred fills.
    assert required(0, [Claim("yes", 5_000, 1_00, is_taker=True)], quadratic) == 500_000 + 17_600


@given(
    position=positions,
    orders=st.lists(claims, max_size=5),
    how=terms,
    steps=st.lists(st.tuples(sides, st.integers(1, 400), st.integers(0, 9_000)), max_size=12),
)
def test_cash_less_what_is_set_aside_never_falls_through_fills(
    position: int, orders: list[Claim], how: Terms, steps: list[tuple[Side, int, int]]
) -> None:
    live = [Live(claim, RoundingAccumulator(how.unit)) for claim in orders]
    cash = required(position, orders, how)
    free = 0
    for side, count, better in steps:
        facing = [order for order in live if order.claim.side == side and order.claim.count]
        if not facing:
            continue
        order = max(facing, key=lambda live: live.claim.price)
        claim, part = order.claim, min(count, order.claim.count)
        price = max(claim.price - better, 1)
        fee = how.fees.trade_fee(price, part, is_taker=claim.is_taker)
        cash += closing_count(position, "bid" if side == "yes" else "ask", part) * ONE_DOLLAR - price * part
        cash -= order.rounding.charge(price * part, fee).total
        position += part if side == "yes" else -part
        order.claim = attrs.evolve(claim, count=claim.count - part, held=order.rounding.held)
        left = cash - required(position, [order.claim for order in live if order.claim.count], how)
        assert left >= free
        free = left


@given(position=positions, orders=st.lists(claims, max_size=5), how=terms, gone=st.integers(0, 4))
def test_cancels_never_cost(position: int, orders: list[Claim], how: Terms, gone: int) -> None:
    fewer = orders[:gone] + orders[gone + 1 :]
    assert required(position, fewer, how) <= required(position, orders, how)


@given(position=positions, orders=st.lists(claims, max_size=5), how=terms)
def test_both_sides_are_alike(position: int, orders: list[Claim], how: Terms) -> None:
    mirrored = [Claim(opposite(claim.side), claim.price, claim.count, claim.is_taker) for claim in orders]
    assert required(-position, mirrored, how) == required(position, orders, how)


@given(st.lists(st.tuples(book_sides, prices, counts, st.integers(-50, 900)), min_size=1))
def test_a_position_loses_nothing_over_any_fills(fills: list[tuple[BookSide, int, int, int]]) -> None:
    view, cash = PositionView("ann", "KXSIM-A"), 0
    for side, price, count, fee in fills:
        own = price if side == "bid" else ONE_DOLLAR - price
        cash += closing_count(view.count, side, count) * ONE_DOLLAR - own * count - fee
        view = view.after_fill(side, price, count, fee, 5)
        assert cash == view.realized_pnl - view.cost - view.fees_paid
        assert 0 <= view.cost <= abs(view.count) * ONE_DOLLAR
        assert bool(view.count) or view.cost == view.open_fees == 0
