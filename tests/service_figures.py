"""The figures of a service that is well, to be spoilt one by one."""

from typing import Any
from uuid import UUID

import attrs

from rlflow.api.service import Figures
from rlflow.data.books.gap_log import GapEvent, GapStatistics
from rlflow.data.feed.capture_log import CaptureLogStatistics
from rlflow.data.following.following import FollowingStatistics
from rlflow.data.following.lanes import FeedsStatus, LaneStatus
from rlflow.data.journal.journal import JournalStatistics
from rlflow.data.orderbook_client import FeedStatus
from rlflow.data.orderbook_state import BooksStatistics
from rlflow.data.upkeep.self_check import SelfCheckStatistics
from rlflow.data.writer.protocols import WriterStatistics
from rlflow.metrics import Histogram
from rlflow.session.rows import Counts

SECOND = 1_000_000_000
NOW_NS = 1_795_305_600 * SECOND
CAPTURE = UUID("0198c3f0-0000-7000-8000-000000000001")


def _latency() -> Histogram:
    histogram = Histogram()
    histogram.record(50_000, times=99)
    histogram.record(2_000_000)
    return histogram


LANE = LaneStatus(
    name="feed 1",
    copy=0,
    markets=2,
    hears_lifecycle=True,
    feed=FeedStatus(
        url="ws://127.0.0.1:1/",
        state="connected",
        capture=CAPTURE,
        connected_s=99.0,
        silent_s=0.5,
        books_silent_s=0.5,
        connections=1,
        failures=0,
        last_cause=None,
        last_code=None,
        is_plain_pipe=False,
        is_hearing_lifecycle=True,
    ),
)


def lane(*, name: str = "feed 1", copy: int = 0, **changes: Any) -> LaneStatus:
    """Return the feed's figures with some changed, be they the lane's or its connection's."""
    own = {field: changes.pop(field) for field in ("hears_lifecycle", "is_mute") if field in changes}
    return attrs.evolve(LANE, name=name, copy=copy, feed=attrs.evolve(LANE.feed, **changes), **own)


FIGURES = Figures(
    now_ns=NOW_NS,
    started_ns=NOW_NS - 1000 * SECOND,
    books=BooksStatistics(
        cursor=40_000,
        lapses=0,
        messages=98,
        markets=1,
        valid=1,
        unsettled=0,
        read_back=0,
        left_to_journal=0,
        dropped=0,
        latency=_latency().statistics(),
        channel_peak=3,
        gaps=GapStatistics(
            rows=4,
            recent=(GapEvent(NOW_NS - 50 * SECOND, CAPTURE, 17, "orderbook_delta", "2 frames are missing", 3),),
        ),
    ),
    feeds=FeedsStatus(feeds=(LANE,), capacity=500, copies=1),
    following=FollowingStatistics(series=(), events=2, lists=1, last_list_ns=NOW_NS - SECOND, last_error=None),
    writer=WriterStatistics(
        is_connected=True,
        since_ns=NOW_NS - 999 * SECOND,
        last_error=None,
        is_catching_up=False,
        backlog_bytes=0,
        held_frames=1,
        stalled_s=0.0,
        messages_enqueued=97,
        rows_written=95,
        commits=4,
        last_commit_ns=NOW_NS - SECOND,
        commit_s=0.01,
        caught_up_frames=0,
        channel_used=0,
        channel_size=10,
    ),
    captures=CaptureLogStatistics(
        captures=1,
        frames=100,
        frame_bytes=30_000,
        journalled=100,
        unprotected=0,
        dropped=0,
        skipped_batches=0,
        is_protected=True,
        owed_records=0,
    ),
    journal=JournalStatistics(
        oldest=0,
        end=40_000,
        synced=40_000,
        max_bytes=2**32,
        segments=1,
        appended_batches=100,
        appended_frames=100,
        refused_batches=0,
        is_full=False,
        free_bytes=2**40,
        truncated_bytes=0,
        is_damaged=False,
    ),
    self_check=SelfCheckStatistics(3, 0, NOW_NS - SECOND, None),
    stored=Counts(stored=95, control=2),
    worst_lag_s=0.002,
)
