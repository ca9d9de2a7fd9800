"""The exchange as a task: listening socket, connections, and the source that makes the markets move."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import attrs
import trio

from rlflow.exchange.audience import Audience, ExchangeStatistics
from rlflow.exchange.config import Address, ExchangeConfig
from rlflow.exchange.door import Door
from rlflow.exchange.markets.floor import Outlets
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.replay import ReplayedMarkets
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.past import Past
from rlflow.exchange.rest.service import RestService
from rlflow.exchange.rest.settings import Knobs, Settings
from rlflow.exchange.rest.still_venue import StillVenue
from rlflow.exchange.sources import Alarm, keep_time, run_crowd, run_crowd_unlimited, run_replay
from rlflow.exchange.wire.conversation import Limits
from rlflow.exchange.wire.fault_kinds import FaultKind
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import Markets
from rlflow.exchange.wire.outlet import Ending
from rlflow.units import Nanos

MAINTENANCE = Ending(1001, "maintenance")


@attrs.frozen
class Exchange:
    """A running exchange, as its task reports it."""

    address: Address
    config: ExchangeConfig
    venue: Venue | None
    """The simulated venue; None in a replay."""
    _audience: Audience

    @property
    def url(self) -> str:
        """The websocket's URL."""
        return self.address.url

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.address.host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.address.port

    def statistics(self) -> ExchangeStatistics:
        """Return the counts so far."""
        return self._audience.statistics()

    def inject(self, fault: Fault | FaultKind) -> int:
        """Let a fault strike from now on; of a mere kind, the next thing that it can strike.

        Returns how many open connections it is for. One that is for connections yet to come waits for them.
        """
        return self._audience.inject(fault if isinstance(fault, Fault) else Fault(fault))

    async def disconnect(self, ending: Ending | None = None) -> None:
        """End all connections behind what is queued, as for maintenance, and wait until they are gone.

        Who has not read that within `goodbye_s` gets the rest no more.
        """
        ending = ending or MAINTENANCE
        with trio.move_on_after(self.config.goodbye_s) as scope:
            await self._audience.part(ending)
        if scope.cancelled_caught:
            self._audience.end(ending)
            await self._audience.part(ending)


async def serve(
    config: ExchangeConfig,
    *,
    now_ns: Callable[[], Nanos] = time.time_ns,
    task_status: trio.TaskStatus[Exchange] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a local venue until cancelled; connections then get a proper close frame, within `goodbye_s`.

    Reports an `Exchange` once it accepts connections. A replay that has come to its end goes on serving, in silence.

    Raises:
        OSError: The port cannot be had.
        RecordingError: A recording turned out to be damaged.
    """
    audience = Audience(config.faults)
    source = _source(config, audience, now_ns)
    desk = _desk(config, source, audience, now_ns())
    rest = RestService(desk, now_ns=now_ns, clock=trio.current_time)
    door = Door(config, desk, source.markets, audience, rest, now_ns, source.is_active)
    listeners = await _open_listeners(config)
    async with trio.open_nursery() as nursery:
        port = _port(listeners[0])
        await nursery.start(trio.serve_listeners, door.serve, listeners, name="exchange door")
        for name, task in source.tasks.items():
            nursery.start_soon(task, name=name)
        address = Address(config.host, port, config.tls is not None)
        task_status.started(Exchange(address, config, source.venue, audience))


@attrs.frozen
class _Source:
    """The markets, the tasks that move them by name, and what that means for the limits."""

    markets: Markets
    tasks: Mapping[str, Callable[[], Awaitable[None]]]
    limits: Limits
    venue: Venue | None = None
    """None: a replay."""

    def is_active(self) -> bool:
        """Whether the exchange is not in maintenance."""
        return self.venue is None or self.venue.is_exchange_active


def _source(config: ExchangeConfig, audience: Audience, now_ns: Callable[[], Nanos]) -> _Source:
    if config.replay is not None:
        replayed = ReplayedMarkets(config.replay.tickers)
        play = partial(run_replay, config.replay, replayed, audience)
        return _Source(replayed, {"exchange replay": play}, _patient(config.limits))
    return _simulated(config, audience, now_ns)


def _simulated(config: ExchangeConfig, audience: Audience, now_ns: Callable[[], Nanos]) -> _Source:
    for_time, for_crowd = Alarm(), Alarm()

    def wake() -> None:
        for_time.ring()
        for_crowd.ring()

    spec = VenueSpec(config.tickers, config.series, config.seed, config.rate)
    venue = Venue(spec, now_ns(), Outlets(audience.publish, partial(audience.end, MAINTENANCE), wake))
    is_unlimited = math.isinf(config.rate)
    crowd = run_crowd_unlimited if is_unlimited else run_crowd
    tasks = {
        "exchange time": partial(keep_time, venue, for_time, now_ns=now_ns),
        "exchange crowd": partial(crowd, venue, audience, for_crowd, now_ns=now_ns),
    }
    return _Source(venue, tasks, _patient(config.limits) if is_unlimited else config.limits, venue)


def _patient(limits: Limits) -> Limits:
    # A source that can wait for its readers never overruns them.
    return attrs.evolve(limits, queued_frames=math.inf)


def _desk(config: ExchangeConfig, source: _Source, audience: Audience, now_ns: Nanos) -> Desk:
    venue = source.venue or StillVenue(config.market_tickers, source.markets.image, now_ns=now_ns)
    knobs = Knobs(_settings(config, source))
    return Desk(
        venue,
        knobs,
        Past(venue.engine.account, knobs),
        audience,
        None if source.venue is None else source.venue.control,
        lambda: attrs.asdict(audience.statistics()),
        # Those of a running exchange can be changed.
        dict(config.keys),
    )


def _settings(config: ExchangeConfig, source: _Source) -> Settings:
    return Settings(config.rest, source.limits, config.max_skew_s, config.keys_without_read, config.keys_without_write)


Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


async def _open_listeners(config: ExchangeConfig) -> list[Listener]:
    plain = await trio.open_tcp_listeners(config.port, host=config.host)
    if config.tls is None:
        return list(plain)
    return [trio.SSLListener(listener, config.tls, https_compatible=True) for listener in plain]


def _port(listener: Listener) -> int:
    inner = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(inner, trio.SocketListener)
    port: int = inner.socket.getsockname()[1]
    return port
