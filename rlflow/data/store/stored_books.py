"""Books rebuilt from the tables: the latest snapshot at or before a frame, plus every delta behind it.

One rule for resuming, for looking back, and for the service's check of itself. Deltas are summed in PostgreSQL, level
by level, so a book costs one index entry per row behind its snapshot: 5,000 at most, thanks to checkpoints.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs

from rlflow.data.store.copy_text import levels_from_json
from rlflow.data.store.postgres import Connection
from rlflow.data.store.removals import NOT_SUBSCRIBED, removals
from rlflow.session.recorder import Place
from rlflow.session.rows import Levels, SnapshotRow
from rlflow.units import Count, Nanos, Price, Side

# The latest snapshot, and when the venue last sent one: a checkpoint says nothing about the venue's last message.
_SNAPSHOTS = b"""
    SELECT s.market_ticker, s.frame_no, s.received_ns, s.sid, CASE s.origin WHEN 'venue' THEN s.clock END,
           s.yes_bids::text, s.no_bids::text,
           v.frame_no, v.received_ns, v.timestamp_ms, v.sequence_number, v.clock
    FROM unnest(%(tickers)s::text[]) AS wanted (market_ticker)
    CROSS JOIN LATERAL (
        SELECT * FROM rl_orderbook_snapshots AS s
        WHERE s.market_ticker = wanted.market_ticker AND s.capture = %(capture)s AND s.frame_no <= %(frame)s
          AND s.received_ns >= %(from_ns)s AND s.received_ns < %(to_ns)s
        ORDER BY s.frame_no DESC, s.id DESC LIMIT 1
    ) AS s
    LEFT JOIN LATERAL (
        SELECT * FROM rl_orderbook_snapshots AS v
        WHERE v.market_ticker = wanted.market_ticker AND v.capture = %(capture)s AND v.frame_no <= s.frame_no
          AND v.received_ns >= %(from_ns)s AND v.received_ns < %(to_ns)s AND v.origin = 'venue'
        ORDER BY v.frame_no DESC LIMIT 1
    ) AS v ON true"""

_GAPS = b"""
    SELECT base.market_ticker, g.frame_no, g.cause
    FROM unnest(%(tickers)s::text[], %(frames)s::bigint[]) AS base (market_ticker, frame_no)
    CROSS JOIN LATERAL (
        SELECT min(g.frame_no) AS frame_no, (array_agg(g.cause ORDER BY g.frame_no DESC, g.id DESC))[1] AS cause
        FROM rl_feed_gaps AS g
        WHERE g.capture = %(capture)s AND g.channel = 'orderbook_delta'
          AND (g.market_ticker = base.market_ticker OR g.market_ticker IS NULL)
          AND g.frame_no > base.frame_no AND g.frame_no <= %(frame)s
    ) AS g WHERE g.frame_no IS NOT NULL"""

# A delta that a venue snapshot already contains, by the venue's clock, is not added to it.
_DELTAS = b"""
    SELECT base.market_ticker, d.side, d.price_e4, (d.delta * 100)::bigint
    FROM unnest(%(tickers)s::text[], %(frames)s::bigint[], %(untils)s::bigint[], %(clocks)s::bigint[])
         AS base (market_ticker, frame_no, until, clock)
    CROSS JOIN LATERAL (
        SELECT d.side, d.price_e4, sum(d.delta) AS delta FROM rl_orderbook_deltas AS d
        WHERE d.market_ticker = base.market_ticker AND d.capture = %(capture)s
          AND d.frame_no > base.frame_no AND d.frame_no <= base.until
          AND d.received_ns >= %(from_ns)s AND d.received_ns < %(to_ns)s
          AND (d.clock <= base.clock) IS NOT TRUE
        GROUP BY d.side, d.price_e4 HAVING sum(d.delta) <> 0
    ) AS d"""

_LAST = b"""
    SELECT base.market_ticker, n.rows, d.frame_no, d.received_ns, d.timestamp_ms, d.sequence_number, d.clock
    FROM unnest(%(tickers)s::text[], %(frames)s::bigint[], %(untils)s::bigint[])
         AS base (market_ticker, frame_no, until)
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows FROM rl_orderbook_deltas AS d
        WHERE d.market_ticker = base.market_ticker AND d.capture = %(capture)s
          AND d.frame_no > base.frame_no AND d.frame_no <= base.until
          AND d.received_ns >= %(from_ns)s AND d.received_ns < %(to_ns)s
    ) AS n
    CROSS JOIN LATERAL (
        SELECT * FROM rl_orderbook_deltas AS d
        WHERE d.market_ticker = base.market_ticker AND d.capture = %(capture)s AND d.frame_no <= base.until
          AND d.received_ns >= %(from_ns)s AND d.received_ns < %(to_ns)s
        ORDER BY d.frame_no DESC LIMIT 1
    ) AS d"""


@attrs.frozen
class StoredCapture:
    """What finding a capture's rows takes."""

    key: int
    """The number that stands for the capture in rows."""
    capture: UUID
    sample_rate: int
    committed_frame: int
    rows_from_ns: Nanos
    """The capture's rows have receive times in [rows_from_ns, rows_to_ns), so other partitions are not touched."""
    rows_to_ns: Nanos


@attrs.frozen
class LastFrame:
    """The last frame of the venue that said something about a book."""

    frame_no: int
    received_ns: Nanos
    timestamp_ms: int | None
    sequence_number: int | None
    clock: int | None


@attrs.frozen
class StoredBook:
    """One book as the tables have it."""

    market_ticker: str
    sid: int
    """The subscription that brought its snapshot."""
    yes_bids: Levels
    no_bids: Levels
    cause: str | None
    """Why it is not the venue's book at the frame asked for; the levels are the last that were. None: it is."""
    is_missing: bool
    """Whether that is because something is not stored, as a gap or the sampling says."""
    base_clock: int | None
    """The clock of the venue's snapshot it stands on; None after a checkpoint."""
    deltas_since: int
    """Delta rows since the snapshot."""
    snapshot_ns: Nanos
    last: "LastFrame"
    vouched: Place
    """The venue's last snapshot; the stored one that it stands on, where retention has dropped that."""

    def checkpoint(self, frame_no: int, received_ns: Nanos) -> SnapshotRow:
        """Return the book as a checkpoint of ours at a frame, received then."""
        return SnapshotRow(
            market_ticker=self.market_ticker,
            frame_no=frame_no,
            received_ns=received_ns,
            sending_ts_ms=None,
            sid=self.sid,
            sequence_number=self.last.sequence_number,
            clock=None,
            origin="checkpoint",
            yes_bids=self.yes_bids,
            no_bids=self.no_bids,
        )


def sampled_cause(sample_rate: int) -> str:
    """Return why a book behind a snapshot of a sampled capture is not the venue's."""
    return f"sampled: only 1 in {sample_rate} deltas is stored"


def books_at(
    connection: Connection, capture: StoredCapture, tickers: Iterable[str], frame: int
) -> dict[str, StoredBook]:
    """Return the books at a frame, by ticker; those without a snapshot up to it are left out.

    All rows up to the frame must be committed: they never change afterwards, so no transaction is needed.
    """
    where: dict[str, object] = {
        "capture": capture.key,
        "frame": frame,
        "from_ns": capture.rows_from_ns,
        "to_ns": capture.rows_to_ns,
    }
    found = connection.execute(_SNAPSHOTS, {**where, "tickers": list(tickers)}, binary=True)
    bases = [_base(row) for row in found]
    where |= {"tickers": [base.market_ticker for base in bases], "frames": [base.frame_no for base in bases]}
    gaps = {ticker: _Gap(*gap) for ticker, *gap in connection.execute(_GAPS, where, binary=True)}
    removed = removals(connection, [capture.key], [base.market_ticker for base in bases])
    where["untils"] = [_until(gaps.get(base.market_ticker), frame) for base in bases]
    where["clocks"] = [base.clock for base in bases]
    changes: defaultdict[str, list[_Change]] = defaultdict(list)
    for ticker, *change in connection.execute(_DELTAS, where, binary=True):
        changes[ticker].append(_Change(*change))
    tails = {
        ticker: _Tail(count, _last(last)) for ticker, count, *last in connection.execute(_LAST, where, binary=True)
    }
    return {
        base.market_ticker: _book(
            base,
            changes[base.market_ticker],
            tails.get(base.market_ticker, _Tail(0, None)),
            _cause(gaps.get(base.market_ticker), removed.get((capture.key, base.market_ticker)), capture, base, frame),
        )
        for base in bases
    }


@attrs.frozen
class _Base:
    """The snapshot that a book stands on."""

    market_ticker: str
    frame_no: int
    received_ns: Nanos
    sid: int
    clock: int | None
    """None for a checkpoint."""
    yes_bids: str
    no_bids: str
    last_from_venue: LastFrame | None


@attrs.frozen
class _Gap:
    frame_no: int
    """The first since the snapshot."""
    cause: str
    """Of the last."""


@attrs.frozen
class _Change:
    side: Side
    price: Price
    delta: Count


@attrs.frozen
class _Tail:
    deltas_since: int
    last: LastFrame | None


def _base(row: Sequence[Any]) -> _Base:
    ticker, frame_no, received_ns, sid, clock, yes_bids, no_bids, *venue = row
    return _Base(ticker, frame_no, received_ns, sid, clock, yes_bids, no_bids, _last(venue))


def _last(row: Sequence[Any]) -> LastFrame | None:
    return None if row[0] is None else LastFrame(*row)


def _until(gap: _Gap | None, frame: int) -> int:
    """Return the last frame that the levels may contain: what came at or behind a gap changed a book nobody knew."""
    return frame if gap is None else gap.frame_no - 1


def _cause(gap: _Gap | None, removed: Place | None, capture: StoredCapture, base: _Base, frame: int) -> str | None:
    if gap is not None:
        return gap.cause
    if removed is not None and removed.frame_no <= frame:
        return NOT_SUBSCRIBED
    if capture.sample_rate > 1 and frame > base.frame_no:
        return sampled_cause(capture.sample_rate)
    return None


def _book(base: _Base, changes: Sequence[_Change], tail: _Tail, cause: str | None) -> StoredBook:
    levels: Mapping[str, dict[Price, Count]] = {
        "yes": dict(levels_from_json(base.yes_bids)),
        "no": dict(levels_from_json(base.no_bids)),
    }
    is_missing = cause not in (None, NOT_SUBSCRIBED)
    for change in changes:
        size = levels[change.side].get(change.price, 0) + change.delta
        levels[change.side][change.price] = size
        if size < 0 and cause is None:
            cause = f"the stored deltas lead to {size} (1/100 contract) at {change.side} {change.price}"
    vouched = base.last_from_venue or base
    heard = [last for last in (base.last_from_venue, tail.last) if last is not None]
    return StoredBook(
        market_ticker=base.market_ticker,
        sid=base.sid,
        yes_bids=_best_first(levels["yes"]),
        no_bids=_best_first(levels["no"]),
        cause=cause,
        is_missing=is_missing,
        base_clock=base.clock,
        deltas_since=tail.deltas_since,
        snapshot_ns=base.received_ns,
        # A checkpoint without anything before it: retention has dropped that.
        last=max(
            heard, key=lambda last: last.frame_no, default=LastFrame(base.frame_no, base.received_ns, *[None] * 3)
        ),
        vouched=Place(vouched.frame_no, vouched.received_ns),
    )


def _best_first(levels: Mapping[Price, Any]) -> Levels:
    return tuple(sorted(((price, size) for price, size in levels.items() if size > 0), reverse=True))
