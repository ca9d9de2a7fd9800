"""The first request of a connection: whether it asks for a websocket, or is for REST."""

import re

import trio

# More than either server takes; who is cut off there gets its refusal.
_MAX_BYTES = 64 * 1024
_READ_BYTES = 4 * 1024

_UPGRADE = re.compile(rb"^upgrade:[ \t]*websocket[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(rb"^([^:\s]+):[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)


def fields(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header fields of a request, of which this is the beginning."""
    return tuple(_FIELD.findall(head.partition(b"\r\n\r\n")[0]))


def asks_for_websocket(head: bytes) -> bool:
    """Return whether a request, of which this is the beginning, is an upgrade."""
    return _UPGRADE.search(head.partition(b"\r\n\r\n")[0]) is not None


async def read_head(stream: trio.abc.Stream) -> bytes:
    """Return what a peer says until its first request's head is whole, it stops, or has said too much."""
    heard = bytearray()
    while b"\r\n\r\n" not in heard and len(heard) < _MAX_BYTES:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            break
        heard += data
    return bytes(heard)
