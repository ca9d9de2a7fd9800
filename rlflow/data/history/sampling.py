"""What a sampled capture leaves open: its book is known at each snapshot, and not behind it."""

from bisect import bisect_right
from collections.abc import Sequence

import attrs

from rlflow.data.store.stored_books import sampled_cause
from rlflow.session.recorder import Place
from rlflow.session.rows import GapRow
from rlflow.session.sequence import ORDERBOOK


@attrs.frozen
class Sampling:
    """A market in a capture of which only some deltas are stored."""

    market: str
    sample_rate: int
    snapshots: Sequence[Place]
    """Every stored snapshot of the market, checkpoints too, in the order of frames."""

    def gap_behind(self, snapshot: Place) -> GapRow:
        """Return the gap from a snapshot to the next one; no table has it, since the capture itself says so."""
        number = bisect_right(self.snapshots, snapshot.frame_no, key=_frame_no)
        following = self.snapshots[number : number + 1]
        return GapRow(
            channel=ORDERBOOK,
            market_ticker=self.market,
            sid=None,
            frame_no=snapshot.frame_no + 1,
            received_ns=snapshot.received_ns,
            from_frame=snapshot.frame_no,
            from_ns=snapshot.received_ns,
            to_ns=max(snapshot.received_ns, following[0].received_ns) if following else None,
            cause=sampled_cause(self.sample_rate),
        )


def _frame_no(place: Place) -> int:
    return place.frame_no
