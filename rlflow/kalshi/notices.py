"""What the reader of a capture tells the one who speaks to the venue.

`Session` makes notices while it feeds on frames, in the order of the frames; within one frame `Heard` comes first. The
`Commander` answers them with commands. Rows never depend on what it does with them.
"""

from typing import Final, TypeAlias

import attrs

from rlflow.kalshi.messages import Message

OUT_OF_ORDER: Final = "three frames out of order"
"""The `BooksInvalid.cause` after which the subscription itself is not trusted: it is left and made anew."""


@attrs.frozen
class Heard:
    """The venue said something that is not data alone: a control frame, or a snapshot (with `id` or without)."""

    message: Message


@attrs.frozen
class BooksInvalid:
    """These books have lost their meaning until their next snapshot."""

    sid: int | None
    """The subscription at fault; None: not told by a frame (a stale record)."""
    tickers: tuple[str, ...]
    """Markets whose books became invalid; empty on channels without books."""
    cause: str


@attrs.frozen
class BookValid:
    """A snapshot made this book valid; it was not before, or was on another subscription."""

    sid: int
    ticker: str


Notice: TypeAlias = Heard | BooksInvalid | BookValid
