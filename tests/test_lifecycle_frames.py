"""Lifecycle frames: read tolerantly, counted as control, checked for holes, heard by whoever listens."""

from uuid import UUID

import pytest

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.decode import Decoder
from rlflow.kalshi.lifecycle import EventFeeUpdate, EventLifecycle, MarketEvent, MarketLifecycle
from rlflow.kalshi.messages import Other
from rlflow.kalshi.notices import BooksInvalid, Heard
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.session import Session

CAPTURE = UUID(int=7)


def life(seq: int, event_type: str = "settled", more: str = "") -> bytes:
    return (
        f'{{"type":"market_lifecycle_v2","sid":4,"seq":{seq},'
        f'"msg":{{"market_ticker":"KXSIM-A","event_type":"{event_type}"{more}}}}}'
    ).encode()


def listening(*frames: bytes) -> tuple[Session, list[object]]:
    session = Session(CAPTURE)
    session.feed(local_batch(Opened("ws://test", "sim"), CAPTURE, 0, 1))
    rows = session.feed(Batch(Kind.FRAMES, CAPTURE, 1, 2, frames))
    assert rows.counts.control == len(frames)
    assert not len(rows)
    return session, list(session.take_notices())


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (
            life(1, "created", ',"open_ts":1,"close_ts":2,"additional_metadata":{"event_ticker":"KXSIM"}'),
            MarketLifecycle,
        ),
        (life(1, "created", ',"additional_metadata":{"title":null},"price_level_structure":5'), MarketLifecycle),
        (life(1, "determined", ',"result":null,"determination_ts":1.5,"settled_ts":"soon"'), MarketLifecycle),
        (life(1, "of_tomorrow", ',"new":{"x":[1]}'), MarketLifecycle),
        (b'{"type":"event_lifecycle","sid":4,"msg":{"event_ticker":"E","series_ticker":"S","new":1}}', EventLifecycle),
        (b'{"type":"event_lifecycle","sid":4,"msg":{"event_ticker":"E","subtitle":null}}', EventLifecycle),
        (b'{"type":"event_fee_update","msg":{"event_ticker":"E","fee_type_override":5}}', EventFeeUpdate),
        (b'{"type":"event_fee_update","msg":{"event_ticker":"E","fee_type_override":null}}', EventFeeUpdate),
        (b'{"type":"market_lifecycle_v2","sid":4,"msg":{"market_ticker":"A"}}', Other),
        (b'{"type":"event_fee_update","sid":4,"msg":["not","an","object"]}', Other),
    ],
)
def test_a_frame_is_read_as_far_as_it_can_be_and_refused_never(frame: bytes, kind: type) -> None:
    assert type(Decoder().decode(frame)) is kind
    assert type(Decoder(legacy=True).decode(frame)) is kind


def test_a_ticker_that_would_spoil_a_terminal_is_refused() -> None:
    with pytest.raises(FrameRejectedError):
        Decoder().decode(life(1).replace(b"KXSIM-A", b"KX\\u0007"))


def test_every_frame_is_heard_and_counted_as_control() -> None:
    _, notices = listening(life(1, "determined", ',"result":"yes","settlement_value":"1.0000"'), life(2))
    heard = [notice.message for notice in notices if isinstance(notice, Heard)]
    assert [message.msg for message in heard if isinstance(message, MarketLifecycle)] == [
        MarketEvent("KXSIM-A", "determined"),
        MarketEvent("KXSIM-A", "settled"),
    ]


def test_a_hole_makes_no_gap_row_but_is_told() -> None:
    _, notices = listening(life(1), life(3))
    assert BooksInvalid(4, (), "sequence gap") in notices


def test_frames_without_seq_are_heard_too() -> None:
    _, notices = listening(life(1).replace(b'"seq":1,', b""))
    assert [type(notice) for notice in notices] == [Heard]
