"""Appends to a journal until it is killed or full, saying on stdout what it may rely on.

Run as `python -m tests.journal_child DIRECTORY [FILE_SIZE_LIMIT]`.
"""

import os
import resource
import signal
import sys
from itertools import count
from pathlib import Path
from uuid import UUID

from rlflow.data.journal import Journal
from rlflow.errors import JournalFullError
from rlflow.session.records import Batch, Kind

CAPTURE = UUID(int=5)


def batch(number: int) -> Batch:
    """Return the batch with one frame whose content and size follow from its number."""
    return Batch(Kind.FRAMES, CAPTURE, number, number, (number.to_bytes(8, "little") * (1 + number % 5_000),))


def open_journal(directory: Path) -> Journal:
    """Open the journal that parent and child share."""
    return Journal.open(directory, max_bytes=2**30, segment_bytes=2**20, min_free_bytes=0)


def main(directory: str, limit: str = "") -> None:
    """Append, and print each number after `append` has returned."""
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
    os.write(1, b"full\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
