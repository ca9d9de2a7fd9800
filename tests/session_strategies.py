"""Captures: legal ones, and ones in which everything that can go wrong does."""

from uuid import UUID

import attrs
from hypothesis import strategies as st

from rlflow.session.records import Batch, Closed, Dropped, Kind, Opened, local_batch
from tests.session_venue import FAULTS, LEGAL, START_NS, SUBSCRIBING, Step, Truth, Venue

CAPTURE = UUID("019a0000-0000-7000-8000-000000000001")

small = st.integers(0, 11)


def steps(*names: str) -> st.SearchStrategy[list[Step]]:
    """Steps by name; every second list is long, the others can shrink to nothing."""
    step = st.tuples(st.sampled_from(names), small, small, small)
    return st.lists(step, max_size=25) | st.lists(step, min_size=15, max_size=40)


@attrs.frozen
class Stream:
    """A capture; and for each frame number the market as the venue had it after that frame."""

    opened: Opened
    batches: tuple[Batch, ...]
    truths: dict[int, Truth]

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.batches if batch.kind is Kind.FRAMES for frame in batch.frames]

    @property
    def received(self) -> int:
        """How many frames came, those included that were dropped."""
        return sum(frames_of(batch) for batch in self.batches)


def frames_of(batch: Batch) -> int:
    """Return how many frames a batch accounts for."""
    if batch.kind in (Kind.FRAMES, Kind.DROPPED):
        return batch.last_frame_no - batch.after_frame
    return 0


def stream_of(venue: Venue, opened: Opened, sizes: list[int]) -> Stream:
    """Return what a venue has sent as batches of at most the given numbers of frames."""
    received_ns, frame_no = START_NS, 0
    batches = [local_batch(opened, CAPTURE, 0, received_ns)]
    truths: dict[int, Truth] = {}
    waiting: list[bytes] = []

    def flush() -> None:
        if waiting:
            first = frame_no - len(waiting) + 1
            batches.append(Batch(Kind.FRAMES, CAPTURE, first, received_ns, tuple(waiting)))
            waiting.clear()

    for item in venue.sent:
        if item.pause_ns or not isinstance(item.content, bytes) or len(waiting) >= sizes[len(batches) % len(sizes)]:
            flush()
        received_ns += item.pause_ns
        frame_no += item.content.frames if isinstance(item.content, Dropped) else 1
        if not isinstance(item.content, bytes):
            batches.append(local_batch(item.content, CAPTURE, frame_no, received_ns))
            continue
        waiting.append(item.content)
        if item.truth is not None:
            truths[frame_no] = item.truth
    flush()
    return Stream(opened, tuple(batches), truths)


@st.composite
def streams(draw: st.DrawFn, *names: str, is_timed: bool | None = None, sparse: bool = False) -> Stream:
    """A capture whose frames follow on steps of these names; `is_timed`: with clock or time on every delta."""
    has_clock, has_time = draw(st.booleans()), draw(st.booleans())
    venue = Venue(draw(st.booleans()), has_clock or (bool(is_timed) and not has_time), has_time)
    venue.open()
    for step in draw(steps(*names)):
        venue.step(step)
    if draw(st.booleans()):
        venue.put(Closed(cause="peer closed", code=1006, is_complete=draw(st.booleans())))
    opened = Opened(url="", environment="sim", use_yes_price=venue.use_yes_price, sparse_seq=sparse)
    return stream_of(venue, opened, draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))


def legal_streams() -> st.SearchStrategy[Stream]:
    """Captures in which nothing goes wrong."""
    return streams(*LEGAL, *SUBSCRIBING, is_timed=True)


def any_streams(*, sparse: bool = False) -> st.SearchStrategy[Stream]:
    """Captures in which anything may go wrong."""
    return streams(*LEGAL, *SUBSCRIBING, *FAULTS, sparse=sparse)
