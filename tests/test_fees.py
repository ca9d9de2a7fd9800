"""Fees to the micro-dollar: the vectors of protocol 7, the examples of the venue's page, what holds for any order."""

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlflow.fees import BROKER_UNIT, DIRECT_MEMBER_UNIT, Charge, FeeModel, RoundingAccumulator, round_up
from rlflow.units import ONE_DOLLAR, complement
from tests.strategies import counts, prices

FEE_TYPES = ("quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat")
units = st.sampled_from((DIRECT_MEMBER_UNIT, BROKER_UNIT))
models = st.builds(FeeModel, st.sampled_from(FEE_TYPES), st.fractions(0, 10, max_denominator=40))

MAKER = FeeModel("quadratic_with_maker_fees")
HALF = FeeModel.from_sheet("quadratic", 0.5)
# Count, price, fee of the model, unit, charge: the table of protocol 7.
VECTORS = [
    (100, 5_200, FeeModel().taker_fee, 100, Charge(17_472, 28, 0)),
    (100_00, 500, FeeModel().taker_fee, 100, Charge(332_500, 0, 0)),
    (25, 3_350, FeeModel().taker_fee, 100, Charge(3_899, 51, 0)),
    (10_00, 3_700, MAKER.maker_fee, 100, Charge(40_793, 7, 0)),
    (40_00, 6_100, HALF.taker_fee, 100, Charge(333_060, 40, 0)),
    (3_00, 9_990, FeeModel().taker_fee, 100, Charge(210, 90, 0)),
    (100, 5_200, FeeModel().taker_fee, 10_000, Charge(17_472, 2_528, 0)),
]
CHARGED = [17_500, 332_500, 3_950, 40_800, 333_100, 300, 20_000]


@pytest.mark.parametrize(("count", "price", "model", "unit", "expected"), VECTORS)
def test_first_fills_cost_what_the_protocol_computes(
    count: int, price: int, model: Callable[[int, int], int], unit: int, expected: Charge
) -> None:
    assert RoundingAccumulator(unit).charge(price * count, model(price, count)) == expected


def test_the_charges_of_the_table_are_the_sums() -> None:
    assert [vector[-1].total for vector in VECTORS] == CHARGED


@pytest.mark.parametrize(
    ("cost", "fee", "totals"),
    [
        (55_000, 8_500, [15_000, 5_000, 15_000]),  # three contracts at 0.055
        (150_000, 4_100, [10_000, 0, 10_000]),  # three times 0.3 contracts at 0.50
    ],
)
def test_the_accumulator_pays_back_as_on_the_venues_page(cost: int, fee: int, totals: list[int]) -> None:
    accumulator = RoundingAccumulator(BROKER_UNIT)
    assert [accumulator.charge(cost, fee).total for _ in totals] == totals


def test_a_rebate_can_exceed_the_fees_of_its_fill_but_never_those_of_the_order() -> None:
    accumulator = RoundingAccumulator(DIRECT_MEMBER_UNIT)
    charges = [accumulator.charge(3_350, 0) for _ in range(2)]
    assert charges == [Charge(0, 50, 0), Charge(0, 50, 100)]
    assert sum(charge.total for charge in charges) == 0


@given(price=prices, count=counts, model=models)
def test_fees_are_the_formula_rounded_up(price: int, count: int, model: FeeModel) -> None:
    shares = {"quadratic": "0", "quadratic_with_maker_fees": "0.0175", "quadratic_with_combo_maker_fees": "0.035"}
    p, multiplier = Fraction(price, ONE_DOLLAR), model.multiplier
    for rate, fee in (
        (Fraction(0) if model.fee_type == "flat" else Fraction("0.07"), model.taker_fee(price, count)),
        (Fraction(shares.get(model.fee_type, "0")), model.maker_fee(price, count)),
    ):
        exact = multiplier * rate * Fraction(count, 100) * p * (1 - p) * 1_000_000
        assert 0 <= fee - exact < 1
    assert model.taker_fee(complement(price), count) == model.taker_fee(price, count)


@given(st.lists(st.tuples(prices, counts, st.booleans()), min_size=1, max_size=30), models, units)
def test_a_whole_order_pays_its_cost_and_trade_fees_rounded_up_once(
    fills: list[tuple[int, int, bool]], model: FeeModel, unit: int
) -> None:
    accumulator = RoundingAccumulator(unit)
    exact = paid = charged = 0
    for price, count, is_taker in fills:
        fee = model.trade_fee(price, count, is_taker=is_taker)
        charge = accumulator.charge(price * count, fee)
        assert 0 <= charge.rounding_fee < unit
        assert (price * count + charge.total) % unit == 0
        exact, paid, charged = exact + price * count + fee, paid + price * count + charge.total, charged + charge.total
        assert paid == round_up(exact, unit)
        assert charged >= 0


@given(
    limit=prices,
    fills=st.lists(st.tuples(st.integers(0, 9_999), counts), min_size=1, max_size=20),
    model=models,
    is_taker=st.booleans(),
)
def test_what_is_set_aside_at_the_limit_pays_for_any_fills_at_it_or_better(
    limit: int, fills: list[tuple[int, int]], model: FeeModel, is_taker: bool
) -> None:
    total = sum(count for _, count in fills)
    spent = 0
    for better, count in fills:
        price = max(limit - better, 1)
        spent += price * count + model.trade_fee(price, count, is_taker=is_taker)
    assert spent <= limit * total + model.most_fees(limit, total, is_taker=is_taker)


@pytest.mark.parametrize("multiplier", [1, 0.5, "0.5", Decimal("0.50"), 0.1])
def test_a_multiplier_is_what_it_prints(multiplier: Decimal | str | float) -> None:
    expected = (Decimal(str(multiplier)) * Decimal("1.75") * 10**6).to_integral_value(ROUND_CEILING)
    assert FeeModel.from_sheet("quadratic", multiplier).taker_fee(5_000, 100_00) == expected


@pytest.mark.parametrize(("fee_type", "multiplier"), [("cubic", 1), ("", 1), ("quadratic", -1), ("quadratic", 11)])
def test_unknown_models_and_impossible_multipliers_are_refused(fee_type: str, multiplier: int) -> None:
    with pytest.raises(ValueError, match=r"fee_type|multiplier"):
        FeeModel.from_sheet(fee_type, multiplier)
