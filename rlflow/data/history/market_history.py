"""What the tables know of one market in which captures, before any row of it is replayed."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from rlflow.data.history.coverage import Stretch, stretches
from rlflow.data.history.sampling import Sampling
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection
from rlflow.data.store.removals import removals
from rlflow.session.recorder import Place
from rlflow.session.rows import GapRow
from rlflow.session.sequence import ORDERBOOK, TRADE
from rlflow.units import Nanos

# A subscription to trades follows within this after the connection; only then a capture vouches for another's trades.
_SUBSCRIBED_WITHIN_NS: Nanos = 10 * 10**9

_SNAPSHOTS = b"""
    SELECT capture, frame_no, received_ns FROM rl_orderbook_snapshots
    WHERE market_ticker = %(market)s AND received_ns < %(end_ns)s AND capture = ANY(%(keys)s)
    ORDER BY capture, frame_no"""

_GAPS = b"""
    SELECT capture, channel, market_ticker, sid, frame_no, received_ns, from_frame, from_ns, to_ns, cause,
           expected_seq, received_seq, filled_ns IS NOT NULL
    FROM rl_feed_gaps
    WHERE (market_ticker = %(market)s OR market_ticker IS NULL) AND capture = ANY(%(keys)s)
    ORDER BY capture, frame_no, id"""

_WITH_TRADES = b"""
    SELECT capture FROM rl_captures
    WHERE capture = ANY(%(keys)s) AND resume_state -> 'sids' @> '[{"channel": "trade"}]'"""


@attrs.frozen
class MarketHistory:
    """Which captures know a market, and when."""

    records: Mapping[int, CaptureRecord]
    """The captures in question, by key."""
    stretches: tuple[Stretch, ...]
    """Where the market's book is known."""
    trade_gaps: Mapping[int, tuple[GapRow, ...]]
    """By capture, what is missing of the trades and was not fetched since."""
    with_trades: frozenset[int]
    """The captures that were subscribed to trades."""
    sampled: Mapping[int, Sampling]
    """The captures that are sampled."""

    def has_trades_elsewhere(self, key: int, gap: GapRow) -> bool:
        """Return whether all trades that are missing in a gap of this capture were fetched, or heard by another one."""
        if gap not in self.trade_gaps.get(key, ()):
            return True
        until_ns = self.records[key].last_received_ns if gap.to_ns is None else gap.to_ns
        return any(self._vouches(other, gap.from_ns, until_ns) for other in self.with_trades - {key})

    def _vouches(self, key: int, from_ns: Nanos, until_ns: Nanos) -> bool:
        """Return whether a capture had the market, and so its trades, all that time."""
        has_market = any(
            stretch.key == key and stretch.begin.received_ns <= from_ns and until_ns <= stretch.end.received_ns
            for stretch in self.stretches
        )
        if not has_market or self.records[key].opened_ns + _SUBSCRIBED_WITHIN_NS > from_ns:
            return False
        return not any(
            lost.from_ns < until_ns and (lost.to_ns is None or from_ns < lost.to_ns)
            for lost in self.trade_gaps.get(key, ())
        )


def read_market(
    connection: Connection, captures: Iterable[CaptureRecord], market: str, start_ns: Nanos, end_ns: Nanos
) -> MarketHistory:
    """Return what is known of a market in captures that heard something in [start_ns, end_ns)."""
    records = {
        record.key: record
        for record in captures
        if record.opened_ns < end_ns and record.last_received_ns >= start_ns and record.rows_from_ns is not None
    }
    where = {"market": market, "keys": list(records), "end_ns": end_ns}

    def by_capture(query: bytes) -> defaultdict[int, list[tuple[Any, ...]]]:
        found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for key, *fields in connection.execute(query, where, binary=True):
            found[key].append(tuple(fields))
        return found

    # What was fetched is not missing any more.
    gaps = {
        key: [GapRow(*fields) for *fields, is_filled in rows if not is_filled]
        for key, rows in by_capture(_GAPS).items()
    }
    snapshots = {key: [Place(*fields) for fields in rows] for key, rows in by_capture(_SNAPSHOTS).items()}
    sampled = {
        key: Sampling(market, records[key].opened.sample_rate, places)
        for key, places in snapshots.items()
        if records[key].opened.sample_rate > 1
    }
    removed = {key: place for (key, _), place in removals(connection, records, [market]).items()}
    return MarketHistory(
        records=records,
        stretches=tuple(_stretches(records, snapshots, gaps, removed, sampled)),
        trade_gaps={key: tuple(gap for gap in rows if gap.channel == TRADE) for key, rows in gaps.items()},
        with_trades=frozenset(by_capture(_WITH_TRADES)),
        sampled=sampled,
    )


def _stretches(
    records: Mapping[int, CaptureRecord],
    snapshots: Mapping[int, list[Place]],
    gaps: Mapping[int, list[GapRow]],
    removed: Mapping[int, Place],
    sampled: Mapping[int, Sampling],
) -> Iterator[Stretch]:
    for key, places in snapshots.items():
        record = records[key]
        lost = [gap for gap in gaps.get(key, ()) if gap.channel == ORDERBOOK]
        lost += map(sampled[key].gap_behind, places) if key in sampled else ()
        end = removed.get(key, Place(record.committed_frame, record.last_received_ns))
        yield from stretches(key, record.opened_ns, places, lost, end)
