"""Markets on their way from one connection to another."""

from rlflow.data.following.moves import MOVE_LIMIT_S, Moves


def test_markets_are_held_until_the_last_has_arrived() -> None:
    moves = Moves()
    assert moves.still_held(["KXA", "KXB"], 100.0) == ("KXA", "KXB")
    assert not moves.arrived("KXB")
    assert not moves.arrived("KXB")
    assert not moves.arrived("KXOTHER")
    assert moves.still_held(["KXA", "KXB"], 101.0) == ("KXA", "KXB")
    assert moves.arrived("KXA")
    assert moves.still_held(["KXA", "KXB"], 101.0) == ()
    assert moves.still_held([], 101.0) == ()


def test_markets_that_do_not_arrive_are_left_in_the_end() -> None:
    moves = Moves()
    assert moves.still_held(["KXA"], 100.0) == ("KXA",)
    assert moves.still_held(["KXA", "KXB"], 100.0 + MOVE_LIMIT_S / 2) == ("KXA", "KXB")
    assert moves.still_held(["KXA", "KXB"], 100.0 + MOVE_LIMIT_S) == ("KXA", "KXB")
    assert moves.still_held(["KXA", "KXB"], 100.0 + 1.5 * MOVE_LIMIT_S) == ()


def test_a_market_that_is_followed_no_more_is_not_waited_for() -> None:
    moves = Moves()
    moves.still_held(["KXA", "KXB"], 100.0)
    assert not moves.arrived("KXA")
    assert moves.still_held(["KXA"], 101.0) == ()
