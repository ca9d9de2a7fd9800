"""What snapshots and deltas do to the books, and when a book is stored whole."""

import attrs

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.messages import DeltaBody, OrderbookDelta, OrderbookSnapshot
from rlflow.kalshi.notices import BookValid
from rlflow.orderbook import ImpossibleSizeError
from rlflow.session.markets import Markets
from rlflow.session.reading import event_ms, read_book, read_change
from rlflow.session.recorder import Place, Recorder
from rlflow.session.records import Opened
from rlflow.session.rows import Action, CrossedState, DeltaRow, Origin, SnapshotRow
from rlflow.session.sequence import ORDERBOOK, Subscription
from rlflow.session.tracked import TrackedBook
from rlflow.units import Count, Nanos, Price, complement

CROSSED = "crossed"
CONTRADICTED = "the venue's book was another"
IMPOSSIBLE_SIZE = "impossible size"


@attrs.frozen
class Limits:
    """When a book is stored whole, and how long it may stay crossed."""

    checkpoint_deltas: int = 5_000
    """So many deltas after its last stored snapshot: bounds the work of rebuilding a moment."""
    checkpoint_ns: Nanos = 30 * 60 * 10**9
    """Or at its first delta so long after: bounds how far back to look for a snapshot."""
    crossed_ns: Nanos = 250 * 10**6
    """Recorded streams were crossed for at most 12 ms of receive time within one action (2026-05)."""


class Books:
    """Carries out data frames that are next in their subscription."""

    def __init__(self, markets: Markets, record: Recorder, limits: Limits) -> None:
        self._markets = markets
        self._record = record
        self._limits = limits
        self._use_yes_price = False
        self._sample_rate = 1

    def open(self, opened: Opened) -> None:
        """Read prices, and keep deltas, as the capture's opening record says."""
        self._use_yes_price = opened.use_yes_price
        self._sample_rate = opened.sample_rate

    def take_snapshot(self, subscription: Subscription, message: OrderbookSnapshot) -> None:
        """Replace a book; from here on it is valid, and this subscription's.

        A valid one that was asked for must be as it is here already. By its clock the venue puts an answer behind every
        change that it includes (protocol 4.4): where the book differs, changes are missing though no `seq` was.
        """
        body, record, markets = message.msg, self._record, self._markets
        if subscription.channel != ORDERBOOK:
            raise FrameRejectedError(f"a snapshot on channel {subscription.channel}")
        book = read_book(body.yes_dollars_fp, body.no_dollars_fp, use_yes_price=self._use_yes_price)
        ticker = body.market_ticker
        tracked = markets.follow(subscription, ticker)
        if not (tracked.is_valid and tracked.sid == subscription.sid):
            record.notices.append(BookValid(subscription.sid, ticker))
        elif message.id is not None and tracked.is_settled and not tracked.book.equals(book):
            # Without being asked, the venue sends an empty book when a market closes.
            record.gap(ORDERBOOK, ticker, tracked.sid, CONTRADICTED, since=_last_right(tracked, body.clock))
        markets.take_over(tracked, subscription)
        tracked.touch(record.frame_no, record.received_ns, message.seq, message.sending_ts_ms, body.clock)
        tracked.vouch(record.frame_no, record.received_ns)
        tracked.stand_on(book, body.clock, record.received_ns)
        markets.invalid.pop(ticker, None)
        markets.crossed.pop(ticker, None)
        markets.changed.add(ticker)
        record.rows.snapshots.append(self._whole(tracked, "venue", message.sending_ts_ms, body.clock))
        markets.end_gaps(ticker)
        if book.is_crossed:
            self._begin_crossing(tracked, body.clock)
        record.rows.counts.stored += 1

    def take_delta(self, subscription: Subscription, message: OrderbookDelta, frame: bytes) -> None:
        """Store a change and, if its book is valid, make it."""
        body, record = message.msg, self._record
        ticker, side, clock, frame_no = body.market_ticker, body.side, body.clock, record.frame_no
        tracked = subscription.books.get(ticker) or self._markets.adopt(subscription, ticker)
        if tracked is None:
            record.reject(frame, "a delta of a market that another subscription brings")
            return
        price, delta = read_change(body)
        if self._use_yes_price and side == "no":
            price = complement(price)
        timestamp_ms = body.ts_ms if body.ts_ms is not None else event_ms(body.ts)
        sizes = None
        if tracked.cause is None:
            sizes = self._change(tracked, body, price, delta, timestamp_ms if clock is None else clock)
            tracked.deltas_since += 1
            tracked.touch(frame_no, record.received_ns, message.seq, timestamp_ms, clock)
            self._markets.changed.add(ticker)
        if frame_no % self._sample_rate:
            record.rows.counts.sampled_out += 1
            return
        old, new = sizes or (None, None)
        # By position: naming fourteen fields takes twice as long, and this is the hot path.
        row = DeltaRow(
            ticker,
            frame_no,
            record.received_ns,
            message.sending_ts_ms,
            subscription.sid,
            message.seq,
            clock,
            timestamp_ms,
            side,
            price,
            delta,
            None if new is None else _action(delta, new),
            old,
            new,
        )
        record.rows.deltas.append(row)
        if sizes is not None and self._is_checkpoint_due(tracked):
            record.rows.snapshots.append(self._checkpoint(tracked, message.sending_ts_ms))
        record.rows.counts.stored += 1

    def _change(
        self, tracked: TrackedBook, body: DeltaBody, price: Price, delta: Count, group: int | None
    ) -> tuple[Count, Count] | None:
        """Change a valid book and return the level's (old, new) size.

        None if nothing was changed: the snapshot below includes it already, or the book turned out to be wrong.
        """
        if tracked.base_clock is not None and body.clock is not None and body.clock <= tracked.base_clock:
            return None
        crossing = tracked.crossing
        # Without clock and time, every delta is an action of its own.
        if crossing is not None and (group is None or group != crossing.group):
            self._distrust_crossed(tracked, crossing)
            return None
        try:
            sizes = tracked.book.apply(body.side, price, delta)
        except ImpossibleSizeError:
            self._markets.distrust(tracked, IMPOSSIBLE_SIZE)
            return None
        # Only a new level can cross a book that was not crossed.
        if crossing is None:
            if not sizes[0] and tracked.book.is_crossed:
                self._begin_crossing(tracked, group)
        elif not tracked.book.is_crossed:
            tracked.crossing = None
            del self._markets.crossed[tracked.market_ticker]
        return sizes

    # -- crossing ---------------------------------------------------------------------------------------------------

    def judge_crossed(self) -> None:
        """Stop trusting every book that is crossed for too long at the frame at hand."""
        latest = self._record.received_ns - self._limits.crossed_ns
        for tracked in tuple(self._markets.crossed.values()):
            crossing = tracked.crossing
            assert crossing is not None
            if crossing.since_ns < latest:
                self._distrust_crossed(tracked, crossing)

    def _begin_crossing(self, tracked: TrackedBook, group: int | None) -> None:
        record = self._record
        tracked.crossing = CrossedState(tracked.market_ticker, group, record.received_ns, record.frame_no)
        self._markets.crossed[tracked.market_ticker] = tracked

    def _distrust_crossed(self, tracked: TrackedBook, crossing: CrossedState) -> None:
        self._markets.distrust(tracked, CROSSED, Place(crossing.since_frame - 1, crossing.since_ns))

    # -- storing whole books ----------------------------------------------------------------------------------------

    def checkpoint_all(self) -> list[SnapshotRow]:
        """Return every valid book as a checkpoint at the frame at hand, and let the books stand on them."""
        return [self._checkpoint(tracked, None) for tracked in self._markets.tracked.values() if tracked.is_valid]

    def _is_checkpoint_due(self, tracked: TrackedBook) -> bool:
        """Whether a book that was just changed is to be stored whole; never one that is crossed."""
        if tracked.crossing is not None:
            return False
        limits = self._limits
        if tracked.deltas_since >= limits.checkpoint_deltas:
            return True
        return self._record.received_ns - tracked.snapshot_ns >= limits.checkpoint_ns

    def _checkpoint(self, tracked: TrackedBook, sending_ts_ms: int | None) -> SnapshotRow:
        """Return a book's checkpoint; from here on the book stands on it."""
        # No clock: a delta behind a checkpoint is never left out on rebuilding, so it must not be here either.
        tracked.anchor(None, self._record.received_ns)
        return self._whole(tracked, "checkpoint", sending_ts_ms, None)

    def _whole(self, tracked: TrackedBook, origin: Origin, sending_ts_ms: int | None, clock: int | None) -> SnapshotRow:
        sid = tracked.sid
        assert sid is not None
        return SnapshotRow(
            market_ticker=tracked.market_ticker,
            frame_no=self._record.frame_no,
            received_ns=self._record.received_ns,
            sending_ts_ms=sending_ts_ms,
            sid=sid,
            sequence_number=tracked.last_seq,
            clock=clock,
            origin=origin,
            yes_bids=tracked.book.bids("yes"),
            no_bids=tracked.book.bids("no"),
        )


def _last_right(tracked: TrackedBook, clock: int | None) -> Place:
    """Return the last place at which a book was right that the venue says to be another at a clock.

    If the venue has gone on since the last frame about the book, what came afterwards is missing. Otherwise nothing is
    missing behind that frame: the book was wrong there already, and nobody knows since when.
    """
    if clock is not None and tracked.last_clock is not None and clock > tracked.last_clock:
        return Place(tracked.last_frame_no, tracked.last_received_ns)
    return Place(tracked.vouched_frame, tracked.vouched_ns)


def _action(delta: Count, new: Count) -> Action:
    """Return what a change was. A change by zero, which the venue has never sent, counts as a reduction."""
    if delta > 0:
        return "add"
    return "reduce" if new else "remove"
