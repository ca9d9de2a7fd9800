"""The tasks that make the markets move: the simulation's, and the replay's."""

import math
from collections.abc import Callable

import trio

from rlflow.exchange.audience import Audience
from rlflow.exchange.items import Item
from rlflow.exchange.outlet import Ending
from rlflow.exchange.replay import Pace, Replay, ReplayedMarkets
from rlflow.exchange.simulation import Simulation
from rlflow.exchange.tape import Began, Played, play
from rlflow.units import Nanos

# At 8 microseconds a message this stays below two milliseconds between two awaits.
_MOST_ITEMS = 200
# Further behind than this (a laptop that slept), the market goes on from now and makes nothing up.
_LONGEST_BACKLOG_S = 1.0
# A client's subscribe commands arrive together; those for further markets are waited for so long.
_SUBSCRIBING_S = 0.25


async def run_simulation(
    simulation: Simulation, audience: Audience, *, rate: float, now_ns: Callable[[], Nanos]
) -> None:
    """Let the simulated market act at `rate` messages a second, for ever; never waits for a reader."""
    if math.isinf(rate):
        await _run_unlimited(simulation, audience, now_ns)
        return
    due = trio.current_time()
    at_ns = 0
    while True:
        await trio.sleep_until(due)
        now, wall_ns = trio.current_time(), now_ns()
        due = max(due, now - _LONGEST_BACKLOG_S)
        items: list[Item] = []
        while due <= now and len(items) < _MOST_ITEMS:
            # The wall clock may be set back; the venue's time never goes back within a run.
            at_ns = max(at_ns, wall_ns - round((now - due) * 1e9))
            items += simulation.step(at_ns)
            due += simulation.gap() / rate
        audience.publish(items)


async def _run_unlimited(simulation: Simulation, audience: Audience, now_ns: Callable[[], Nanos]) -> None:
    """Act as fast as the slowest listener reads, for ever."""
    while True:
        await audience.wait_listening()
        at_ns = now_ns()
        items: list[Item] = []
        while len(items) < _MOST_ITEMS:
            items += simulation.step(at_ns)
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
