"""The tasks that make the markets move: the simulation's, and the replay's."""

import math
from collections.abc import Callable

import trio

from rlflow.exchange.audience import Audience
from rlflow.exchange.markets.venue import Venue
from rlflow.exchange.replay import Pace, Replay, ReplayedMarkets
from rlflow.exchange.tape import Began, Played, play
from rlflow.exchange.wire.items import Item
from rlflow.exchange.wire.outlet import Ending
from rlflow.units import Nanos

# At 8 microseconds a message this stays below two milliseconds between two awaits.
_MOST_ITEMS = 200
# Further behind than this (a laptop that slept), the market goes on from now and makes nothing up.
_LONGEST_BACKLOG_S = 1.0
_LONGEST_SLEEP_S = 1.0
# Each of them may be the opening of a market.
_MOST_STEPS = 2
# A client's subscribe commands arrive together; those for further markets are waited for so long.
_SUBSCRIBING_S = 0.25


class Alarm:
    """Wakes the one task that waits for it, at once if it has rung since the task last woke."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Wake it."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._rung.wait()
        self._rung = trio.Event()


async def keep_time(venue: Venue, alarm: Alarm, *, now_ns: Callable[[], Nanos]) -> None:
    """Let the venue do what is due by the wall clock, for ever; the alarm tells of earlier steps than were known."""
    while True:
        venue.keep_time(now_ns(), _MOST_STEPS)
        next_ns = venue.next_ns
        # The wall clock may be set, and Trio's may have stood still while the machine slept.
        wait_s = _LONGEST_SLEEP_S if next_ns is None else min((next_ns - now_ns()) * 1e-9, _LONGEST_SLEEP_S)
        with trio.move_on_after(max(wait_s, 0.0)):
            await alarm.wait()


async def run_crowd(venue: Venue, audience: Audience, alarm: Alarm, *, now_ns: Callable[[], Nanos]) -> None:
    """Let the crowd act at the venue's rate, for ever; never waits for a reader.

    The alarm tells when the time of the next action may be an earlier one: a market has opened.
    """
    last = trio.current_time()
    while True:
        gap_s = venue.gap_s()
        with trio.move_on_at(last + gap_s):
            await alarm.wait()
        now, wall_ns = trio.current_time(), now_ns()
        # Who was alone has nothing to catch up with; a silence that was meant is no backlog.
        last = now if math.isinf(gap_s) else max(last, now - gap_s - _LONGEST_BACKLOG_S)
        venue.see_wall(wall_ns)
        items: list[Item] = []
        while len(items) < _MOST_ITEMS and (due := last + venue.gap_s()) <= now:
            last = due
            items += venue.act(wall_ns - round((now - due) * 1e9))
        audience.publish(items)


async def run_crowd_unlimited(venue: Venue, audience: Audience, alarm: Alarm, *, now_ns: Callable[[], Nanos]) -> None:
    """Let the crowd act as fast as the slowest listener reads, for ever."""
    while True:
        await audience.wait_listening()
        if not venue.is_moving:
            await alarm.wait()
            continue
        at_ns = now_ns()
        items: list[Item] = []
        for _ in range(_MOST_ITEMS):
            items += venue.act(at_ns)
        audience.publish(items)
        await trio.lowlevel.checkpoint()
        await audience.wait_room()


async def run_replay(replay: Replay, markets: ReplayedMarkets, audience: Audience) -> None:
    """Play the recordings once to whoever listens, and end; waits for listeners, and for the slowest of them.

    Errors of the recordings' reader end it.
    """
    pace = Pace(replay)
    has_begun = False
    unchecked = 0
    for event in play(replay.connections()):
        if isinstance(event, Began):
            # Before anybody is sent away: who comes back in the meantime belongs to the new connection.
            markets.begin(event.opened)
            if has_begun:
                await audience.part(Ending(1001, "the recorded connection ended"))
            has_begun = True
            continue
        await _wait_until_due(event, pace, replay, audience)
        _play(event, markets, audience)
        await audience.wait_room()
        unchecked += len(event.publications)
        if unchecked > _MOST_ITEMS:
            unchecked = 0
            await trio.lowlevel.checkpoint()
    audience.has_heard_all = True
    if replay.closes_at_end:
        await audience.part(Ending(1000, "the recording ended"))


async def _wait_until_due(event: Played, pace: Pace, replay: Replay, audience: Audience) -> None:
    """Wait until the frames are due and somebody listens."""
    due = pace.due(event.at_ns, trio.current_time())
    while True:
        if not audience.is_listening:
            await audience.wait_listening()
            with trio.move_on_after(_SUBSCRIBING_S):
                await audience.wait_holding(replay.tickers)
            due = pace.resume(trio.current_time())
        if due <= trio.current_time():
            return
        await trio.sleep_until(due)


def _play(event: Played, markets: ReplayedMarkets, audience: Audience) -> None:
    audience.publish([publication.item for publication in event.publications])
    for publication in event.publications:
        markets.apply(publication.message)
