"""What recorders hear: frames with their receive times, and where connections begin and end."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from rlflow.errors import RecordingError
from rlflow.recordings.files import Line
from rlflow.units import Nanos

NANOS_PER_MS = 1_000_000
NANOS_PER_S = 1_000_000_000


class Heard(msgspec.Struct, frozen=True, gc=False):
    """One frame."""

    received_ns: Nanos
    frame: bytes


class Began(msgspec.Struct, frozen=True):
    """A connection was opened; the one before, if it is still open, broke."""

    received_ns: Nanos
    tickers: tuple[str, ...]


class Ended(msgspec.Struct, frozen=True):
    """The recorder closed the connection of its own accord: nothing is missing."""

    received_ns: Nanos
    cause: str


Item: TypeAlias = Heard | Began | Ended


class Reader(Protocol):
    """Reads the lines of one form, in order, from the first."""

    def read(self, text: bytes) -> Sequence[Item]:
        """Return what the line says; ValueError or msgspec.DecodeError if it is not of this form."""

    def finish(self) -> Sequence[Item]:
        """Return what was still to be completed when the last line was read."""


def read_items(path: Path, lines: Iterable[Line], reader: Reader) -> Iterator[Item]:
    """Yield what the lines say; RecordingError at the first one that is not of the reader's form."""
    for line in lines:
        yield from read_line(path, line, reader)
    yield from reader.finish()


def read_line(path: Path, line: Line, reader: Reader) -> Sequence[Item]:
    """Return what one line says; RecordingError if it is not of the reader's form."""
    try:
        return reader.read(line.text)
    except (msgspec.DecodeError, ValueError) as error:
        raise RecordingError(path, line.number, str(error)) from error


def parse_time(text: str) -> Nanos:
    """Return the time in an RFC 3339 text, exact to the microsecond; ValueError if it is none or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {text!r}")
    return int(moment.replace(microsecond=0).timestamp()) * NANOS_PER_S + moment.microsecond * 1_000
