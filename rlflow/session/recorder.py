"""Where the rows and notices of the frame at hand go."""

import attrs

from rlflow.kalshi.notices import Notice
from rlflow.session.rows import GapEndRow, GapRow, RejectRow, Rows
from rlflow.units import Nanos


@attrs.frozen
class Place:
    """A frame and when it was received."""

    frame_no: int
    received_ns: Nanos


class Recorder:
    """Collects what the frame at hand becomes. `Session` moves it from frame to frame."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.frame_no = rows.upto_frame
        self.received_ns: Nanos = rows.received_ns
        self.notices: list[Notice] = []
        self._first_frame_no = rows.upto_frame
        self._before_ns: Nanos = rows.received_ns

    def begin(self, rows: Rows, frame_no: int) -> None:
        """Collect into `rows` from this frame on; all frames of them were received together."""
        self._before_ns = self.received_ns
        self._first_frame_no = self.frame_no = frame_no
        self.rows = rows
        self.received_ns = rows.received_ns
        self.notices = []

    @property
    def previous(self) -> Place:
        """The frame before the one at hand."""
        is_first = self.frame_no == self._first_frame_no
        return Place(self.frame_no - 1, self._before_ns if is_first else self.received_ns)

    def gap(
        self,
        channel: str,
        market_ticker: str | None,
        sid: int | None,
        cause: str,
        *,
        since: Place,
        is_over: bool = False,
        expected_seq: int | None = None,
        received_seq: int | None = None,
    ) -> None:
        """Write that something is missing between `since` and the frame at hand; it stays open unless it `is_over`."""
        self.rows.gaps.append(
            GapRow(
                channel=channel,
                market_ticker=market_ticker,
                sid=sid,
                frame_no=self.frame_no,
                received_ns=self.received_ns,
                from_frame=since.frame_no,
                from_ns=since.received_ns,
                to_ns=self.received_ns if is_over else None,
                cause=cause,
                expected_seq=expected_seq,
                received_seq=received_seq,
            )
        )

    def gap_end(self, channel: str, market_ticker: str | None) -> None:
        """Write that whatever was missing is over at the frame at hand."""
        self.rows.gap_ends.append(GapEndRow(channel, market_ticker, self.frame_no, self.received_ns))

    def reject(self, frame: bytes, reason: str, traceback_digest: str | None = None) -> None:
        """Keep the frame at hand as one that could not be accepted."""
        self.rows.rejects.append(RejectRow(self.frame_no, self.received_ns, reason, frame, traceback_digest))
        self.rows.counts.rejected += 1

    def take_back(self) -> None:
        """Remove the data rows of the frame at hand. What it showed to be missing, or to be over, stays."""
        for made in (self.rows.snapshots, self.rows.deltas, self.rows.trades):
            while made and made[-1].frame_no == self.frame_no:
                made.pop()
