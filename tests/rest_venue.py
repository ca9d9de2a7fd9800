"""A small HTTP server that answers as its test says: a venue's REST interface with all its moods."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import msgspec
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.rest.client import VenueClient

ROOT = "/trade-api/v2"


@attrs.frozen
class Asked:
    """One request as it came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@attrs.frozen
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    sent_bytes: int | None = None
    """The line is cut behind so many bytes of the body."""
    pause_s: float = 0.0
    """Between one byte of the body and the next."""


def answer(status: int = 200, /, **body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body))


Mood = Callable[[Asked], Answer]


@attrs.define
class RestVenue:
    """The server: `mood` answers, `asked` remembers."""

    port: int
    mood: Mood
    asked: list[Asked] = attrs.Factory(list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{ROOT}"

    def client(self, **options: Any) -> VenueClient:
        quick = {"make_backoff": partial(Backoff, first_s=0.001, cap_s=0.002)}
        return VenueClient(self.url, lambda method, path: (("x-signed", method + path),), **quick | options)


def in_turn(*answers: Answer) -> Mood:
    """Answer so one after the other, and with the last for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def by_path(answers: Mapping[str, Answer | Mood]) -> Mood:
    """Answer by the path behind the root, 404 where there is none."""

    def mood(asked: Asked) -> Answer:
        found = answers.get(asked.path, answer(404, code="not_found", message="no such thing"))
        return found if isinstance(found, Answer) else found(asked)

    return mood


@asynccontextmanager
async def rest_venue(mood: Mood) -> AsyncIterator[RestVenue]:
    """Serve on loopback until the block ends."""
    async with trio.open_nursery() as nursery:
        venue = RestVenue(0, mood)
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_talk, venue), 0, host="127.0.0.1"))
        venue.port = listeners[0].socket.getsockname()[1]
        yield venue
        nursery.cancel_scope.cancel()


async def _talk(venue: RestVenue, stream: trio.SocketStream) -> None:
    """Answer the requests of one connection."""
    connection = h11.Connection(h11.SERVER)
    try:
        while connection.states[h11.SERVER] is not h11.MUST_CLOSE:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(4096))
            elif isinstance(event, h11.Request):
                asked = _asked(event)
                venue.asked.append(asked)
                if not await _send(connection, stream, venue.mood(asked)):
                    return
            elif event is h11.PAUSED:
                connection.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed):
                return
    except trio.BrokenResourceError:
        return


async def _send(connection: h11.Connection, stream: trio.SocketStream, reply: Answer) -> bool:
    """Send an answer and return whether it was whole."""
    headers = [("content-length", str(len(reply.body))), *reply.headers]
    await stream.send_all(connection.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
    body = reply.body[: reply.sent_bytes]
    step = 1 if reply.pause_s else max(1, len(body))
    for begin in range(0, len(body), step):
        await stream.send_all(connection.send(h11.Data(data=body[begin : begin + step])) or b"")
        await trio.sleep(reply.pause_s)
    if reply.sent_bytes is not None:
        return False
    await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
    return True


def _asked(request: h11.Request) -> Asked:
    parts = urlsplit(request.target.decode())
    headers = {name.decode().lower(): value.decode() for name, value in request.headers}
    return Asked(parts.path.removeprefix(ROOT), dict(parse_qsl(parts.query)), headers)
