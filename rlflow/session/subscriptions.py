"""The subscriptions of a capture: which frames count, and what control frames do."""

from rlflow.kalshi.lifecycle import LIFECYCLE, Lifecycle
from rlflow.kalshi.messages import Control, Error, Ok, Subscribed, Unsubscribed
from rlflow.kalshi.notices import OUT_OF_ORDER
from rlflow.session.markets import Markets
from rlflow.session.recorder import Place, Recorder
from rlflow.session.sequence import ORDERBOOK, STORED, TRADE, Subscription, Verdict

SEQUENCE_GAP = "sequence gap"
RESTARTED = "the subscription restarted"

# Channel failure, retired internal error (old recordings), outbound buffer overflow (protocol 3.5).
TERMINAL_ERRORS = frozenset({10, 17, 25})


class Subscriptions:
    """Judges the frames of every sid, and carries out control frames."""

    def __init__(self, markets: Markets, record: Recorder) -> None:
        self.by_sid = markets.subscriptions
        self.is_sparse = False
        """Whether other markets shared the sids but not the recording."""
        self._markets = markets
        self._record = record

    def living(self) -> list[Subscription]:
        """Return the subscriptions on which the venue still sends."""
        return [subscription for subscription in self.by_sid.values() if not subscription.is_dead]

    def admit(self, sid: int, seq: int, frame: bytes, channel: str, *, is_snapshot: bool) -> Subscription | None:
        """Return the subscription of a data frame that counts; None if the frame was dropped, and counted as such.

        Data on an unknown sid announces it: what came before cannot be judged. Data on a dead one was on its way when
        it ended, and nothing will follow it: a snapshot would make a book valid that nobody keeps so. Only in a sparse
        recording, where announcements may be left out, it shows the subscription to be alive.
        """
        subscription = self.by_sid.get(sid)
        if subscription is None:
            subscription = self._open(sid, channel)
        elif subscription.is_dead:
            if not (is_snapshot and self.is_sparse):
                self._record.reject(frame, f"its subscription {sid} has ended")
                return None
            subscription.begin_anew()
        verdict = self._judge(subscription, seq, frame, is_snapshot=is_snapshot)
        return subscription if verdict.is_accepted else None

    def lose_frame(self, sid: int | None, seq: int | None, frame: bytes, cause: str) -> bool:
        """Note that a frame's content is lost; return False if it would not have counted anyway, and was counted so.

        Args:
            sid: Its subscription, None if that cannot be read.
            seq: Its place, None if it cannot be read or was judged already.
            frame: Its bytes.
            cause: Why, for the gap.
        """
        subscription = None if sid is None else self.by_sid.get(sid)
        if subscription is None or subscription.is_dead:
            return True
        if seq is not None:
            verdict = self._judge(subscription, seq, frame, is_snapshot=False)
            if not verdict.is_accepted:
                return False
            if verdict.is_loss:
                return True
        self._markets.lose(subscription, cause)
        return True

    def lose_frames(self, since: Place, cause: str) -> None:
        """Note that frames are lost of which nothing is known, not even how many of which subscription."""
        living = self.living()
        for subscription in living:
            self._markets.lose(subscription, cause, since=since)
            subscription.begin_anew()
        for channel in sorted(STORED - {subscription.channel for subscription in living}):
            self._record.gap(channel, None, None, cause, since=since, is_over=True)

    def close(self, cause: str) -> None:
        """Note that the connection broke: everything that was subscribed is missing from here on."""
        for subscription in self.living():
            self._markets.lose(subscription, cause, is_over=False)

    # -- control frames ---------------------------------------------------------------------------------------------

    def take_control(self, message: Control | Lifecycle, frame: bytes) -> None:
        """Carry out what the venue says about its subscriptions, and let its other announcements take their place."""
        if isinstance(message, Subscribed):
            self._announce(message, frame)
        elif not self._carry_out(message, frame):
            return
        self._record.rows.counts.control += 1

    def take_place(self, sid: int | None, seq: int | None, frame: bytes) -> bool:
        """Let a frame without content for us take its place in the sequence; return False if it was dropped."""
        subscription = None if sid is None else self.by_sid.get(sid)
        if subscription is None or subscription.is_dead or seq is None:
            return True
        return self._judge(subscription, seq, frame, is_snapshot=False).is_accepted

    def _carry_out(self, message: Ok | Unsubscribed | Error | Lifecycle, frame: bytes) -> bool:
        if isinstance(message, Lifecycle) and message.sid is not None and message.sid not in self.by_sid:
            self._open(message.sid, LIFECYCLE)
        if not self.take_place(message.sid, message.seq, frame):
            return False
        subscription = None if message.sid is None else self.by_sid.get(message.sid)
        if subscription is None:
            return True
        match message:
            case Ok():
                tickers = message.market_tickers()
                if tickers is not None and subscription.channel == ORDERBOOK and not subscription.is_dead:
                    self._markets.hold_exactly(subscription, tickers)
            case Unsubscribed():
                self._end(subscription)
            case Error():
                if message.msg.code in TERMINAL_ERRORS and not subscription.is_dead:
                    # What others sent since shows nothing: the venue drops what it queued for this one alone.
                    since = subscription.last_heard
                    self._markets.lose(subscription, f"error {message.msg.code}", since=since, is_over=False)
                    subscription.die()
        return True

    def _announce(self, message: Subscribed, frame: bytes) -> None:
        """Open a subscription, unless its data has, or begin one anew whose sid the venue uses again."""
        subscription = self.by_sid.get(message.msg.sid)
        if subscription is None:
            subscription = self._open(message.msg.sid, message.msg.channel)
        elif subscription.is_dead:
            self._reopen(subscription)
        elif not subscription.is_announced and message.seq is None:
            # Its data came first (protocol 10, question 4); what went on before goes on.
            subscription.is_announced = True
            return
        elif subscription.expected_seq is not None:
            self._markets.lose(subscription, RESTARTED, since=subscription.last_heard)
        subscription.begin_anew()
        subscription.hear(self._record.frame_no, self._record.received_ns)
        subscription.is_announced = True
        if message.seq is not None:
            subscription.accept(message.seq, frame, self._record.frame_no, self._record.received_ns)

    def _open(self, sid: int, channel: str) -> Subscription:
        subscription = self.by_sid[sid] = Subscription(sid, channel)
        subscription.hear(self._record.frame_no, self._record.received_ns)
        self._reopen(subscription)
        return subscription

    def _reopen(self, subscription: Subscription) -> None:
        """Note that trades go on, if it brings them; books go on one by one, at their snapshots."""
        if subscription.channel == TRADE:
            self._markets.end_removal(TRADE, None, subscription.sid)
            self._markets.end_trade_gaps()

    def _end(self, subscription: Subscription) -> None:
        """Let a subscription go on the venue's word: without a gap, unless its data comes back."""
        if subscription.channel == ORDERBOOK:
            self._markets.hold_exactly(subscription, ())
        elif subscription.channel in STORED and not subscription.is_dead:
            self._markets.begin_removal(subscription.channel, None)
        subscription.die()

    # -- sequence ---------------------------------------------------------------------------------------------------

    def _judge(self, subscription: Subscription, seq: int, frame: bytes, *, is_snapshot: bool) -> Verdict:
        """Judge a frame, write what that means, and go on behind it if it counts."""
        record = self._record
        verdict = subscription.judge(seq, frame, is_snapshot=is_snapshot, is_sparse=self.is_sparse)
        if verdict is Verdict.DUPLICATE:
            record.rows.counts.duplicate += 1
        elif verdict is Verdict.OUT_OF_ORDER:
            self._drop_lower(subscription, seq, frame)
        else:
            if verdict.is_loss:
                cause = SEQUENCE_GAP if verdict is Verdict.GAP else RESTARTED
                self._lose_place(subscription, cause, seq)
            subscription.accept(seq, frame, record.frame_no, record.received_ns)
        return verdict

    def _drop_lower(self, subscription: Subscription, seq: int, frame: bytes) -> None:
        self._record.reject(frame, f"out of order: seq {seq} after {subscription.last_seq}")
        if subscription.refuse_lower():
            self._lose_place(subscription, OUT_OF_ORDER, seq)

    def _lose_place(self, subscription: Subscription, cause: str, seq: int) -> None:
        self._markets.lose(
            subscription,
            cause,
            since=subscription.last_heard,
            # The venue may name 2**63 - 1, behind which nothing fits into the table.
            expected_seq=min(subscription.expected_seq or 0, 2**63 - 1),
            received_seq=seq,
        )
