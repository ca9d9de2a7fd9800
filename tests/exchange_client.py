"""A plain websocket client for tests of the local venue: signs, speaks, and hands out frames as JSON."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
import trio_websocket

from rlflow.exchange.config import DEFAULT_TICKERS, ExchangeConfig
from rlflow.exchange.credentials import Credentials
from rlflow.exchange.handshake import WEBSOCKET_PATH
from rlflow.exchange.server import Exchange, serve
from rlflow.kalshi.auth import Signer

Frame = dict[str, Any]
LIMIT_S = 20


def command(number: int, name: str, **params: object) -> str:
    """Return a command's text; without parameters, there is no `params`."""
    return json.dumps({"id": number, "cmd": name, **({"params": params} if params else {})})


def subscribe(
    number: int, *tickers: str, channels: Sequence[str] = ("orderbook_delta", "trade"), **more: object
) -> str:
    """Return a subscribe command."""
    return command(number, "subscribe", channels=list(channels), market_tickers=list(tickers), **more)


@attrs.frozen
class Client:
    """One connection to the venue."""

    websocket: trio_websocket.WebSocketConnection

    async def say(self, text: str) -> None:
        """Send a text."""
        await self.websocket.send_message(text)

    async def hear(self, count: int = 1) -> list[Frame]:
        """Return the next frames."""
        return [json.loads(await self.websocket.get_message()) for _ in range(count)]

    async def hear_until_closed(self) -> list[Frame]:
        """Return all frames until the connection ends."""
        heard: list[Frame] = []
        try:
            while True:
                heard.append(json.loads(await self.websocket.get_message()))
        except trio_websocket.ConnectionClosed:
            return heard

    @property
    def close_code(self) -> int | None:
        """The code with which the connection was closed, None while it is open."""
        reason = self.websocket.closed
        return None if reason is None else int(reason.code)


async def _shake_hands(stream: "trio.SSLStream[trio.SocketStream]") -> None:
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        await trio.aclose_forcefully(stream)
        raise


@asynccontextmanager
async def connected(
    url: str,
    signer: Signer | None,
    *,
    path: str = WEBSOCKET_PATH,
    tls: ssl.SSLContext | None = None,
    now_ms: int | None = None,
) -> AsyncIterator[Client]:
    """Open a connection; ConnectionRejected where the venue refuses it."""
    at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    headers = [] if signer is None else [(n.encode(), v.encode()) for n, v in signer.headers("GET", path, at_ms)]
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    stream = await trio.open_tcp_stream(address.hostname, address.port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=address.hostname, https_compatible=True)
        await _shake_hands(stream)
    # The library leaves the socket to the garbage collector when the other side refuses or closes.
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                websocket = await trio_websocket.wrap_client_stream(
                    nursery, stream, address.netloc, path, extra_headers=headers
                )
                yield Client(websocket)
                with trio.move_on_after(5):
                    await websocket.aclose()
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise


@asynccontextmanager
async def running(credentials: Credentials, **settings: Any) -> AsyncIterator[Exchange]:
    """Run an exchange with these settings, two thousand messages a second by default, for LIMIT_S at most."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            config = ExchangeConfig(**{"keys": credentials.public_keys, "rate": 2_000.0, **settings})
            yield await nursery.start(serve, config)
            nursery.cancel_scope.cancel()


async def raw_subscriber(exchange: Exchange, credentials: Credentials) -> trio.SocketStream:
    """Return the bare stream of a client that has subscribed and then reads nothing more."""
    stream = await trio.open_tcp_stream(exchange.host, exchange.port)
    signed = credentials.signer.headers("GET", "/trade-api/ws/v2", time.time_ns() // 1_000_000)
    headers = [(name.encode(), value.encode()) for name, value in signed]
    async with trio.open_nursery() as nursery:
        websocket = await trio_websocket.wrap_client_stream(
            nursery, stream, "exchange", "/trade-api/ws/v2", extra_headers=headers
        )
        await websocket.send_message(subscribe(1, *DEFAULT_TICKERS))
        nursery.cancel_scope.cancel()
    return stream


def gapless(frames: Sequence[Frame]) -> bool:
    """Return whether every sid's numbers go up by one."""
    last: dict[int, int] = {}
    for frame in frames:
        if "seq" in frame:
            if frame["seq"] != last.get(frame["sid"], frame["seq"] - 1) + 1:
                return False
            last[frame["sid"]] = frame["seq"]
    return True
