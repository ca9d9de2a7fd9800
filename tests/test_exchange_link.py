"""One connection's moving parts, over a stream that gives nothing away before it is read."""

from typing import cast

import trio
import trio.testing
import trio_websocket

from rlflow.exchange.link import Link
from rlflow.exchange.stream import SharedStream
from rlflow.exchange.wire.outlet import Ending
from tests.exchange_client import LIMIT_S, subscribe
from tests.exchange_desk import NOW_MS, Desk, delta


async def test_a_connection_that_is_to_finish_sends_what_is_queued_and_nothing_more() -> None:
    near, far = trio.testing.lockstep_stream_pair()
    desk = Desk()
    # Writing needs no websocket: frames go past the library.
    unused = cast("trio_websocket.WebSocketConnection", None)
    link = Link(1, unused, SharedStream(near), desk.conversation, lambda: NOW_MS)
    desk.say(subscribe(1, "A"))
    ended = trio.Event()

    async def wait() -> None:
        assert await link.wait_ended() == Ending(1001, "enough")
        ended.set()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.write)
            nursery.start_soon(wait)
            link.publish([delta("A")])
            link.finish(Ending(1001, "enough"))
            link.finish(Ending(1002, "a later reason"))
            link.publish([delta("A")])
            await trio.testing.wait_all_tasks_blocked()
            assert len(desk.conversation.outlet.outbox) == 0
            assert not ended.is_set()
            assert (await far.receive_some()).count(b'"orderbook_delta"') == 1
            await ended.wait()
            nursery.cancel_scope.cancel()
