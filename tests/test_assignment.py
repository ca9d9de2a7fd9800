"""Markets on connections: complete, bounded, stable."""

from hypothesis import given
from hypothesis import strategies as st

from rlflow.data.following.assignment import Assignment

tickers = st.lists(st.integers(0, 40).map(lambda number: f"KX{number}"), max_size=30, unique=True)
capacities = st.integers(1, 12)


@given(st.lists(st.tuples(tickers, capacities), min_size=1, max_size=8))
def test_every_market_is_on_one_connection_and_stays_while_it_may(steps: list[tuple[list[str], int]]) -> None:
    assignment = Assignment(5)
    before: dict[str, int] = {}
    for wanted, capacity in steps:
        fitting = {
            ticker
            for markets in assignment.connections.values()
            for ticker in [ticker for ticker in markets if ticker in wanted][:capacity]
        }
        assignment.assign(wanted, capacity)
        connections = assignment.connections
        placed = [ticker for markets in connections.values() for ticker in markets]
        assert sorted(placed) == sorted(wanted)
        assert all(len(markets) <= capacity for markets in connections.values())
        assert all(markets for number, markets in connections.items() if number)
        where = {ticker: number for number, markets in connections.items() for ticker in markets}
        assert {ticker: where[ticker] for ticker in fitting} == {ticker: before[ticker] for ticker in fitting}
        before = where


@given(st.integers(0, 60), capacities)
def test_no_more_connections_are_opened_than_needed(count: int, capacity: int) -> None:
    assignment = Assignment(capacity)
    assignment.assign([f"KX{number}" for number in range(count)], capacity)
    assert len(assignment.connections) == max(1, -(-count // capacity))


def test_a_number_is_never_given_twice() -> None:
    assignment = Assignment(1)
    assignment.assign(["A", "B"], 1)
    assignment.assign(["A"], 1)
    assert dict(assignment.connections) == {0: ("A",)}
    assignment.assign(["A", "C"], 1)
    assert dict(assignment.connections) == {0: ("A",), 2: ("C",)}


def test_the_first_connection_stays_without_markets() -> None:
    assignment = Assignment(3)
    assert dict(assignment.connections) == {0: ()}
    assignment.assign(["A"], 3)
    assignment.assign([], 3)
    assert dict(assignment.connections) == {0: ()}


def test_of_a_connection_that_is_too_full_the_last_go_elsewhere() -> None:
    assignment = Assignment(4)
    assignment.assign(["D", "C", "B", "A"], 4)
    assignment.assign(["A", "B", "C", "D"], 2)
    assert dict(assignment.connections) == {0: ("D", "C"), 1: ("A", "B")}
