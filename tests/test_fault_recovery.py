"""What the collector makes of each fault of the local venue: never a wrong book called valid, and soon all of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.exchange.wire.fault_kinds import TRAITS, FaultKind, Target
from rlflow.exchange.wire.faults import Fault, parameters
from rlflow.exchange.wire.items import ORDERBOOK, TRADE
from tests.fault_world import FaultWorld

# A change between two ticks is one like any other to a collector that does not know the ticks; and a change that is
# left out without a number is missed by nobody who does not ask.
BELIEVED = {FaultKind.OFF_GRID, FaultKind.MUTE_MARKET}
KINDS = sorted(set(FaultKind) - BELIEVED, key=lambda kind: kind.value)

HARMLESS = {
    FaultKind.DUPLICATE,
    FaultKind.UNKNOWN_FIELD,
    FaultKind.UNKNOWN_TYPE,
    FaultKind.OVERSIZE,
    FaultKind.NO_CLOCK,
    FaultKind.DELAY,
    FaultKind.STALL_READS,
    FaultKind.STALL_WRITES,
}


def fault(kind: FaultKind, **wanted: Any) -> Fault:
    """Return a fault of the kind with those of the wanted parameters that mean something to it."""
    return Fault(kind, **{name: value for name, value in wanted.items() if name in parameters(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("number", [1, 2, 7])
def test_every_book_is_right_again_soon_after_a_fault(kind: FaultKind, number: int) -> None:
    world = FaultWorld((fault(kind, number=number, connection=1, seconds=2, size_bytes=5_000),))
    world.run(2)
    world.follow("A", "C")
    world.run(20)
    world.follow("A", "B", "C")
    world.run(10)

    assert world.settle() < 60


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in HARMLESS], ids=lambda kind: kind.value)
def test_a_fault_that_loses_nothing_costs_no_valid_book(kind: FaultKind) -> None:
    world = FaultWorld((fault(kind, number=10, connection=1, seconds=2, size_bytes=5_000),))
    world.run(10)

    assert (world.invalid_steps, world.causes) == (0, [])
    assert world.settle() < 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "count" in TRAITS[kind].takes], ids=lambda kind: kind.value)
def test_faults_in_a_row_are_survived_as_well(kind: FaultKind) -> None:
    world = FaultWorld((fault(kind, number=2, count=4, connection=1, seconds=2),))
    world.run(30)

    assert world.settle() < 120


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TRAITS[kind].target is Target.COMMAND])
@pytest.mark.parametrize("command", ["subscribe", "update_subscription"])
def test_a_spoilt_command_does_not_keep_a_market_away(kind: FaultKind, command: str) -> None:
    world = FaultWorld((fault(kind, connection=1, command=command, seconds=12, code=18),), tickers=("A", "B"))
    world.run(5)
    world.markets.books["C"] = {"yes": {}, "no": {100: 100}}
    world.markets.clocks["C"] = 0
    world.follow("A", "B", "C")

    assert world.settle() < 60


def test_a_venue_whose_frames_have_no_clock_at_all_is_followed() -> None:
    world = FaultWorld((Fault(FaultKind.NO_CLOCK, count=0), Fault(FaultKind.DROP, number=20, connection=1)))
    world.run(10)

    assert world.settle() < 10
    assert world.causes == []


def test_acknowledgements_that_never_carry_a_number_are_no_gap() -> None:
    world = FaultWorld((Fault(FaultKind.OK_WITHOUT_SEQ, count=0),))
    world.run(2)
    world.follow("A", "C")
    world.run(2)

    assert (world.invalid_steps, world.causes) == (0, [])


def test_a_market_whose_snapshot_never_comes_costs_the_others_nothing() -> None:
    world = FaultWorld((Fault(FaultKind.NO_SNAPSHOT, ticker="B", count=0),))
    world.run(40)

    assert world.commander.missing == {"B"}
    assert (world.connections, world.causes) == (1, [])
    world.follow("A", "C")
    assert world.settle() < 1


def test_faults_add_up() -> None:
    world = FaultWorld(
        (
            Fault(FaultKind.NO_CLOCK, count=0),
            Fault(FaultKind.DROP, number=12, count=2, connection=1),
            Fault(FaultKind.DUPLICATE, number=30, connection=1),
            Fault(FaultKind.IGNORE, command="update_subscription", connection=1),
            Fault(FaultKind.CLOSE, number=300, connection=1),
            Fault(FaultKind.GARBLE, number=3, connection=2),
        )
    )
    world.run(60)

    assert world.settle() < 60
    assert world.connections == 2


@pytest.mark.parametrize("kind", [FaultKind.MUTE_MARKET, FaultKind.OFF_GRID])
def test_a_wrong_book_that_nothing_shows_is_believed_until_the_next_snapshot(kind: FaultKind) -> None:
    world = FaultWorld((Fault(kind, number=5, connection=1),), tickers=("A",))
    with pytest.raises(AssertionError, match="A"):
        world.run(5)
    world.venue.receive(
        '{"id":900,"cmd":"update_subscription","params":{"sid":1,"action":"get_snapshot","market_ticker":"A"}}',
        world.now_ms,
    )
    world.run(1)

    assert world.settle() == 0


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Draw a fault of the first two connections, after which the venue is well again.

    What waits longer than ten seconds for its answer is asked for again, so that the answers may cross.
    """
    return fault(
        draw(st.sampled_from(KINDS)),
        number=draw(st.integers(1, 100)),
        count=draw(st.integers(1, 5)),
        connection=draw(st.integers(1, 2)),
        channel=draw(st.sampled_from([ORDERBOOK, TRADE])),
        seconds=draw(st.sampled_from([0.0, 0.5, 3.0, 12.0])),
        size_bytes=1_000,
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(faults(), max_size=4))
def test_whatever_comes_together_every_book_is_right_again(together: list[Fault]) -> None:
    world = FaultWorld(tuple(together))
    world.run(3)
    world.follow("A", "C")
    world.run(3)
    world.follow("A", "B", "C")
    world.run(3)
    world.settle(200)
