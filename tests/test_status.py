"""The line that shows where every received frame is."""

from typing import Any

import attrs
import pytest

from rlflow.api.service import Figures
from rlflow.api.status import accounting
from rlflow.session.rows import Counts
from tests.service_figures import FIGURES


def with_parts(**parts: dict[str, Any]) -> Figures:
    return attrs.evolve(FIGURES, **{part: attrs.evolve(getattr(FIGURES, part), **new) for part, new in parts.items()})


@pytest.mark.parametrize("told", [0, 5])
def test_dropped_frames_are_pending_until_the_store_calls_them_lost(told: int) -> None:
    """100 are received and 5 of them dropped; the books see 95, of which 91 are stored, and 4 lost after the books."""
    figures = attrs.evolve(
        with_parts(
            captures={"journalled": 90, "unprotected": 5, "dropped": 5},
            books={"messages": 95, "dropped": 4},
            writer={"held_frames": 0},
        ),
        stored=Counts(stored=91, dropped=4 + told),
    )
    found = accounting(figures)
    assert (found["dropped"], found["lost"], found["pending"], found["balances"]) == (5, 4 + told, 5 - told, True)


def test_a_loss_that_is_not_told_yet_balances() -> None:
    figures = attrs.evolve(
        with_parts(books={"messages": 100, "dropped": 4}, writer={"held_frames": 0}), stored=Counts(stored=96)
    )
    assert accounting(figures)["balances"]


@pytest.mark.parametrize("busy", [{"held_frames": 1}, {"channel_used": 1}, {"backlog_bytes": 1}])
def test_what_the_books_have_seen_may_be_pending_only_while_the_writer_is_busy(busy: dict[str, int]) -> None:
    idle = {"held_frames": 0, "channel_used": 0, "backlog_bytes": 0}
    assert accounting(with_parts(writer=idle | busy))["balances"]
    assert not accounting(with_parts(writer=idle))["balances"]


def test_more_stored_than_seen_does_not_balance() -> None:
    assert not accounting(attrs.evolve(FIGURES, stored=Counts(stored=99)))["balances"]
    assert not accounting(with_parts(books={"messages": 101}))["balances"]
