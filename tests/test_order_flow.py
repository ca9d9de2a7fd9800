"""The simulated crowd: possible books under any driver, the same happenings for the same seed and times."""

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.crowd.activity import LIVELY, NATURAL, Activity
from rlflow.exchange.crowd.draws import Draws
from rlflow.exchange.crowd.order_flow import OrderFlow
from rlflow.exchange.matching.book import SimulatedBook
from rlflow.exchange.matching.grid import named_grid
from rlflow.exchange.matching.happenings import Change, CrowdHappening, Deal
from rlflow.units import ONE_DOLLAR, Nanos, Price, Side

SECOND: Nanos = 10**9
SEEDS = st.integers(0, 2**64)


def market(
    seed: object, *, closes_ns: Nanos | None = None, fair: Price = 5_000, grid: str = "linear_cent"
) -> OrderFlow:
    book = SimulatedBook("KXSIM", "id", named_grid(grid))
    return OrderFlow(book, Draws(f"test {seed}"), fair, closes_ns=closes_ns)


def actions(flow: OrderFlow, count: int) -> Iterator[list[CrowdHappening]]:
    for _ in range(count):
        yield flow.act(flow.next_due_ns)


def levels(flow: OrderFlow) -> dict[tuple[Side, Price], int]:
    return {(side, price): size for side, resting in flow.book.sides.items() for price, size in resting.sizes.items()}


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, fair=st.integers(100, 9_900), grid=st.sampled_from(["linear_cent", "tapered_deci_cent"]))
def test_a_book_is_the_sum_of_its_changes_and_never_crossed_between_actions(seed: int, fair: int, grid: str) -> None:
    flow = market(seed, fair=fair, grid=grid, closes_ns=60 * SECOND)
    book = Counter(levels(flow))
    for done in actions(flow, 1_500):
        assert done
        for change in done:
            if isinstance(change, Change):
                book[change.side, change.price] += change.delta
                assert book[change.side, change.price] >= 0
                assert change.price < ONE_DOLLAR
                assert flow.book.on_grid(change.price) == change.price
        assert flow.book.spread > 0
    assert +book == levels(flow)


def test_a_trade_takes_exactly_its_count_from_the_makers_level_in_its_own_action() -> None:
    trades = 0
    for done in actions(market(2), 30_000):
        deals, changes = Counter[tuple[Side, Price]](), Counter[tuple[Side, Price]]()
        for happening in done:
            if isinstance(happening, Deal):
                assert happening.count > 0
                deals[happening.maker, happening.price] += happening.count
                trades += 1
            elif happening.delta < 0:
                changes[happening.side, happening.price] -= happening.delta
        assert not deals or deals == changes
    assert trades > 200


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, delays=st.lists(st.integers(0, 20 * SECOND), min_size=300, max_size=300))
def test_any_time_that_does_not_go_back_will_do(seed: int, delays: list[int]) -> None:
    flow = market(seed, closes_ns=900 * SECOND)
    at_ns = 0
    for delay in delays:
        at_ns = max(flow.next_due_ns, at_ns) + delay
        flow.act(at_ns)
        assert flow.next_due_ns <= at_ns + 15 * SECOND
        assert flow.book.spread > 0


def test_the_same_seed_and_times_give_the_same_happenings_and_another_seed_others() -> None:
    first, same, other = (list(actions(market(seed), 2_000)) for seed in (1, 1, 2))
    assert first == same
    assert first != other


@pytest.mark.parametrize("seed", range(6))
def test_at_its_close_a_market_is_decided_and_mostly_one_sided(seed: int) -> None:
    flow = market(seed, closes_ns=60 * SECOND)
    while flow.next_due_ns < 75 * SECOND:
        flow.act(flow.next_due_ns)
    assert flow.fair in {0, ONE_DOLLAR}
    loser: Side = "no" if flow.fair else "yes"
    assert flow.book.sides[loser].best <= 200


def test_without_a_close_the_fair_price_keeps_away_from_the_ends() -> None:
    flow = market(3)
    for _ in actions(flow, 40_000):
        assert 1_500 <= flow.fair <= 8_500


def test_what_accounts_place_is_left_alone_until_somebody_takes_it() -> None:
    flow = market(4)
    flow.book.sides["yes"].place(1_000, "mine", 100_00)
    flow.book.sides["no"].place(1_000, "mine too", 100_00)
    for _ in actions(flow, 20_000):
        assert flow.book.sides["yes"].sizes[1_000] - flow.book.crowd("yes", 1_000) == 100_00
        assert flow.book.sides["no"].sizes[1_000] - flow.book.crowd("no", 1_000) == 100_00


def test_an_account_that_bids_too_much_is_sold_to() -> None:
    flow = market(5)
    price = flow.book.highest_bid("yes")
    flow.book.sides["yes"].place(price, "mine", 50_00)
    while flow.book.sides["yes"].has_orders(price):
        flow.act(flow.next_due_ns)
        assert flow.next_due_ns < 600 * SECOND
    assert sum(portion.count for taken in flow.book.taken.values() for portion in taken if portion.order_id) == 50_00


def test_what_others_take_from_the_crowd_is_not_taken_again() -> None:
    flow = market(6)
    for done in actions(flow, 5_000):
        assert done is not None
        for side, resting in flow.book.sides.items():
            if len(resting) > 5:
                flow.book.take(side, resting.best, min(resting.sizes[resting.best], 7_00))
    assert all(size > 0 for size in levels(flow).values())


def test_a_lively_market_is_never_silent_for_long_and_both_have_long_tails() -> None:
    def gaps(tempo: object, count: int) -> list[Nanos]:
        activity = Activity(Draws("gaps"), 0, LIVELY if tempo == "lively" else NATURAL)
        times = [0]
        for _ in range(count):
            times.append(activity.next_ns(times[-1]))
        return sorted(later - earlier for earlier, later in itertools.pairwise(times))

    lively, natural = gaps("lively", 50_000), gaps("natural", 50_000)
    assert lively[-1] <= 1.5 * SECOND < natural[-1] <= 15 * SECOND
    for found in (lively, natural):
        assert found[0] > 0
        assert found[25_000] < sum(found) / len(found) / 3


def test_draws_between_quantiles_stay_between_them() -> None:
    draws = Draws("within")
    found = [draws.within((10, 20, 20, 1_000)) for _ in range(2_000)]
    assert min(found) >= 10
    assert max(found) <= 1_000
    assert 0.3 < sum(10 <= value < 20 for value in found) / 2_000 < 0.37
