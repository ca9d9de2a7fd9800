"""Takes whole text frames out of a websocket's bytes, and leaves every other byte to a websocket library.

Pure. The venue sends each message as one unfragmented, unmasked text frame, and cutting those out takes a fraction of a
microsecond where a complete implementation takes seventeen. All that is rare stays with the library: control frames
are passed on whole, one by one; and the first frame that is anything else (fragmented, binary, masked, with reserved
bits, badly encoded, longer than the limit) turns the splitter into a plain pipe for ever, since messages would overtake
one another if it went on. Text is not checked to be UTF-8; whoever decodes the JSON does that, and can reject one frame
where a websocket library must end the connection.
"""

from typing import Final, TypeAlias

MAX_FRAME_BYTES: Final = 8 * 2**20
"""A snapshot of 10,000 levels on both sides takes half a mebibyte."""

# First byte of a frame: FIN, three reserved bits, four bits of opcode (RFC 6455, 5.2).
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
# Second byte: mask bit, then the length or one of two marks for a longer length field.
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127

_Extent: TypeAlias = tuple[int, int]
"""Where a frame's payload begins and ends."""


class FrameSplitter:
    """Cuts what comes after the HTTP handshake of a websocket client. One owner; feed it in the order of arrival.

    `limit` is the longest payload in bytes; at least 65,535, so that only frames with the longest header need judging.
    """

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        assert limit >= 2**16 - 1
        self._limit = limit
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._needed = 2
        self._is_pipe = False
        self._close: bytes | None = None

    @property
    def is_pipe(self) -> bool:
        """Whether everything is passed on from now on, because of an unusual frame or behind a close frame."""
        return self._is_pipe

    @property
    def has_closed(self) -> bool:
        """Whether the peer's close frame came by. Unknown, and so false, if the splitter became a pipe before."""
        return self._close is not None

    @property
    def close_code(self) -> int | None:
        """The code in the peer's close frame; None if it had none or has not come by."""
        return int.from_bytes(self._close[:2], "big") if self._close and len(self._close) >= 2 else None

    def feed(self, data: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return the payloads of the text frames that `data` completed, and the bytes for the library.

        Of the latter each item is one whole control frame, until `is_pipe`. An incomplete frame is held back, at most
        `limit` bytes. Takes time proportional to `data`, however a frame is cut up.
        """
        if self._is_pipe:
            return [], [data]
        if self._held:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._needed:
                return [], []
            data = b"".join(self._held)
        frames: list[bytes] = []
        others: list[bytes] = []
        rest = self._split(data, frames, others)
        self._held = [rest] if rest else []
        self._held_bytes = len(rest)
        return frames, others

    def _split(self, data: bytes, frames: list[bytes], others: list[bytes]) -> bytes:
        """Sort the whole frames of `data` into the lists and return what is left of it, the begin of a frame."""
        position, end = 0, len(data)
        self._needed = 2
        while end - position >= 2:
            length = data[position + 1]
            body = position + 2
            if length == _TWO_BYTES and end - position >= 4:
                length = data[body] << 8 | data[body + 1]
                body += 2
                is_plain = length >= _TWO_BYTES
            else:
                is_plain = length < _TWO_BYTES
            if is_plain and data[position] == _TEXT:
                stop = body + length
                if stop <= end:
                    frames.append(data[body:stop])
                    position = stop
                    continue
            extent = self._extent(data, position)
            if extent is None:
                self._is_pipe = True
                others.append(data[position:])
                return b""
            if extent[1] > end:
                self._needed = extent[1] - position
                break
            position = self._take(data, position, extent, frames, others)
        return data[position:]

    def _extent(self, data: bytes, position: int) -> _Extent | None:
        """Return where the payload of the frame at `position` lies, None if the frame is not for us.

        Two bytes of it must be there. If the length field is not, the extent ends where that field does.
        """
        first, length = data[position], data[position + 1]
        is_control = first in (_CLOSE, _PING, _PONG)
        if not (is_control or first == _TEXT) or length > (_TWO_BYTES - 1 if is_control else _EIGHT_BYTES):
            return None
        body = position + 2
        if length >= _TWO_BYTES:
            field = 2 if length == _TWO_BYTES else 8
            if len(data) < body + field:
                return body + field, body + field
            length = int.from_bytes(data[body : body + field], "big")
            if length < (_TWO_BYTES if field == 2 else 2**16):
                return None  # a longer length field than needed is forbidden
            body += field
        return (body, body + length) if length <= self._limit else None

    def _take(self, data: bytes, position: int, extent: _Extent, frames: list[bytes], others: list[bytes]) -> int:
        """Sort one whole frame into the lists and return where the next one begins."""
        body, stop = extent
        if data[position] == _TEXT:
            frames.append(data[body:stop])
            return stop
        others.append(data[position:stop])
        if data[position] == _CLOSE:
            # What comes behind a close frame is no data, and for the library to ignore.
            self._close = data[body:stop]
            self._is_pipe = True
            if stop < len(data):
                others.append(data[stop:])
            return len(data)
        return stop
