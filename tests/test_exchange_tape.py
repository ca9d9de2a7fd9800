"""Recordings as what a venue sends: cut at reconnects, numbered, timed."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from rlflow.errors import CommandError, RecordingError
from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.replay import Pace, Replay, ReplayedMarkets, replay_source
from rlflow.exchange.tape import Began, Event, Played, play
from rlflow.exchange.wire.items import Image
from rlflow.session.records import Batch, Kind, Opened
from tests.exchange_tapes import CAPTURE, START_NS, WHOLE, Recorded, delta, snapshot, wire


def events(*connections: Recorded) -> list[Event]:
    return list(play(connections))


def test_frames_in_another_order_of_fields_are_put_into_the_venues() -> None:
    text = b'{"msg":{"delta_fp":"1.00","market_ticker":"A","price_dollars":"0.4000","side":"no"},"seq":8,"sid":1'
    text += b',"type":"orderbook_delta"}'
    batch = Batch(Kind.FRAMES, CAPTURE, 1, START_NS, (text,))
    (played,) = [each for each in play([_Fixed(WHOLE, [batch])]) if isinstance(each, Played)]
    item = played.publications[0].item
    assert item.head == b'{"type":"orderbook_delta",'
    assert item.tail == b',"msg":{"delta_fp":"1.00","market_ticker":"A","price_dollars":"0.4000","side":"no"}}'


@attrs.frozen
class _Fixed:
    opened: Opened
    given: Sequence[Batch]

    def batches(self) -> Iterator[Batch]:
        return iter(self.given)


def test_what_no_venue_has_sent_is_left_out() -> None:
    batch = Batch(Kind.FRAMES, CAPTURE, 1, START_NS, (b"nonsense", wire(delta(1, "A")), b'{"type":"error"}'))
    _, played = play([_Fixed(WHOLE, [batch])])
    assert isinstance(played, Played)
    assert len(played.publications) == 1


def test_a_duplicate_and_a_hole_are_no_fall() -> None:
    played = events(Recorded([snapshot(5, "A"), delta(6, "A"), delta(6, "A"), delta(9, "A")]))
    assert sum(isinstance(event, Began) for event in played) == 1
    numbers = [each.item.recorded_seq for event in played if isinstance(event, Played) for each in event.publications]
    assert numbers == [5, 6, 6, 9]


def test_the_pace_divides_recorded_gaps_and_cuts_long_pauses() -> None:
    pace = Pace(Replay(list, frozenset(), speed=10.0, longest_pause_s=60.0))
    second = 1_000_000_000
    assert pace.due(START_NS, 100.0) == 100.0
    assert pace.due(START_NS + 2 * second, 100.1) == pytest.approx(100.2)
    assert pace.due(START_NS + 3 * second, 105.0) == pytest.approx(100.3)  # late: the backlog follows at once
    assert pace.due(START_NS + 1 * second, 105.0) == pytest.approx(100.3)  # the recorder's clock was set back
    assert pace.due(START_NS + 9_000 * second, 105.0) == pytest.approx(106.3)
    assert pace.resume(200.0) == 200.0
    assert pace.due(START_NS + 9_001 * second, 200.0) == pytest.approx(200.1)


def test_a_book_that_becomes_impossible_is_not_shown() -> None:
    markets = ReplayedMarkets(frozenset({"A"}))
    played = events(Recorded([snapshot(1, "A", ("0.4000", "1.00")), delta(2, "A", change="-2.00")]))
    shown: list[Image | None] = []
    for event in played:
        if isinstance(event, Played):
            markets.apply(event.publications[0].message)
            shown.append(markets.image("A"))
    assert shown == [Image("A", yes=((4_000, 100),)), None]


def test_a_simulation_that_was_recorded_is_played_back_byte_for_byte(tmp_path: Path) -> None:
    venue = Venue(VenueSpec(("KXSIM-A", "KXSIM-B"), seed=3), START_NS)
    items = [item for n in range(400) for item in venue.act(START_NS + n * 10**7)]
    seq = {"orderbook_delta": 0, "trade": 0}
    lines: list[bytes] = []
    for item in items:
        seq[item.channel] += 1
        sid = 1 if item.channel == "orderbook_delta" else 2
        frame = b'%b"sid":%d,"seq":%d%b' % (item.head, sid, seq[item.channel], item.tail)
        lines.append(b'{"recv_ms":%d,"event":%b}\n' % (START_NS // 10**6 + len(lines), frame))
    path = tmp_path / "recorded.ndjson.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    source = replay_source([path])
    assert source.tickers == {"KXSIM-A", "KXSIM-B"}
    played = [
        each.item for event in play(source.connections()) if isinstance(event, Played) for each in event.publications
    ]
    assert [(item.head, item.tail) for item in played] == [(item.head, item.tail) for item in items]


def test_a_file_without_markets_or_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no market"):
        replay_source([])
    path = tmp_path / "x.ndjson"
    path.write_text("nonsense\n")
    with pytest.raises(RecordingError):
        replay_source([path])
