"""Forms whose lines hold the venue's own bytes: wrapped in an object with the receive time, or bare."""

from collections.abc import Sequence

import attrs
import msgspec

from rlflow.recordings.items import NANOS_PER_MS, NANOS_PER_S, Heard, Item, parse_time
from rlflow.units import Nanos


class _Wrapped(msgspec.Struct, gc=False):
    event: msgspec.Raw
    recv_ms: int | None = None
    recv_ns: int | None = None


_wrapped = msgspec.json.Decoder(_Wrapped)


class WrappedReader:
    """Cuts the frame's bytes out of `{"recv_ms": ..., "event": ...}`."""

    def read(self, text: bytes) -> Sequence[Item]:
        """Return the one frame."""
        line = _wrapped.decode(text)
        frame = bytes(line.event)
        if frame[:1] != b"{":
            raise ValueError("`event` is not an object")
        if line.recv_ns is not None:
            return (Heard(line.recv_ns, frame),)
        if line.recv_ms is None:
            raise ValueError("neither `recv_ms` nor `recv_ns`")
        return (Heard(line.recv_ms * NANOS_PER_MS, frame),)

    def finish(self) -> Sequence[Item]:
        """Return nothing."""
        return ()


class _Verbatim(msgspec.Struct, gc=False):
    type: str
    sending_ts_ms: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b"")


class _Times(msgspec.Struct, gc=False):
    ts_ms: int | None = None
    ts: int | str | None = None


_verbatim = msgspec.json.Decoder(_Verbatim)
_times = msgspec.json.Decoder(_Times)


@attrs.define
class VerbatimReader:
    """Takes a line as the frame, and the latest time of the venue seen so far as its receive time."""

    _now_ns: Nanos

    def read(self, text: bytes) -> Sequence[Item]:
        """Return the one frame."""
        frame = text.strip()
        self._now_ns = max(self._now_ns, _venue_ns(_verbatim.decode(frame)))
        return (Heard(self._now_ns, frame),)

    def finish(self) -> Sequence[Item]:
        """Return nothing."""
        return ()


def _venue_ns(frame: _Verbatim) -> Nanos:
    """Return when the venue sent the frame, else when it happened there; 0 if it does not say."""
    if frame.sending_ts_ms is not None:
        return frame.sending_ts_ms * NANOS_PER_MS
    body = bytes(frame.msg)
    times = _times.decode(body) if body[:1] == b"{" else _Times()
    match times.ts_ms, times.ts:
        case (int() as ms, _):
            return ms * NANOS_PER_MS
        case (None, int() as seconds):
            return seconds * NANOS_PER_S
        case (None, str() as text):
            return parse_time(text)
        case _:
            return 0
