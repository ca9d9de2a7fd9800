"""The bench's cheap source is a venue like any other to whoever listens from the start."""

import math
from uuid import UUID

from rlflow.exchange.markets.venue import Venue, VenueSpec
from rlflow.exchange.wire.conversation import Conversation, Limits
from rlflow.session.records import Batch, Kind, Opened, local_batch
from rlflow.session.session import Session
from rlflow.units import Nanos
from tests.exchange_client import subscribe
from tests.processor_time import saturated
from tests.taped_exchange import record

CAPTURE = UUID("0198c3f0-0000-7000-8000-000000000001")
NOW_NS: Nanos = 1_795_305_600_000_000_000
NOW_MS = NOW_NS // 1_000_000
TICKERS = ("KXSIM-A", "KXSIM-B", "KXSIM-C")


def test_every_round_of_a_tape_leaves_the_books_in_which_it_ended_and_no_gap() -> None:
    venue = Venue(VenueSpec(TICKERS, rate=math.inf), NOW_NS)
    tape = record(venue, NOW_NS, messages=2_000)
    conversation = Conversation(venue, Limits(queued_frames=math.inf))
    session = Session(CAPTURE)
    session.feed(local_batch(Opened("ws://test", "sim"), CAPTURE, 0, NOW_NS))
    conversation.receive(subscribe(1, *TICKERS), NOW_MS)
    for _ in range(3):
        for items in tape:
            conversation.publish(items, NOW_MS)
            frames = tuple(conversation.outlet.outbox.take(10**9))
            rows = session.feed(Batch(Kind.FRAMES, CAPTURE, session.upto_frame + 1, NOW_NS, frames))
            assert not rows.gaps
            assert not rows.rejects
        for ticker in TICKERS:
            view, image = session.view(ticker), venue.image(ticker)
            assert view.is_valid
            assert (sorted(view.yes_bids), sorted(view.no_bids)) == (sorted(image.yes), sorted(image.no))


def test_what_is_saturated_is_a_process_with_a_whole_core_or_the_machine() -> None:
    assert saturated({"service": 0.5, "others": 0.0}) == "nothing saturated"
    assert saturated({"exchange": 0.2, "service": 0.95, "others": 0.0}).startswith("service")
    assert saturated({"service": 0.5, "others": 1_000.0}) == "all cores saturated"
