"""One accepted websocket: moves texts into its conversation and frames out of it."""

import math
from collections.abc import Callable, Iterable

import trio
import trio_websocket

from rlflow.exchange.stream import SharedStream
from rlflow.exchange.wire.conversation import Conversation
from rlflow.exchange.wire.items import Item
from rlflow.exchange.wire.outlet import Ending

PEER_LEFT = Ending(1006, "the peer left", is_abrupt=True)

# One write's size: as much as a reader of 64 KiB takes at once, so that waiting frames stay where they can be counted.
_WRITE_BYTES = 64 * 1024
# What may wait before a source without a rate of its own, or a client that only asks, is held up.
_ROOM_BYTES = 256 * 1024


class Link:
    """One connection's tasks (`listen`, `write`, `keep_alive`) and what others may ask of it.

    The tasks end with the connection, each in its own way; `wait_ended` tells what ended it.
    """

    def __init__(
        self,
        number: int,
        websocket: trio_websocket.WebSocketConnection,
        stream: SharedStream,
        conversation: Conversation,
        now_ms: Callable[[], int],
    ) -> None:
        self.number = number
        self.conversation = conversation
        self._outlet = conversation.outlet
        self._websocket = websocket
        self._stream = stream
        self._now_ms = now_ms
        self._news = trio.Event()
        self._progress = trio.Event()
        self._ended = trio.Event()
        self._ending = PEER_LEFT
        self._in_flight: list[bytes] = []
        self._is_closing = False
        self._has_written = trio.Event()
        self.sent_frames = 0

    @property
    def is_full(self) -> bool:
        """Whether a source that can wait should wait."""
        return self._outlet.outbox.size_bytes > _ROOM_BYTES and not self._ended.is_set()

    def publish(self, items: Iterable[Item]) -> None:
        """Queue what the markets published."""
        self.conversation.publish(items, self._now_ms())
        self._react()

    def _react(self) -> None:
        """Let the tasks see what the conversation has come to."""
        if self._outlet.deafness_s:
            self._stream.deafen(self._outlet.deafness_s)
            self._outlet.deafness_s = 0.0
        self._news.set()

    def end(self, ending: Ending) -> None:
        """Let the connection end so; only the first reason counts."""
        if not self._ended.is_set():
            self._ending = ending
            self._ended.set()
            self._tell_progress()

    async def wait_ended(self) -> Ending:
        """Wait until the connection is to end, and return how."""
        await self._ended.wait()
        return self._ending

    async def wait_room(self) -> None:
        """Wait while the connection is full."""
        while self.is_full:
            await self._progress.wait()

    def finish(self, ending: Ending) -> None:
        """Let the connection end so behind what is queued by now; nothing more is queued."""
        if self._outlet.ending is None:
            self._outlet.ending = ending
            self._news.set()

    async def listen(self, on_command: Callable[[], None]) -> None:
        """Carry out commands until the peer leaves; `on_command` is called after each."""
        try:
            while True:
                text = await self._websocket.get_message()
                # Who asks without reading the answers is not listened to until he does.
                await self.wait_room()
                self.conversation.receive(text, self._now_ms())
                self._react()
                on_command()
        except trio_websocket.ConnectionClosed:
            self.end(PEER_LEFT)

    async def write(self) -> None:
        """Write what is queued until the connection is closed or broken."""
        try:
            while not self._is_closing:
                await self._write_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer has left, or has been told goodbye
        finally:
            self._has_written.set()
            # Nothing can be sent any more, whatever the cause.
            self.end(PEER_LEFT)

    async def _write_some(self) -> None:
        while pause_s := self._outlet.outbox.take_pause():
            await self._stream.stall(pause_s)
        self.conversation.advance(self._now_ms())
        self._in_flight = self._outlet.outbox.take(_WRITE_BYTES)
        if self._in_flight:
            await self._stream.send_frames(self._in_flight)
            self.sent_frames += len(self._in_flight)
            self._in_flight = []
            self._tell_progress()
            return
        if self._outlet.ending is not None and not len(self._outlet.outbox):
            self.end(self._outlet.ending)
        with trio.move_on_after(self._until_due_s()):
            await self._news.wait()
            self._news = trio.Event()

    def _until_due_s(self) -> float:
        due_ms = self._outlet.agenda.next_ms
        return math.inf if due_ms is None else max(0.0, (due_ms - self._now_ms()) / 1000)

    def _tell_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    async def keep_alive(self, interval_s: float, limit_s: float) -> None:
        """Ping as the venue does; a pong that does not come in time ends the connection."""
        try:
            while True:
                await trio.sleep(interval_s)
                if self._outlet.is_mute:
                    return
                with trio.move_on_after(limit_s) as scope:
                    await self._websocket.ping(b"heartbeat")
                if scope.cancelled_caught:
                    self.end(Ending(1006, "no pong", is_abrupt=True))
                    return
        except trio_websocket.ConnectionClosed:
            self.end(PEER_LEFT)

    async def close(self, ending: Ending) -> None:
        """Finish the write under way and say goodbye; frames that still wait are forgotten.

        Waits for the peer's close frame, so it must be bounded from outside.
        """
        self._is_closing = True
        self._news.set()
        if not ending.is_abrupt:
            await self._has_written.wait()
            await self._websocket.aclose(ending.code, ending.reason)
