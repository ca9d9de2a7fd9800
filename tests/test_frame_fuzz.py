"""Whatever a peer sends: the decoder refuses it in one way only, and what is refused changes no book."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.decode import Decoder
from rlflow.orderbook import Levels
from rlflow.session.records import Batch, Kind
from rlflow.session.session import Session
from tests.session_strategies import CAPTURE, Stream, legal_streams

_ENVELOPE = ["type", "sid", "seq", "msg", "id", "code", "clock", "ts_ms"]
_MARKET = ["market_ticker", "market_id", "yes_dollars_fp", "no_dollars_fp"]
_CHANGE = ["side", "price_dollars", "delta_fp", "count_fp", "yes_price_dollars", "trade_id"]
NAMES = st.sampled_from([*_ENVELOPE, *_MARKET, *_CHANGE])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["0.5000", "-1.00", "1.0001", "1e9", "0.00", "orderbook_delta", "orderbook_snapshot", "yes"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def changed_json(draw: st.DrawFn, frame: bytes) -> bytes:
    """A frame in which one value has gone, come, or become another."""
    tree: Any = json.loads(frame)
    place = tree
    while isinstance(place, dict) and place and draw(st.booleans()):
        inner = [value for value in place.values() if isinstance(value, dict)]
        if not inner:
            break
        place = draw(st.sampled_from(inner))
    if isinstance(place, dict):
        name = draw(NAMES | st.sampled_from(sorted(place) or ["x"]))
        if draw(st.booleans()):
            place[name] = draw(VALUES)
        else:
            place.pop(name, None)
    return json.dumps(tree).encode()


@st.composite
def changed_bytes(draw: st.DrawFn, frame: bytes) -> bytes:
    """A frame in which some bytes have become others."""
    at = draw(st.integers(0, len(frame)))
    return frame[:at] + draw(st.binary(max_size=5)) + frame[at + draw(st.integers(0, 5)) :]


@st.composite
def frames_from(draw: st.DrawFn, legal: Sequence[bytes]) -> bytes:
    """Anything: bytes, JSON, or a legal frame after some harm."""
    frame = draw(st.sampled_from(legal)) if legal else b"{}"
    other = draw(st.sampled_from(legal)) if legal else b"{}"
    harmed: bytes = draw(
        st.one_of(
            changed_json(frame),
            changed_bytes(frame),
            st.binary(max_size=100),
            VALUES.map(lambda value: json.dumps(value).encode()),
            st.just(frame + other),
            st.just(frame[: len(frame) // 2] + other[len(other) // 2 :]),
        )
    )
    return harmed


@st.composite
def harmed_streams(draw: st.DrawFn) -> Stream:
    """A legal stream in which some frames stand for others or between them."""
    stream = draw(legal_streams())
    harmed = []
    number = 1
    for batch in stream.batches:
        frames = batch.frames
        if batch.kind is Kind.FRAMES:
            frames = ()
            for frame in batch.frames:
                odd = (draw(frames_from(stream.frames)),) if draw(st.integers(0, 5)) == 0 else ()
                frames += (*odd, frame) if draw(st.booleans()) else (odd or (frame,))
            harmed.append(attrs.evolve(batch, first_frame_no=number, frames=frames))
            number += len(frames)
        else:
            harmed.append(attrs.evolve(batch, first_frame_no=number if batch.first_frame_no else 0))
            number += batch.first_frame_no > 0
    return attrs.evolve(stream, batches=tuple(harmed))


def one_by_one(stream: Stream) -> list[Batch]:
    return [
        Batch(batch.kind, batch.capture, batch.first_frame_no + offset, batch.received_ns, (frame,))
        for batch in stream.batches
        for offset, frame in enumerate(batch.frames)
    ]


def books_of(session: Session) -> dict[str, tuple[Levels, Levels]]:
    return {ticker: (session.view(ticker).yes_bids, session.view(ticker).no_bids) for ticker in session.books}


@settings(max_examples=300, deadline=None)
@given(legal_streams().flatmap(lambda stream: frames_from(stream.frames)), st.booleans())
def test_the_decoder_accepts_a_frame_or_refuses_it_and_does_nothing_else(frame: bytes, legacy: bool) -> None:
    with suppress(FrameRejectedError):
        Decoder(legacy=legacy).decode(frame)


@settings(max_examples=150, deadline=None)
@given(harmed_streams())
def test_a_refused_frame_changes_no_book_and_is_no_fault_of_ours(stream: Stream) -> None:
    session = Session(CAPTURE)
    for batch in one_by_one(stream):
        before, valid = books_of(session), {ticker for ticker, book in session.books.items() if book.is_valid}
        rows = session.feed(batch)
        assert not any(reject.traceback_digest for reject in rows.rejects)
        assert rows.counts.total() == (batch.kind is Kind.FRAMES)
        if rows.rejects:
            assert books_of(session) == before
            assert {ticker for ticker, book in session.books.items() if book.is_valid} <= valid
            assert not rows.snapshots
            assert not rows.deltas
