"""What the first 1,000 lines of a recording tell about all of it."""

import re
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import attrs

from rlflow.errors import RecordingError, RecordingRefusedError
from rlflow.recordings.files import Line, is_table, read_lines
from rlflow.recordings.forms import Form, detect, is_exported_table, new_reader
from rlflow.recordings.identity import HEAD_LINES, prefix_identities
from rlflow.recordings.items import Heard, Item, read_line
from rlflow.units import Nanos

# The least share of steps with a hole for which no loss on a line is an explanation, and how many steps to judge by. Of
# the recordings at hand, complete subscriptions have no hole, single markets of shared ones have 40 % and more.
SPARSE_SHARE = 0.1
_SPARSE_STEPS = 20

_SID, _SEQ = re.compile(rb'"sid":\s*(\d+)'), re.compile(rb'"seq":\s*(\d+)')
_TICKER = re.compile(rb'"market_ticker":\s*"([^"\\]+)"')
_BOOK_OR_TRADE = re.compile(rb'"type":\s*"(?:orderbook_snapshot|orderbook_delta|trade)"')
# Every delta and trade of today has its count as a string under one of these names; before 2026-01-22 there was none.
_DATA = re.compile(rb'"type":\s*"(?:orderbook_delta|trade)"')
_COUNT = re.compile(rb'"(?:delta|count)_fp":')


@attrs.define
class Head:
    """The first lines of a recording as far as they are whole, and what they tell about it."""

    form: Form
    texts: list[bytes] = attrs.Factory(list)
    items: list[Item] = attrs.Factory(list)
    data_from: int | None = None
    """Index of the first line that shows data with its time: until there, recordings of one recorder are alike."""

    @property
    def start_ns(self) -> Nanos:
        """The first receive time, 0 if there is none."""
        return next((item.received_ns for item in self.items if item.received_ns), 0)

    @property
    def is_legacy(self) -> bool:
        """Whether frames are of the form in use before 2026-03-12."""
        return self.form is Form.ROWS or any(_DATA.search(one) and not _COUNT.search(one) for one in self._frames)

    @property
    def tickers(self) -> tuple[str, ...]:
        """The markets that frames name, in order of appearance."""
        found = [match for frame in self._frames for match in _TICKER.findall(frame)]
        return tuple(ticker.decode(errors="replace") for ticker in dict.fromkeys(found))

    @property
    def looks_sparse(self) -> bool:
        """Whether `seq` skips numbers so often that other markets of the subscription must have been left out."""
        last: dict[int, int] = {}
        steps = []
        for frame in self._frames:
            sid, seq = (found and int(found.group(1)) for found in (_SID.search(frame), _SEQ.search(frame)))
            if sid is not None and seq is not None:
                steps.append(seq - last.get(sid, seq - 1))
                last[sid] = seq
        return len(steps) >= _SPARSE_STEPS and sum(step > 1 for step in steps) >= SPARSE_SHARE * len(steps)

    @property
    def identities(self) -> tuple[str, ...]:
        """Digests of the beginnings that no other recording can have; the last is of all these lines."""
        return prefix_identities(self.texts)[-1 if self.data_from is None else self.data_from :]

    @property
    def _frames(self) -> list[bytes]:
        return [item.frame for item in self.items if isinstance(item, Heard)]

    def add(self, text: bytes, items: Sequence[Item]) -> None:
        """Append a line and what it says."""
        self.items.extend(items)
        if self.data_from is None and any(map(_is_timed_data, items)):
            self.data_from = len(self.texts)
        self.texts.append(text)


def read_head(path: Path) -> Head:
    """Read a recording's first 1,000 lines.

    Raises:
        RecordingRefusedError: the first line is of no known form, or there is none.
        RecordingError: damage comes before the first data: so little is whole that the repaired file could not be
            recognised.
    """
    lines = islice(read_lines(path), HEAD_LINES)
    first = next(lines, Line(1, b""))
    form = detect(first.text)
    if form is None:
        raise _no_recording(path, first)
    head, reader = Head(form), new_reader(form)
    try:
        for line in chain([first], lines):
            head.add(line.text, read_line(path, line, reader))
    except RecordingError:
        if head.data_from is None:
            raise
    else:
        head.items.extend(reader.finish())
    return head


def _no_recording(path: Path, first: Line) -> RecordingRefusedError:
    if not first.text:
        return RecordingRefusedError(path, 0, "not a recording: it is empty")
    if not is_table(path):
        return RecordingRefusedError(path, first.number, "not a recording: the line is of no known form")
    if is_exported_table(first.text):
        return RecordingRefusedError(
            path, 0, "not a recording, but an export for other tools: export as .ndjson instead"
        )
    return RecordingRefusedError(path, 0, "not a recording: its columns are of no known form")


def _is_timed_data(item: Item) -> bool:
    return isinstance(item, Heard) and item.received_ns > 0 and _BOOK_OR_TRADE.search(item.frame) is not None
