"""The tasks that move the simulated markets, on a clock that jumps."""

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rlflow.exchange.audience import Audience
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.sources import Alarm, run_crowd
from rlflow.exchange.wire.items import Item
from rlflow.units import Nanos
from tests.venue_driver import frame

START_NS = 1_790_000_000_000_000_000


class Hearing(Audience):
    """An audience that notes when it was told how much."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[float, int]] = []

    def publish(self, items: Iterable[Item]) -> None:
        if count := len(list(items)):
            self.heard.append((trio.current_time(), count))


def now_ns() -> Nanos:
    return START_NS + round(trio.current_time() * 1e9)


@pytest.mark.parametrize("rate", [0.2, 2.0, 50.0])
async def test_the_crowd_goes_on_after_silences_of_any_length(autojump_clock: MockClock, rate: float) -> None:
    venue, audience = Venue(VenueSpec(("A", "B", "C"), (), 1, rate), now_ns()), Hearing()
    whole_s = 5_000 / rate
    with trio.move_on_after(whole_s):
        await run_crowd(venue, audience, Alarm(), now_ns=now_ns)
    assert 0.5 < sum(count for _, count in audience.heard) / 5_000 < 2
    silences = [later - earlier for (earlier, _), (later, _) in zip(audience.heard, audience.heard[1:], strict=False)]
    assert 1 < max([*silences, whole_s - audience.heard[-1][0]]) < 1000 / rate


async def test_what_was_slept_through_is_not_made_up(autojump_clock: MockClock) -> None:
    venue, audience = Venue(VenueSpec(("A",), (), 1, 50.0), now_ns()), Hearing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_crowd(venue, audience, Alarm(), now_ns=now_ns))
        await trio.sleep(60)
        before = sum(count for _, count in audience.heard)
        autojump_clock.jump(3600)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert sum(count for _, count in audience.heard) - before < 1000


async def test_a_message_that_was_slept_through_is_sent_now_and_says_when_it_was_due(autojump_clock: MockClock) -> None:
    class Reading(Audience):
        def publish(self, items: Iterable[Item]) -> None:
            late.extend(frame(item) for item in items if trio.current_time() >= 60)

    late: list[dict[str, Any]] = []
    venue = Venue(VenueSpec(("A",), (), 1, 300.0), now_ns())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_crowd(venue, Reading(), Alarm(), now_ns=now_ns))
        await trio.sleep(59)
        autojump_clock.jump(60)
        await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert len(late) > 20
    assert all(each["sending_ts_ms"] >= START_NS // 10**6 + 119_000 for each in late)
    assert late[0]["sending_ts_ms"] - late[0]["msg"]["ts_ms"] > 500
