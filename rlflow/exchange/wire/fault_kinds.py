"""What can go wrong on request, and what each of it strikes."""

import enum
from typing import Final

import attrs


class FaultKind(enum.Enum):
    """A kind of fault; `TRAITS` says in a line what it does."""

    # On the way.
    DROP = "drop"
    DUPLICATE = "duplicate"
    SWAP = "swap"
    DELAY = "delay"
    STALL_WRITES = "stall writes"
    STALL_READS = "stall reads"
    MUTE = "mute"
    CLOSE = "close"
    ABORT = "abort"
    # In a frame.
    GARBLE = "garble"
    BAD_UTF8 = "bad utf8"
    UNKNOWN_FIELD = "unknown field"
    NO_CLOCK = "no clock"
    LEGACY = "legacy"
    # A frame too many.
    NEGATIVE = "negative"
    UNKNOWN_LEVEL = "unknown level"
    OFF_GRID = "off grid"
    UNKNOWN_TYPE = "unknown type"
    OVERSIZE = "oversize"
    # The subscription.
    CHANNEL_FAILURE = "channel failure"
    SLOW_CONSUMER = "slow consumer"
    NO_SNAPSHOT = "no snapshot"
    MUTE_MARKET = "mute market"
    OK_WITHOUT_SEQ = "ok without seq"
    # The answer to a command.
    REFUSAL = "refusal"
    TIME_OUT = "time out"
    TIME_OUT_AFTERWARDS = "time out afterwards"
    IGNORE = "ignore"
    LATE = "late"
    LOST_ANSWER = "lost answer"
    DATA_FIRST = "data first"


class Target(enum.Enum):
    """What a fault waits for."""

    FRAME = enum.auto()
    """A data frame of the channel; the answers to commands are none."""
    BOOK = enum.auto()
    """A snapshot or delta."""
    DELTA = enum.auto()
    SNAPSHOT = enum.auto()
    """A snapshot that is about to be made."""
    CHANGE = enum.auto()
    """A change of a book that is about to be sent."""
    OK = enum.auto()
    """An `ok` that would carry a number."""
    COMMAND = enum.auto()
    """A command that the venue understands."""


@attrs.frozen
class Trait:
    """What there is to know about a kind of fault."""

    target: Target
    summary: str
    takes: tuple[str, ...] = ("count",)
    """Parameters of its own, besides where it strikes."""


_CLOCK_NOTE = "the form before 2026-10-20"

TRAITS: Final[dict[FaultKind, Trait]] = {
    FaultKind.DROP: Trait(Target.FRAME, "The frame is not sent: a gap in seq."),
    FaultKind.DUPLICATE: Trait(Target.FRAME, "The frame is sent twice."),
    FaultKind.SWAP: Trait(Target.FRAME, "The frame is sent right behind the next one of its subscription."),
    FaultKind.DELAY: Trait(
        Target.FRAME, "The frame and those behind it of its subscription leave `seconds` later.", ("seconds",)
    ),
    FaultKind.STALL_WRITES: Trait(
        Target.FRAME, "Behind the frame nothing leaves for `seconds`, pings included.", ("seconds",)
    ),
    FaultKind.STALL_READS: Trait(
        Target.FRAME, "From the frame on nothing is read for `seconds`, pongs included.", ("seconds",)
    ),
    FaultKind.MUTE: Trait(Target.FRAME, "Behind the frame nothing is sent any more, while the line stays open.", ()),
    FaultKind.CLOSE: Trait(
        Target.FRAME, "The connection is closed behind the frame, with the websocket's `code`.", ("code",)
    ),
    FaultKind.ABORT: Trait(Target.FRAME, "The connection ends behind the frame without a close frame.", ()),
    FaultKind.GARBLE: Trait(Target.FRAME, "The frame's second half is missing, so that it is no JSON."),
    FaultKind.BAD_UTF8: Trait(Target.FRAME, "The frame has a byte that no UTF-8 text has."),
    FaultKind.UNKNOWN_FIELD: Trait(Target.FRAME, "The frame has fields that nobody knows, outside and in `msg`."),
    FaultKind.NO_CLOCK: Trait(Target.BOOK, f"The snapshot or delta has no `clock`: {_CLOCK_NOTE}."),
    FaultKind.LEGACY: Trait(
        Target.FRAME, "The frame is in cents and whole contracts, fractions cut: the form before 2026-03-12."
    ),
    FaultKind.NEGATIVE: Trait(Target.DELTA, "Behind the delta, another one takes more from its level than is there."),
    FaultKind.UNKNOWN_LEVEL: Trait(Target.DELTA, "Behind the delta, another one reduces a level that never was."),
    FaultKind.OFF_GRID: Trait(Target.DELTA, "Behind the delta, another one adds to a price between two ticks."),
    FaultKind.UNKNOWN_TYPE: Trait(Target.FRAME, "Behind the frame comes one of a type that nobody knows."),
    FaultKind.OVERSIZE: Trait(
        Target.FRAME, "Behind the frame comes one of `size_bytes`, of a type that nobody knows.", ("size_bytes",)
    ),
    FaultKind.CHANNEL_FAILURE: Trait(Target.FRAME, "Error 10 behind the frame; the subscription is dead.", ()),
    FaultKind.SLOW_CONSUMER: Trait(Target.FRAME, "Error 25 behind the frame; the subscription is dead.", ()),
    FaultKind.NO_SNAPSHOT: Trait(Target.SNAPSHOT, "The snapshot never comes, and takes no number."),
    FaultKind.MUTE_MARKET: Trait(Target.CHANGE, "The change of the book is left out, and takes no number."),
    FaultKind.OK_WITHOUT_SEQ: Trait(Target.OK, "The `ok` has no seq, and takes no number."),
    FaultKind.REFUSAL: Trait(
        Target.COMMAND, "The command is answered by error `code` and not carried out.", ("code", "count")
    ),
    FaultKind.TIME_OUT: Trait(Target.COMMAND, "The command is answered by error 18 and not carried out."),
    FaultKind.TIME_OUT_AFTERWARDS: Trait(
        Target.COMMAND, "The command is carried out, but error 18 comes in place of its acknowledgements."
    ),
    FaultKind.IGNORE: Trait(Target.COMMAND, "The command is neither carried out nor answered."),
    FaultKind.LATE: Trait(
        Target.COMMAND, "The command is carried out `seconds` late; later ones overtake it.", ("seconds", "count")
    ),
    FaultKind.LOST_ANSWER: Trait(
        Target.COMMAND, "The command is carried out, but its acknowledgements are lost, with their numbers."
    ),
    FaultKind.DATA_FIRST: Trait(
        Target.COMMAND,
        "The command's acknowledgements come `seconds` behind the data that they should precede.",
        ("seconds", "count"),
    ),
}
