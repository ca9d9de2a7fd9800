"""Everyone who is connected, as the markets see them."""

from collections.abc import Iterable

import attrs
import trio

from rlflow.exchange.link import Link
from rlflow.exchange.wire.fault_script import FaultScript
from rlflow.exchange.wire.faults import Fault
from rlflow.exchange.wire.items import Item
from rlflow.exchange.wire.outlet import Ending


@attrs.frozen
class ExchangeStatistics:
    """What a running exchange has done."""

    connections: int
    """Open now."""
    accepted: int
    """Since the start."""
    refused: int
    """Upgrades answered with an error."""
    sent_frames: int
    slow_consumer_errors: int
    is_replay_over: bool
    """Whether the last recorded frame has been queued."""


class Audience:
    """The open links. Whoever publishes need not know how many there are."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.accepted = 0
        self.refused = 0
        self.has_heard_all = False
        """Whether a replay has come to its end."""
        self._faults = list(faults)
        self._links: set[Link] = set()
        self._changed = trio.Event()
        self._sent_frames = 0
        self._slow_consumer_errors = 0

    def add(self, link: Link) -> None:
        """Let a link take part."""
        self._links.add(link)

    def remove(self, link: Link) -> None:
        """Take a link out; what it had done stays counted."""
        self._links.remove(link)
        self._sent_frames += link.sent_frames
        self._slow_consumer_errors += link.conversation.slow_consumer_errors
        self.note_change()

    def note_change(self) -> None:
        """Wake those who wait for subscriptions or departures."""
        self._changed.set()
        self._changed = trio.Event()

    @property
    def is_listening(self) -> bool:
        """Whether anybody has a subscription."""
        return any(link.conversation.has_subscription for link in self._links)

    def publish(self, items: Iterable[Item]) -> None:
        """Queue items for everyone."""
        for link in self._links:
            link.publish(items)

    async def wait_listening(self) -> None:
        """Wait until somebody has a subscription."""
        while not self.is_listening:
            await self._changed.wait()

    async def wait_holding(self, tickers: frozenset[str]) -> None:
        """Wait until somebody holds the books of all these markets."""
        while not any(link.conversation.holds(tickers) for link in self._links):
            await self._changed.wait()

    async def wait_room(self) -> None:
        """Wait for the slowest."""
        for link in tuple(self._links):
            await link.wait_room()

    async def part(self, ending: Ending) -> None:
        """End all connections behind what is queued by now, and wait until they are gone, however slowly they read."""
        leaving = tuple(self._links)
        for link in leaving:
            link.finish(ending)
        while not self._links.isdisjoint(leaving):
            await self._changed.wait()

    def end(self, ending: Ending) -> None:
        """End all connections without what is queued for them."""
        for link in self._links:
            link.end(ending)

    def script(self, number: int) -> FaultScript:
        """Return the faults with which the n-th connection begins."""
        return FaultScript(fault for fault in self._faults if fault.is_for(number))

    def inject(self, fault: Fault) -> int:
        """Let a fault strike the open connections that it is for; return how many they are.

        One that is for connections yet to come waits for them.
        """
        if fault.is_for_new or fault.connection > self.accepted:
            self._faults.append(fault)
        struck = [link for link in self._links if fault.is_for(link.number)]
        for link in struck:
            link.conversation.outlet.script.add(fault)
        return len(struck)

    def take_faults_back(self) -> None:
        """Let no fault strike any more, on connections that are open or yet to come; what has begun goes on."""
        self._faults.clear()
        for link in self._links:
            link.conversation.outlet.script.clear()

    def statistics(self) -> ExchangeStatistics:
        """Return the counts so far."""
        return ExchangeStatistics(
            connections=len(self._links),
            accepted=self.accepted,
            refused=self.refused,
            sent_frames=self._sent_frames + sum(link.sent_frames for link in self._links),
            slow_consumer_errors=self._slow_consumer_errors
            + sum(link.conversation.slow_consumer_errors for link in self._links),
            is_replay_over=self.has_heard_all,
        )
