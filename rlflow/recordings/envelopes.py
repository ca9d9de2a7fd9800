"""The form of a recorder that took frames apart and kept notes of its connections between them."""

import re
from collections.abc import Sequence

import attrs
import msgspec

from rlflow.recordings.items import Began, Ended, Heard, Item


class _Envelope(msgspec.Struct, gc=False):
    channel: str
    event_type: str
    local_recv_ns: int
    payload_json: msgspec.Raw
    market_ticker: str | None = None
    sequence_number: int | None = None


class _SubscribedBody(msgspec.Struct):
    channel: str
    sid: int


class _Subscribed(msgspec.Struct):
    msg: _SubscribedBody


_envelope = msgspec.json.Decoder(_Envelope)
_subscribed = msgspec.json.Decoder(_Subscribed)

# The recorder added this to deltas; the venue has not sent such a field since cents went away.
_ADDED_CENTS = re.compile(rb'"price_cents":\s*[^,}]*,\s*')


@attrs.define
class EnvelopeReader:
    """Puts frames together again from a recorder's envelopes, and sees its connections come and go.

    The envelope of a data frame does not have its sid; it is the one that the `subscribed` frame of the channel told.
    """

    _sids: dict[str, int] = attrs.Factory(dict)
    _is_open: bool = False

    def read(self, text: bytes) -> Sequence[Item]:
        """Return the frame, the begin or the end of a connection, or nothing for the recorder's other notes."""
        line = _envelope.decode(text)
        if line.channel != "control":
            return self._heard(line, self._frame(line))
        match line.event_type:
            case "ws_connected":
                return (self._begin(line),)
            case "ws_subscribed":
                frame = bytes(line.payload_json)
                answer = _subscribed.decode(frame).msg
                self._sids[answer.channel] = answer.sid
                return self._heard(line, frame)
            case "market_rotated" if self._is_open:
                self._is_open = False
                return (Ended(line.local_recv_ns, "the recorder went on to another market"),)
            case _:
                return ()

    def finish(self) -> Sequence[Item]:
        """Return nothing."""
        return ()

    def _begin(self, line: _Envelope) -> Began:
        self._sids.clear()
        self._is_open = True
        return Began(line.local_recv_ns, () if line.market_ticker is None else (line.market_ticker,))

    def _heard(self, line: _Envelope, frame: bytes) -> Sequence[Item]:
        heard = Heard(line.local_recv_ns, frame)
        if self._is_open:
            return (heard,)
        self._is_open = True  # the file begins in the middle of a connection
        return (Began(line.local_recv_ns, () if line.market_ticker is None else (line.market_ticker,)), heard)

    def _frame(self, line: _Envelope) -> bytes:
        # Where the answer to the subscription is not in the file any free number will do: it only tells channels apart.
        sid = self._sids.setdefault(line.channel, max(self._sids.values(), default=0) + 1)
        seq = b"" if line.sequence_number is None else b',"seq":%d' % line.sequence_number
        body = bytes(line.payload_json)
        if line.event_type == "orderbook_delta":
            body = _ADDED_CENTS.sub(b"", body, count=1)
        return b'{"type":%s,"sid":%d%s,"msg":%s}' % (msgspec.json.encode(line.event_type), sid, seq, body)
