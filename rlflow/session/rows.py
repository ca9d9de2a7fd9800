"""What a capture becomes: rows for the tables, counts that balance, and the state to go on from.

Plain structs without behaviour, made in the hot path and consumed by the writer thread.
"""

from typing import Any, Literal, TypeAlias
from uuid import UUID

import attrs
import msgspec

from rlflow import orderbook
from rlflow.session.records import Closed, Opened
from rlflow.units import Count, Nanos, Price, Side

Action: TypeAlias = Literal["add", "reduce", "remove"]
Origin: TypeAlias = Literal["venue", "checkpoint"]
Levels: TypeAlias = orderbook.Levels
"""Bids of one side, best (highest price) first."""


class SnapshotRow(msgspec.Struct, frozen=True, gc=False):
    """A whole book, sent by the venue or made by us as a checkpoint."""

    market_ticker: str
    frame_no: int
    received_ns: Nanos
    sending_ts_ms: int | None
    sid: int
    sequence_number: int | None
    clock: int | None
    origin: Origin
    yes_bids: Levels
    no_bids: Levels


class DeltaRow(msgspec.Struct, frozen=True, gc=False):
    """One change of one level. `action`, `old_size`, `new_size` are None while the book is not known."""

    market_ticker: str
    frame_no: int
    received_ns: Nanos
    sending_ts_ms: int | None
    sid: int
    sequence_number: int
    clock: int | None
    timestamp_ms: int | None
    side: Side
    price: Price
    """In NO-leg prices for side no, whatever `use_yes_price` said on the wire."""
    delta: Count
    action: Action | None
    old_size: Count | None
    new_size: Count | None


class TradeRow(msgspec.Struct, frozen=True, gc=False):
    """One trade of the venue."""

    market_ticker: str
    frame_no: int
    received_ns: Nanos
    sending_ts_ms: int | None
    sid: int
    sequence_number: int
    timestamp_ms: int | None
    trade_id: str
    yes_price: Price
    count: Count
    taker_side: Side
    is_block_trade: bool


class GapRow(msgspec.Struct, frozen=True, gc=False):
    """From `from_frame` on (exclusive) this market's data cannot be trusted; ends with the next snapshot.

    `market_ticker` is None on channels without books where the gap ends where it was noticed: every market of the
    subscription. One that stays open names its market and ends with the market's next snapshot on a connection that
    brings trades; it has None only if the capture had no market, and in older stores.
    """

    channel: str
    market_ticker: str | None
    sid: int | None
    frame_no: int
    """The frame at which it was noticed."""
    received_ns: Nanos
    from_frame: int
    """The last frame known to be good."""
    from_ns: Nanos
    to_ns: Nanos | None
    """None: open until a `GapEndRow`."""
    cause: str
    expected_seq: int | None = None
    received_seq: int | None = None


class GapEndRow(msgspec.Struct, frozen=True, gc=False):
    """Ends every open gap of this market (None: of the channel, that names none) that began before `received_ns`."""

    channel: str
    market_ticker: str | None
    frame_no: int
    received_ns: Nanos


class RejectRow(msgspec.Struct, frozen=True, gc=False):
    """A frame that could not be accepted, verbatim."""

    frame_no: int
    received_ns: Nanos
    reason: str
    raw: bytes
    traceback_digest: str | None = None
    """Set when our code failed on it, to find equal failures."""


class Counts(msgspec.Struct, gc=False):
    """What became of frames; every frame is counted in exactly one field, local records in none."""

    stored: int = 0
    """Made at least one row in snapshots, deltas or trades."""
    control: int = 0
    duplicate: int = 0
    unknown: int = 0
    """Of a type that we do not store."""
    rejected: int = 0
    sampled_out: int = 0
    dropped: int = 0
    """Received but lost to storage: journal and database were both unavailable."""

    def add(self, other: "Counts") -> None:
        """Add another's figures to these."""
        for name in COUNT_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def total(self) -> int:
        """Return how many frames are accounted for."""
        return sum(getattr(self, name) for name in COUNT_FIELDS)


COUNT_FIELDS: tuple[str, ...] = Counts.__struct_fields__


class SidState(msgspec.Struct, frozen=True):
    """One subscription, as far as going on with it needs."""

    sid: int
    channel: str
    last_seq: int | None
    last_digest: str
    """blake2b-64 of the last frame that advanced `last_seq`, to know a duplicate."""
    lower_in_a_row: int
    is_dead: bool
    tickers: tuple[str, ...]
    """Every market of the sid, whether its book is valid or not."""
    last_frame_no: int = 0
    """The last frame that was accepted, or announced it; a gap of the sid begins behind it."""
    last_received_ns: Nanos = 0
    is_announced: bool = True


class CrossedState(msgspec.Struct, frozen=True):
    """A book that is crossed inside a group of deltas which may still resolve it."""

    ticker: str
    group: int | None
    since_ns: Nanos
    since_frame: int = 0
    """The frame that crossed it."""


class InvalidState(msgspec.Struct, frozen=True):
    """A book that is not valid, and why."""

    ticker: str
    cause: str


class RemovedState(msgspec.Struct, frozen=True):
    """What was taken out of its subscription: if it comes back, what happened meanwhile is a gap."""

    channel: str
    ticker: str | None
    """None: the whole channel, where it has no books."""
    frame_no: int
    """The frame that said so."""
    received_ns: Nanos


class ResumeState(msgspec.Struct, frozen=True):
    """With the books at the committed frame, all that `Session` needs to go on as if it had never stopped."""

    sids: tuple[SidState, ...] = ()
    crossed: tuple[CrossedState, ...] = ()
    invalid: tuple[InvalidState, ...] = ()
    last_received_ns: Nanos = 0
    """0: nothing is known about the capture."""
    removed: tuple[RemovedState, ...] = ()


class ResumeBook(msgspec.Struct, frozen=True):
    """One book as the tables have it at the committed frame."""

    ticker: str
    yes_bids: Levels
    no_bids: Levels
    base_clock: int | None
    """The clock of the venue's snapshot it stands on; None after a checkpoint."""
    last_clock: int | None
    last_seq: int | None
    deltas_since: int
    """Delta rows since the snapshot it stands on."""
    snapshot_ns: Nanos
    last_frame_no: int
    last_received_ns: Nanos
    last_timestamp_ms: int | None
    vouched_frame: int
    """The last snapshot of the venue."""
    vouched_ns: Nanos


@attrs.frozen
class ResumePoint:
    """Where the database stands in one capture."""

    capture: UUID
    committed_frame: int
    opened: Opened
    state: ResumeState
    books: tuple[ResumeBook, ...]
    """Valid books only. Empty when the capture is sampled: they cannot be rebuilt."""


ROW_LISTS: tuple[str, ...] = ("snapshots", "deltas", "trades", "gaps", "gap_ends", "rejects")


@attrs.define
class Rows:
    """The rows of one capture's frames in (after_frame, upto_frame], to be committed together or not at all."""

    capture: UUID
    after_frame: int
    """The `committed_frame` that these rows go on from; -1: the capture begins here."""
    upto_frame: int
    received_ns: Nanos
    """Receive time of the last frame."""
    opened: Opened | None = None
    closed: Closed | None = None
    snapshots: list[SnapshotRow] = attrs.Factory(list)
    deltas: list[DeltaRow] = attrs.Factory(list)
    trades: list[TradeRow] = attrs.Factory(list)
    gaps: list[GapRow] = attrs.Factory(list)
    gap_ends: list[GapEndRow] = attrs.Factory(list)
    rejects: list[RejectRow] = attrs.Factory(list)
    counts: Counts = attrs.Factory(Counts)
    """What these frames became, not totals."""
    resume: ResumeState = attrs.Factory(ResumeState)
    """The state after `upto_frame`."""
    start: int = -1
    """The journal range the rows were made from; -1: it was not in the journal."""
    end: int = -1
    first_received_ns: Nanos = attrs.Factory(lambda self: self.received_ns, takes_self=True)
    """Receive time of the first frame."""

    def __len__(self) -> int:
        """How many table rows there are."""
        return sum(len(getattr(self, name)) for name in ROW_LISTS)

    def copy(self) -> "Rows":
        """Return rows of the same content whose lists may grow without changing these."""
        lists: dict[str, Any] = {name: list(getattr(self, name)) for name in ROW_LISTS}
        return attrs.evolve(self, counts=msgspec.structs.replace(self.counts), **lists)

    def absorb(self, later: "Rows") -> None:
        """Append the rows of the same capture that follow directly."""
        assert later.capture == self.capture
        assert later.after_frame == self.upto_frame
        for name in ROW_LISTS:
            getattr(self, name).extend(getattr(later, name))
        self.counts.add(later.counts)
        self.closed = later.closed or self.closed
        self.upto_frame, self.received_ns = later.upto_frame, later.received_ns
        self.resume, self.end = later.resume, later.end
