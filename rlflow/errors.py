"""Every error rlflow raises, sorted by what the reader of it can do.

* `SettingsError`: the person who started us must change something. Exit code 2.
* `PeerError`: the other side sent something unacceptable. Count it, keep the bytes, resynchronise.
* `TransientError`: try again with back-off.
* `StoreError`: the database or the journal is not in the state we need. Stop, and say what to do.
* Anything else (`ValueError`, `AssertionError`): a bug of ours; it ends the process.
"""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import attrs


class RlflowError(Exception):
    """Base of all errors whose message is meant for people."""


@attrs.frozen
class Problem:
    """One thing that is wrong with the settings."""

    name: str
    """The environment variable or option."""
    message: str
    """What is wrong and what to do, a sentence without the name."""


class SettingsError(RlflowError):
    """The settings cannot be used; holds every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{problem.name}: {problem.message}" for problem in self.problems))


class PeerError(RlflowError):
    """The venue sent something we cannot accept."""


class FrameRejectedError(PeerError):
    """One frame cannot be accepted; `reason` is short and holds no data of the frame's size."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class AnswerRejectedError(PeerError):
    """The body of a REST answer, or one item of it, is not what it should be."""

    is_about_key = False
    """As of `RestRefusedError`: other answers may be of use."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"not {what}: {reason}")


class RestRefusedError(PeerError):
    """The venue answered a REST request with a refusal that the same request would get again."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        """The venue's, empty where it gave none."""
        self.message = message
        super().__init__(f"the venue refused with HTTP {status} {code}: {message}".replace("  ", " "))

    @property
    def is_about_key(self) -> bool:
        """Whether it is not about what was asked for: other requests would be refused as well."""
        return self.status in (401, 403)


class KeyRefusedError(PeerError):
    """The venue answered the upgrade with 401 or 403: this key will not become right by itself, but a clock may."""

    def __init__(self, status: int, detail: str, *, is_for_time: bool = False) -> None:
        self.status = status
        self.detail = detail
        self.is_for_time = is_for_time
        """Whether the venue has only found the signature's time to be too far from its own."""
        cure = "; set the clock" if is_for_time else ""
        super().__init__(f"the venue refused the key (HTTP {status}): {detail}{cure}")


class RecordingError(RlflowError):
    """A recorded file is not whole; `line` counts from 1, and is 0 where the damage cannot be placed."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        where = f", line {line}" if line else ""
        super().__init__(f"{path}{where}: {reason}")


class RecordingRefusedError(RecordingError):
    """A file is no recording, or not one for the options that were given; it may be whole."""


class TransientError(RlflowError):
    """Something outside failed in a way that passes; the caller backs off and tries again."""


class FeedLostError(TransientError):
    """A connection to the venue could not be made, or broke; `cause` goes into the capture and its gap rows."""

    def __init__(self, cause: str, code: int | None = None) -> None:
        self.cause = cause
        self.code = code
        super().__init__(cause)


class VenueAwayError(TransientError):
    """The venue's REST interface gave no answer of use, however often it was asked; `status` is the last one's."""

    def __init__(self, cause: str, status: int | None = None) -> None:
        self.cause = cause
        self.status = status
        super().__init__(cause)


class DatabaseAwayError(TransientError):
    """PostgreSQL cannot be reached, or broke off; whatever was not committed is still in the journal."""


class JournalFullError(TransientError):
    """The journal takes no more for now: its budget is used up or the disk is nearly full. Nothing was written."""


class StoreError(RlflowError):
    """The database or the journal is not one that we may write to."""


class CorruptJournalError(StoreError):
    """Journal positions [start, end) cannot be read; what was whole before them has been given out, `end` reads on."""

    def __init__(self, path: str, start: int, end: int) -> None:
        self.path = path
        self.start = start
        self.end = end
        super().__init__(f"{path} is damaged: {end - start} bytes from journal position {start} are lost")


class OtherWriterError(StoreError):
    """A capture's committed frame is not what we left: another process writes to the same store, or it was restored."""

    def __init__(self, capture: UUID, expected: int, found: int | None) -> None:
        self.capture = capture
        self.expected = expected
        """The frame that our rows begin behind."""
        self.found = found
        """The frame that the store stands at, None if it does not know the capture."""
        if expected >= 0 and (found is None or found < expected):
            why = "it was restored from a backup; start again, to go on with what the journal has"
        else:
            why = "another process writes to the same store"
        stands = "is not in the store" if found is None else f"stands at frame {found} in the store"
        super().__init__(f"capture {capture} {stands}, and not at {expected}: {why}")


class CommandError(RlflowError):
    """A command found or did something wrong; the message is one line, the exit code `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        self.code = code
        super().__init__(message)


def meant_for_people(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error meant for people if it is all that a group holds, however deep, else the group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, RlflowError) else group
