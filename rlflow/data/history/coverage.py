"""Which of several captures of one market to follow, and when. Pure.

At any moment the capture whose book is known counts, and of those the older: the rule of `rebuild.book_at`. So what is
followed at a moment does not depend on where one begins to look.
"""

import heapq
from collections.abc import Iterable, Iterator

import attrs

from rlflow.session.recorder import Place
from rlflow.session.rows import GapRow
from rlflow.units import Nanos


@attrs.frozen
class Stretch:
    """A part of one capture in which a market's book is known, from a snapshot to the last frame that is good."""

    key: int
    """The number that stands for the capture in rows."""
    opened_ns: Nanos
    """When the capture was opened; with `key`, its age among all."""
    begin: Place
    end: Place
    gap: GapRow | None
    """What ended it; None: the capture does not go on, or no longer has the market."""
    from_ns: Nanos
    """When it begins. Not before the capture's stretch before it ends, though a clock that was set back may say so."""

    @property
    def rank(self) -> tuple[Nanos, int]:
        """The smaller, the older the capture."""
        return self.opened_ns, self.key

    @property
    def until_ns(self) -> Nanos:
        """The first moment at which the book is not known any more."""
        return max(self.from_ns, self.end.received_ns) + 1


@attrs.define
class Leg:
    """A part of a history for which one capture is followed, until another one is."""

    first: Stretch
    from_ns: Nanos
    """When following it begins."""
    last: Stretch
    """The same capture may lose the book and find it again while no other has it."""
    until_ns: Nanos
    """When the next leg begins, or the history ends: not before the book is known again, in whichever capture."""

    @property
    def begins_at_snapshot(self) -> bool:
        """Whether the stretch's own snapshot is the first row; else the book has to be made from what came before."""
        return self.from_ns == self.first.from_ns

    @property
    def is_lost_in_the_end(self) -> bool:
        """Whether for a while no capture knows the book before the next leg begins."""
        return self.until_ns > self.last.until_ns

    @property
    def ends_at_loss(self) -> bool:
        """Whether another capture takes over at the very loss of the book: nothing behind it counts."""
        return self.until_ns == self.last.until_ns and self.last.gap is not None


def stretches(
    key: int, opened_ns: Nanos, snapshots: Iterable[Place], gaps: Iterable[GapRow], end: Place
) -> Iterator[Stretch]:
    """Yield where a market's book is known in one capture.

    Args:
        key: Of the capture.
        opened_ns: When it was opened.
        snapshots: Every stored snapshot of the market, checkpoints too, which retention may have left alone.
        gaps: Every gap of the market's book.
        end: The last frame at which the capture is known to have the market.
    """
    begin: Place | None = None
    now_ns: Nanos = 0
    for gap_or_snapshot in _in_order(snapshots, gaps):
        if isinstance(gap_or_snapshot, Place):
            if begin is None:
                begin, now_ns = gap_or_snapshot, max(now_ns, gap_or_snapshot.received_ns)
        elif begin is not None:
            # Noticed here, but missing from there on. A crossed snapshot was wrong from the start.
            last_good = Place(gap_or_snapshot.from_frame, gap_or_snapshot.from_ns)
            if last_good.frame_no >= begin.frame_no:
                yield Stretch(key, opened_ns, begin, last_good, gap_or_snapshot, now_ns)
                now_ns = max(now_ns, last_good.received_ns)
            begin = None
    if begin is not None and end.frame_no >= begin.frame_no:
        yield Stretch(key, opened_ns, begin, end, None, now_ns)


def _in_order(snapshots: Iterable[Place], gaps: Iterable[GapRow]) -> list[Place | GapRow]:
    """Return both in the order of frames; what was missing before a frame comes before what the frame says."""
    placed: list[tuple[int, Place | GapRow]] = [(gap.frame_no * 2, gap) for gap in gaps]
    placed += [(snapshot.frame_no * 2 + 1, snapshot) for snapshot in snapshots]
    return [one for _, one in sorted(placed, key=lambda item: item[0])]


def legs(found: Iterable[Stretch], start_ns: Nanos, end_ns: Nanos) -> list[Leg]:
    """Return which capture to follow in [start_ns, end_ns), in the order of time; from the first known book on."""
    coming = sorted(found, key=lambda stretch: stretch.from_ns, reverse=True)
    known: list[tuple[tuple[Nanos, int], int, Stretch]] = []
    made: list[Leg] = []
    now_ns = start_ns
    while now_ns < end_ns:
        while coming and coming[-1].from_ns <= now_ns:
            stretch = coming.pop()
            heapq.heappush(known, (stretch.rank, len(coming), stretch))
        while known and known[0][2].until_ns <= now_ns:
            heapq.heappop(known)
        next_ns = coming[-1].from_ns if coming else end_ns
        if known:
            best = known[0][2]
            next_ns = min(next_ns, best.until_ns, end_ns)
            _follow(made, best, now_ns, next_ns)
        elif not coming:
            break
        now_ns = next_ns
    if made:
        made[-1].until_ns = end_ns
    return made


def _follow(made: list[Leg], stretch: Stretch, from_ns: Nanos, until_ns: Nanos) -> None:
    if made and made[-1].last.key == stretch.key:
        made[-1].last, made[-1].until_ns = stretch, until_ns
        return
    if made:
        made[-1].until_ns = from_ns
    made.append(Leg(stretch, from_ns, stretch, until_ns))
