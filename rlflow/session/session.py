"""One capture's frames, in order, to rows: what each frame is, whether it counts, and what becomes of it."""

import traceback
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import PurePath
from uuid import UUID

from rlflow.errors import FrameRejectedError
from rlflow.kalshi.decode import Decoder
from rlflow.kalshi.messages import Message, OrderbookDelta, OrderbookSnapshot, Other, Trade
from rlflow.kalshi.notices import Heard, Notice
from rlflow.orderbook import BookView
from rlflow.session.books import Books, Limits
from rlflow.session.markets import Markets
from rlflow.session.reading import printable, read_envelope, read_trade
from rlflow.session.recorder import Place, Recorder
from rlflow.session.records import Batch, Closed, Dropped, Kind, Local, Opened, Stale
from rlflow.session.resume import UNRESUMED, restore, state_of
from rlflow.session.rows import ResumePoint, ResumeState, Rows, SnapshotRow
from rlflow.session.sequence import ORDERBOOK, TRADE, Subscription
from rlflow.session.subscriptions import Subscriptions
from rlflow.session.tracked import TrackedBook
from rlflow.units import Nanos

DEFAULT_LIMITS = Limits()
REFUSED = "a frame was refused"


class Session:
    """Turns a capture's batches into rows, and keeps its books. Ends with the capture's closing record.

    The same frames give the same rows, however they are cut into batches of one receive time each, and wherever a
    session was left and another one resumed.
    """

    def __init__(self, capture: UUID, limits: Limits = DEFAULT_LIMITS) -> None:
        self.capture = capture
        self.decoder = Decoder()
        self.upto_frame = -1
        """The last number that was processed; -1: not even the opening record."""
        self._record = Recorder(Rows(capture, -1, -1, 0))
        self._markets = Markets(self._record)
        self._subscriptions = Subscriptions(self._markets, self._record)
        self._books = Books(self._markets, self._record, limits)
        self._is_closed = False
        self._missing: list[TrackedBook] = []
        self._is_unknown = False

    @classmethod
    def resume(cls, point: ResumePoint, limits: Limits = DEFAULT_LIMITS) -> "Session":
        """Return a session that goes on behind `point`.

        Books that ought to be valid but are not among `point.books` (the capture is sampled) are invalid, and the next
        rows begin with their gaps. With an empty `point.state` nothing is known of the capture before: then the next
        rows begin with a gap of each channel.
        """
        session = cls(point.capture, limits)
        session._open(point.opened)
        session.upto_frame = point.committed_frame
        state = point.state
        rows = Rows(point.capture, point.committed_frame, point.committed_frame, state.last_received_ns)
        session._record.begin(rows, point.committed_frame)
        session._missing = restore(state, point.books, session._markets)
        session._is_unknown = state.last_received_ns == 0
        return session

    # -- feeding ----------------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> Rows:
        """Return what a batch becomes; numbers that were processed already are skipped.

        Raises:
            ValueError: the batch is of another capture, leaves numbers out, or comes after the closing record. Bad
                frames raise nothing: they are rows too.
        """
        self._check(batch)
        if batch.kind is Kind.DROPPED and batch.last_frame_no > self.upto_frame:
            return self._take_dropped(batch)
        fresh = batch.frames[self.upto_frame + 1 - batch.first_frame_no :]
        received_ns = batch.received_ns if fresh else self._record.received_ns
        rows = Rows(self.capture, self.upto_frame, self.upto_frame, received_ns, start=batch.start, end=batch.end)
        self._record.begin(rows, self.upto_frame + 1 if fresh else self.upto_frame)
        if fresh:
            self._settle_before()
            if batch.kind is Kind.FRAMES:
                self._take_frames(fresh)
            else:
                self._take_local(batch.local())
            self.upto_frame = rows.upto_frame = batch.last_frame_no
        rows.resume = self.resume_state()
        return rows

    def lose(self, upto_frame: int, received_ns: Nanos, cause: str) -> Rows:
        """Return rows that say: the frames up to this number were received, but nobody has them any more.

        Every book is invalid until its next snapshot, and any `seq` is accepted next. The frames count as dropped.

        Raises:
            ValueError: the number was processed already.
        """
        if upto_frame <= self.upto_frame:
            raise ValueError(f"frame {upto_frame} cannot be lost: frame {self.upto_frame} is processed")
        since = Place(self.upto_frame, self._record.received_ns or received_ns)
        rows = Rows(self.capture, self.upto_frame, upto_frame, received_ns)
        # The gap is noticed at the first of them: at none of them is a book known.
        self._record.begin(rows, self.upto_frame + 1)
        self._subscriptions.lose_frames(since, cause)
        self._record.frame_no = upto_frame
        self._missing, self._is_unknown = [], False
        rows.counts.dropped = upto_frame - self.upto_frame
        self.upto_frame = upto_frame
        rows.resume = self.resume_state()
        return rows

    def _take_dropped(self, batch: Batch) -> Rows:
        record = batch.local()
        assert isinstance(record, Dropped)
        rows = self.lose(batch.last_frame_no, batch.received_ns, printable(record.cause))
        rows.start, rows.end = batch.start, batch.end
        return rows

    def _check(self, batch: Batch) -> None:
        if batch.capture != self.capture:
            raise ValueError(f"a batch of capture {batch.capture} in the session of {self.capture}")
        if self._is_closed and batch.last_frame_no > self.upto_frame:
            raise ValueError(f"frame {batch.last_frame_no} after the capture was closed by {self.upto_frame}")
        if batch.after_frame > self.upto_frame:
            raise ValueError(f"frame {batch.after_frame + 1} where {self.upto_frame + 1} should follow")
        if (batch.kind is Kind.OPENED) != (batch.first_frame_no == 0):
            raise ValueError(
                f"{batch.kind.name} has number {batch.first_frame_no}; only the opening record is number 0"
            )

    def _settle_before(self) -> None:
        """Write what the time that has passed, or a resume, means for the books."""
        since = Place(self.upto_frame, self._record.previous.received_ns)
        for tracked in self._missing:
            self._markets.distrust(tracked, UNRESUMED, since)
        if self._is_unknown:
            self._subscriptions.lose_frames(Place(self.upto_frame, self._record.received_ns), UNRESUMED)
        self._missing, self._is_unknown = [], False
        if self._markets.crossed:
            self._books.judge_crossed()

    # -- local records ----------------------------------------------------------------------------------------------

    def _take_local(self, record: Local) -> None:
        match record:
            case Opened():
                self._open(record)
                self._record.rows.opened = record
            case Stale():
                self._markets.distrust_stale(record.tickers, printable(record.cause))
            case Closed():
                self._record.rows.closed = record
                self._is_closed = True
                if not record.is_complete:
                    self._subscriptions.close(printable(record.cause))
                # Nobody is left to answer.
                self._record.notices.clear()

    def _open(self, opened: Opened) -> None:
        self.decoder = Decoder(legacy=opened.legacy)
        self._subscriptions.is_sparse = opened.sparse_seq
        self._books.open(opened)

    # -- frames -----------------------------------------------------------------------------------------------------

    def _take_frames(self, frames: Sequence[bytes]) -> None:
        record, decode = self._record, self.decoder.decode
        for number, frame in enumerate(frames, record.frame_no):
            record.frame_no = number
            message = None
            try:
                message = decode(frame)
                self._take(message, frame)
            except FrameRejectedError as refusal:
                self._refuse(message, frame, refusal.reason)
            except Exception as error:  # noqa: BLE001
                # A bug of ours in reading one frame must not stop the recording of all others: the frame would come
                # back from the journal at every start. It is kept verbatim, and its subscription has a gap.
                self._refuse(message, frame, printable(f"{type(error).__name__}: {error}"), _digest(error))

    def _take(self, message: Message, frame: bytes) -> None:
        record, subscriptions = self._record, self._subscriptions
        if isinstance(message, OrderbookDelta):
            subscription = subscriptions.by_sid.get(message.sid)
            if subscription is not None and subscription.expected_seq == message.seq:
                # All that `admit` would come to for nearly every frame.
                subscription.accept(message.seq, frame, record.frame_no, record.received_ns)
            else:
                subscription = subscriptions.admit(message.sid, message.seq, frame, ORDERBOOK, is_snapshot=False)
            if subscription is not None:
                self._books.take_delta(subscription, message, frame)
        elif isinstance(message, Trade):
            subscription = subscriptions.admit(message.sid, message.seq, frame, TRADE, is_snapshot=False)
            if subscription is not None:
                self._take_trade(subscription, message)
        elif isinstance(message, Other):
            if subscriptions.take_place(message.sid, message.seq, frame):
                record.rows.counts.unknown += 1
        elif isinstance(message, OrderbookSnapshot):
            record.notices.append(Heard(message))
            subscription = subscriptions.admit(message.sid, message.seq, frame, ORDERBOOK, is_snapshot=True)
            if subscription is not None:
                self._books.take_snapshot(subscription, message)
        else:
            record.notices.append(Heard(message))
            subscriptions.take_control(message, frame)

    def _take_trade(self, subscription: Subscription, message: Trade) -> None:
        if subscription.channel != TRADE:
            raise FrameRejectedError(f"a trade on channel {subscription.channel}")
        record = self._record
        trade = read_trade(message, record.frame_no, record.received_ns)
        tracked = self._markets.tracked.get(trade.market_ticker)
        if tracked is not None and not trade.is_block_trade:
            tracked.last_trade_ns = record.received_ns
        record.rows.trades.append(trade)
        record.rows.counts.stored += 1

    def _refuse(self, message: Message | None, frame: bytes, reason: str, digest: str | None = None) -> None:
        """Keep a frame that could not be accepted; of its subscription, something is missing now.

        Args:
            message: What was read of it, None if it could not be decoded and is not judged yet.
            frame: Its bytes.
            reason: Why.
            digest: Of the traceback, if our code failed.
        """
        self._record.take_back()
        envelope = read_envelope(frame)
        seq = envelope.seq if message is None else None
        if self._subscriptions.lose_frame(envelope.sid, seq, frame, REFUSED):
            self._record.reject(frame, reason, digest)

    # -- what it knows ----------------------------------------------------------------------------------------------

    @property
    def books(self) -> Mapping[str, TrackedBook]:
        """Every market that the venue has named and not removed, by ticker, whether its book is valid or not."""
        return self._markets.tracked

    def view(self, ticker: str) -> BookView:
        """Return a market's book as it is now; KeyError if the market is not in `books`. O(levels)."""
        return self._markets.tracked[ticker].view(self.capture)

    def take_changed(self) -> set[str]:
        """Return the markets whose book, validity or presence in `books` has changed since the last call."""
        changed, self._markets.changed = self._markets.changed, set()
        return changed

    def take_notices(self) -> list[Notice]:
        """Return what the last `feed` had to say to the commander, in order; empty on the second call."""
        notices, self._record.notices = self._record.notices, []
        return notices

    def resume_state(self) -> ResumeState:
        """Return what another session needs to go on from here, besides the valid books."""
        return state_of(self._markets, self._record.received_ns)

    def checkpoint_all(self) -> list[SnapshotRow]:
        """Return a checkpoint of every valid book at the last number, and let the books stand on them.

        For use after rows were lost on their way to the store: with these, the store is level with the books again.
        """
        return self._books.checkpoint_all()


def _digest(error: Exception) -> str:
    """Return blake2b-64 of where an exception came from: equal for equal failures, wherever rlflow is installed."""
    places = [f"{PurePath(at.filename).name}:{at.lineno}:{at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return blake2b("\n".join([type(error).__name__, *places]).encode(), digest_size=8).hexdigest()
