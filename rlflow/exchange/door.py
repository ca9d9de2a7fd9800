"""What happens to an accepted TCP connection: upgrade or refusal, conversation, goodbye."""

from collections.abc import Callable
from functools import partial

import attrs
import trio
import trio_websocket
import wsproto.utilities

from rlflow.exchange.audience import Audience
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.handshake import FOREIGN, Refusal, check_upgrade, is_foreign_page
from rlflow.exchange.link import Link
from rlflow.exchange.opening import asks_for_websocket, fields, read_head
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.http_server import Waits, serve_http
from rlflow.exchange.rest.service import RestService
from rlflow.exchange.stream import SharedStream
from rlflow.exchange.wire.conversation import Caller, Conversation
from rlflow.exchange.wire.items import Markets
from rlflow.exchange.wire.outlet import Ending
from rlflow.units import Nanos

_STOPPED = Ending(1001, "the exchange stops")

# The opening request comes at once or never.
_HANDSHAKE_S = 10.0


@attrs.frozen
class _Opened:
    """An accepted websocket, and the key id that opened it."""

    websocket: trio_websocket.WebSocketConnection
    account: str


@attrs.frozen
class Door:
    """Serves connections of one exchange: websockets, and REST, told apart by the first request."""

    config: ExchangeConfig
    desk: Desk
    markets: Markets
    audience: Audience
    rest: RestService
    now_ns: Callable[[], Nanos]
    is_active: Callable[[], bool] = lambda: True
    """Whether websockets are let in; not during maintenance."""

    async def serve(self, transport: trio.abc.Stream) -> None:
        """Serve one connection until the peer or the exchange ends it; cancelled, a websocket still says goodbye."""
        try:
            with trio.move_on_after(_HANDSHAKE_S) as scope:
                head = await read_head(transport)
            if scope.cancelled_caught or not head:
                return
            stream = SharedStream(transport, head)
            if asks_for_websocket(head):
                await self._serve_websocket(stream, is_foreign=is_foreign_page(fields(head)))
            else:
                await serve_http(stream, self.rest.answer, Waits())
        except trio.BrokenResourceError:
            pass  # the peer has left, or a TLS handshake failed
        finally:
            await trio.aclose_forcefully(transport)

    async def _serve_websocket(self, stream: SharedStream, *, is_foreign: bool) -> None:
        goodbye = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            # What keeps the connection going must outlive a cancellation by the length of a goodbye.
            tasks = await nursery.start(_shielded_nursery, goodbye)
            try:
                opened = await self._open(tasks, stream, is_foreign=is_foreign)
                if opened is not None:
                    await self._converse(tasks, opened, stream, goodbye)
            finally:
                tasks.cancel_scope.cancel()
                await trio.aclose_forcefully(stream)

    async def _open(self, tasks: trio.Nursery, stream: SharedStream, *, is_foreign: bool) -> _Opened | None:
        """Return the accepted websocket; None if there is none, because it was refused or is no websocket."""
        with trio.move_on_after(_HANDSHAKE_S) as scope:
            # The library tells nobody when what it hears is no upgrade request, or nothing.
            tasks.start_soon(_cancel_when_over, stream, scope)
            request = await trio_websocket.wrap_server_stream(tasks, stream)
            signer = FOREIGN if is_foreign else self._check(request)
            try:
                if isinstance(signer, str):
                    return _Opened(await request.accept(), signer)
                await self._refuse(request, signer)
            except trio_websocket.ConnectionClosed:
                pass  # the peer did not wait for the answer
        return None

    def _check(self, request: trio_websocket.WebSocketRequest) -> str | Refusal:
        """Return who connects, or why not."""
        if not self.is_active():
            return Refusal(503, "exchange_unavailable", "the exchange is in maintenance")
        return check_upgrade(request.headers, request.path, verifier=self.desk.verifier, now_ms=self._now_ms())

    async def _refuse(self, request: trio_websocket.WebSocketRequest, refusal: Refusal) -> None:
        self.audience.refused += 1
        headers = [(b"Content-Type", b"application/json")]
        await request.reject(refusal.status, extra_headers=headers, body=refusal.body())

    async def _converse(
        self,
        tasks: trio.Nursery,
        opened: _Opened,
        stream: SharedStream,
        goodbye: trio.CancelScope,
    ) -> None:
        """Run one accepted connection until it is to end, then end it in that way."""
        link = self._new_link(opened, stream)
        name = f"exchange connection {link.number}"
        tasks.start_soon(link.listen, self.audience.note_change, name=f"{name} listens")
        tasks.start_soon(link.write, name=f"{name} writes")
        keep_alive = partial(link.keep_alive, self.config.ping_interval_s, self.config.pong_limit_s)
        tasks.start_soon(keep_alive, name=f"{name} pings")
        self.audience.add(link)
        ending = _STOPPED
        try:
            ending = await link.wait_ended()
        finally:
            self.audience.remove(link)
            goodbye.deadline = trio.current_time() + self.config.goodbye_s
            with goodbye:
                await link.close(ending)

    def _new_link(self, opened: _Opened, stream: SharedStream) -> Link:
        self.audience.accepted += 1
        number = self.audience.accepted
        settings = self.desk.knobs.settings
        caller = Caller(opened.account, may_read=opened.account not in settings.keys_without_read)
        conversation = Conversation(self.markets, settings.limits, self.audience.script(number), caller)
        return Link(number, opened.websocket, stream, conversation, self._now_ms)

    def _now_ms(self) -> int:
        return self.now_ns() // 1_000_000


async def _shielded_nursery(goodbye: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Hold a nursery open that no cancellation from outside reaches; it ends when its own scope is cancelled.

    Without its tasks nobody would hear the peer's close frame, so a goodbye ends with it.
    """
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            nursery.cancel_scope.shield = True
            await trio.sleep_forever()
    except* wsproto.utilities.LocalProtocolError:
        # trio-websocket 0.12 answers a ping that comes behind our close frame; wsproto refuses, rightly. The
        # connection is closing already, and now ends without the peer's close frame.
        pass
    finally:
        goodbye.cancel()


async def _cancel_when_over(stream: SharedStream, scope: trio.CancelScope) -> None:
    await stream.over.wait()
    scope.cancel()
