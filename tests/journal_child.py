"""Appends to a journal until it is killed or full, and says on stdout what was acknowledged.

Run as `python -m tests.journal_child DIRECTORY [FILE_SIZE_LIMIT]`.
"""

import os
import resource
import signal
import sys
from itertools import count
from pathlib import Path
from uuid import UUID

from rlflow.data.journal.journal import Journal
from rlflow.data.journal.raw import RawStore
from rlflow.errors import JournalFullError
from rlflow.session.records import Batch, Kind

CAPTURE = UUID(int=5)


def batch(number: int) -> Batch:
    """Return the batch with one frame whose content and size follow from its number."""
    return Batch(Kind.FRAMES, CAPTURE, number, number, (number.to_bytes(8, "little") * (1 + number % 5_000),))


def open_raw(directory: Path) -> RawStore:
    """Open the store of retired segments that parent and child share."""
    return RawStore(directory / "raw", keep_days=1)


def open_journal(directory: Path) -> Journal:
    """Open the journal that parent and child share."""
    raw = open_raw(directory)
    return Journal.open(directory / "journal", max_bytes=2**30, segment_bytes=2**18, min_free_bytes=0, raw=raw)


def main(directory: str, limit: str = "") -> None:
    """Append, print each number after `append` has returned, and retire what can be."""
    journal = open_journal(Path(directory))
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    for number in count(journal.open_captures.get(CAPTURE, 0) + 1):
        try:
            journal.append(batch(number))
        except JournalFullError:
            break
        os.write(1, b"%d\n" % number)
        if number % 20 == 0:
            journal.retire(journal.end)
    os.write(1, b"full\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
