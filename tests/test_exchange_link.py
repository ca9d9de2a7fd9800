"""One connection's moving parts, over a stream that gives nothing away before it is read."""

from typing import cast

import trio
import trio.testing
import trio_websocket

from rlflow.exchange.link import Link
from rlflow.exchange.stream import SharedStream
from tests.exchange_client import LIMIT_S, subscribe
from tests.exchange_desk import NOW_MS, Desk, delta


async def test_a_connection_is_drained_only_when_the_write_under_way_is_done() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    desk = Desk()
    # Writing needs no websocket: frames go past the library.
    unused = cast("trio_websocket.WebSocketConnection", None)
    link = Link(1, unused, SharedStream(near), desk.conversation, lambda: NOW_MS)
    desk.say(subscribe(1, "A"))
    drained = trio.Event()

    async def wait() -> None:
        await link.wait_drained()
        drained.set()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.write)
            link.publish([delta("A")])
            await trio.testing.wait_all_tasks_blocked()
            assert len(desk.conversation.outlet.outbox) == 0
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not drained.is_set()
            assert b'"orderbook_delta"' in await far.receive_some()
            await trio.testing.wait_all_tasks_blocked()
            assert drained.is_set()
            nursery.cancel_scope.cancel()
