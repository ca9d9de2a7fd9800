"""One subscription of a capture, and whether a frame is the next one of it."""

import enum
from hashlib import blake2b
from typing import Final

import attrs

from rlflow.session.recorder import Place
from rlflow.session.rows import SidState
from rlflow.session.tracked import TrackedBook
from rlflow.units import Nanos

ORDERBOOK: Final = "orderbook_delta"
TRADE: Final = "trade"
STORED: Final = frozenset({ORDERBOOK, TRADE})
"""Channels of which we keep data, and whose losses therefore are gaps."""
MAX_LOWER_IN_A_ROW: Final = 3
"""After so many frames out of order the subscription is not trusted any more (protocol 4.3)."""


class Verdict(enum.Enum):
    """How a frame's `seq` follows on what its subscription had before."""

    NEXT = enum.auto()
    GAP = enum.auto()
    """Higher than the next: frames were lost."""
    RESTARTED = enum.auto()
    """The venue began the subscription anew."""
    DUPLICATE = enum.auto()
    OUT_OF_ORDER = enum.auto()

    @property
    def is_loss(self) -> bool:
        """Whether frames before this one are missing."""
        return self is Verdict.GAP or self is Verdict.RESTARTED

    @property
    def is_accepted(self) -> bool:
        """Whether the frame's content counts."""
        return self is Verdict.NEXT or self.is_loss


@attrs.define(eq=False)
class Subscription:
    """One sid: its channel, where its counter stands, and its markets."""

    sid: int
    channel: str
    expected_seq: int | None = None
    """The next frame's `seq`; None: any is accepted as the first, or the subscription is dead."""
    lower_in_a_row: int = 0
    is_dead: bool = False
    is_announced: bool = False
    """Whether the venue has said that it exists; its data may come before that."""
    books: dict[str, TrackedBook] = attrs.Factory(dict)
    """The books of every market of the sid; empty on channels without books."""
    last_frame_no: int = 0
    last_received_ns: Nanos = 0
    last_frame: bytes | None = None
    """The frame that had the last `seq`; None after a resume, when only its digest is known."""
    last_digest: str = ""
    tickers: tuple[str, ...] | None = None
    """The keys of `books`, kept because the state is made for every batch; None: not made yet."""

    @property
    def last_heard(self) -> Place | None:
        """The last frame of it that counted, or its announcement: behind it, something may be missing.

        None: it was resumed from a state of an older version, which does not say.
        """
        return Place(self.last_frame_no, self.last_received_ns) if self.last_frame_no else None

    @property
    def last_seq(self) -> int | None:
        """The last accepted `seq`."""
        return None if self.expected_seq is None else self.expected_seq - 1

    def judge(self, seq: int, frame: bytes, *, is_snapshot: bool, is_sparse: bool) -> Verdict:
        """Return how a frame follows, by design 5.11 and protocol 4.3; changes nothing.

        With `is_sparse`, other markets' frames were left out of the recording: a hole is no gap, any fall is a restart.
        """
        if self.expected_seq is None or seq == self.expected_seq:
            return Verdict.NEXT
        if seq > self.expected_seq:
            return Verdict.NEXT if is_sparse else Verdict.GAP
        if seq == self.last_seq and self._is_last(frame):
            return Verdict.DUPLICATE
        if is_snapshot or seq == 1 or (is_sparse and seq != self.last_seq):
            return Verdict.RESTARTED
        return Verdict.OUT_OF_ORDER

    def accept(self, seq: int, frame: bytes, frame_no: int, received_ns: Nanos) -> None:
        """Go on behind this frame."""
        self.expected_seq = seq + 1
        self.lower_in_a_row = 0
        self.last_frame = frame
        self.last_frame_no = frame_no
        self.last_received_ns = received_ns

    def hear(self, frame_no: int, received_ns: Nanos) -> None:
        """Note that this frame is about the subscription, though it takes no place in its sequence."""
        self.last_frame_no, self.last_received_ns = frame_no, received_ns

    def refuse_lower(self) -> bool:
        """Count a frame out of order; return whether it was one too many, and then count from the start again."""
        self.lower_in_a_row = (self.lower_in_a_row + 1) % MAX_LOWER_IN_A_ROW
        return self.lower_in_a_row == 0

    def begin_anew(self) -> None:
        """Accept whatever `seq` comes next as the first."""
        self.is_dead = False
        self._forget_sequence()

    def die(self) -> None:
        """End the subscription: the venue sends nothing on it any more."""
        self.is_dead = True
        self._forget_sequence()

    def _forget_sequence(self) -> None:
        self.expected_seq = None
        self.lower_in_a_row = 0
        self.last_frame, self.last_digest = None, ""

    def add(self, tracked: TrackedBook) -> None:
        """Make a market one of this subscription's; the caller takes it off any other."""
        self.books[tracked.market_ticker] = tracked
        self.tickers = None

    def discard(self, ticker: str) -> None:
        """Let a market go."""
        if self.books.pop(ticker, None) is not None:
            self.tickers = None

    def state(self) -> SidState:
        """Return all that going on with the subscription needs besides its books."""
        if self.tickers is None:
            self.tickers = tuple(self.books)
        return SidState(
            sid=self.sid,
            channel=self.channel,
            last_seq=self.last_seq,
            last_digest=self.last_digest if self.last_frame is None else digest_of(self.last_frame),
            lower_in_a_row=self.lower_in_a_row,
            is_dead=self.is_dead,
            tickers=self.tickers,
            last_frame_no=self.last_frame_no,
            last_received_ns=self.last_received_ns,
            is_announced=self.is_announced,
        )

    @classmethod
    def from_state(cls, state: SidState) -> "Subscription":
        """Return the subscription as it was, still without its books."""
        return cls(
            sid=state.sid,
            channel=state.channel,
            expected_seq=None if state.last_seq is None else state.last_seq + 1,
            lower_in_a_row=state.lower_in_a_row,
            is_dead=state.is_dead,
            is_announced=state.is_announced,
            last_frame_no=state.last_frame_no,
            last_received_ns=state.last_received_ns,
            last_digest=state.last_digest,
        )

    def _is_last(self, frame: bytes) -> bool:
        if self.last_frame is not None:
            return frame == self.last_frame
        return digest_of(frame) == self.last_digest


def digest_of(frame: bytes) -> str:
    """Return blake2b-64 of a frame, as hexadecimal digits."""
    return blake2b(frame, digest_size=8).hexdigest()
