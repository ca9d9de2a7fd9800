"""What health must remember: since when each part is as it is, what stands still, how old the backlog is, and rates.

`Watch` takes figures whenever somebody looks, and `watch_service` looks once a second, so that "for 40 s" is true also
if nobody asked meanwhile. It looks from outside at positions that must move, and believes no part's own word for it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs
import trio

LOOK_EVERY_S: Final = 1.0
WINDOW_S: Final = 60.0
"""What rates are taken over."""
# Of a backlog of hours, times to the second are not needed: above this every other mark goes.
MARKS: Final = 2_000


class Positions(Protocol):
    """How far the journal, the live books and the writer have come, in journal offsets; and what they have counted."""

    @property
    def journal_end(self) -> int:
        """Behind the last record."""
        ...

    @property
    def journal_synced(self) -> int:
        """Up to where a power cut costs nothing."""
        ...

    @property
    def books_cursor(self) -> int:
        """Up to where the live books have read."""
        ...

    @property
    def written(self) -> int:
        """Up to where everything is in the database."""
        ...

    @property
    def losses(self) -> int:
        """Frames lost so far, for want of room in the journal or on the way to the database."""
        ...

    @property
    def messages(self) -> int:
        """Frames applied to the live books."""
        ...

    @property
    def rows(self) -> int:
        """Rows committed."""
        ...


@attrs.define
class Standstill:
    """For how long a position that has a way to go has not moved."""

    _position: int = -1
    _since_s: float = 0.0

    def look(self, now_s: float, position: int, goal: int) -> float:
        """Return the seconds, 0 at the first look: what stood at one look and still stands at another has stood."""
        if position != self._position or position >= goal:
            self._position, self._since_s = position, now_s
        return now_s - self._since_s


@attrs.define
class Backlog:
    """How long the oldest of what is not written has waited, as far as it came in this process."""

    _marks: deque[tuple[float, int]] = attrs.Factory(deque)

    def look(self, now_s: float, written: int, end: int) -> float:
        """Return the seconds, too few by one look at most; of what was there at the first look, since then."""
        if end > (self._marks[-1][1] if self._marks else written):
            self._marks.append((now_s, end))
        while self._marks and self._marks[0][1] <= written:
            self._marks.popleft()
        if len(self._marks) > MARKS:
            last = self._marks[-1]
            self._marks = deque([*list(self._marks)[:-1:2], last])
        return now_s - self._marks[0][0] if self._marks else 0.0


@attrs.define
class Rate:
    """How fast a count grows, over the last minute or since the first look."""

    _seen: deque[tuple[float, int]] = attrs.Factory(deque)

    def look(self, now_s: float, count: int) -> float:
        """Return the growth in a second; 0 at the first look."""
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - WINDOW_S:
            self._seen.popleft()
        if not self._seen or now_s - self._seen[-1][0] >= LOOK_EVERY_S / 2:
            self._seen.append((now_s, count))
        began_s, began = self._seen[0]
        return (count - began) / (now_s - began_s) if now_s > began_s else 0.0


@attrs.define
class Since:
    """Since when each of some names has had the value that it has."""

    _values: dict[str, tuple[str, float]] = attrs.Factory(dict)

    def look(self, now_s: float, values: Mapping[str, str]) -> dict[str, float]:
        """Return for each name the seconds since its value was first seen without interruption."""
        for name, value in values.items():
            if name not in self._values or self._values[name][0] != value:
                self._values[name] = value, now_s
        return {name: now_s - self._values[name][1] for name in values}


@attrs.frozen
class Progress:
    """What the watch makes of the positions at one moment; seconds, and numbers a second."""

    books_stalled_s: float = 0.0
    """For how long the live books have not read on in the journal, although there is something to read."""
    sync_stalled_s: float = 0.0
    """For how long nothing of what is not on the disk for sure has been brought there."""
    backlog_age_s: float = 0.0
    """How long the oldest of what is not in the database has waited."""
    loss_age_s: float = 0.0
    """How long ago frames were last lost; of no meaning if none ever were."""
    messages_per_s: float = 0.0
    rows_per_s: float = 0.0


@attrs.define
class Watch:
    """All of it together; time is an argument."""

    _books: Standstill = attrs.Factory(Standstill)
    _sync: Standstill = attrs.Factory(Standstill)
    _backlog: Backlog = attrs.Factory(Backlog)
    _losses: Standstill = attrs.Factory(Standstill)
    _messages: Rate = attrs.Factory(Rate)
    _rows: Rate = attrs.Factory(Rate)
    _since: Since = attrs.Factory(Since)

    def look(self, now_s: float, at: Positions) -> Progress:
        """Take the positions of this moment and return what they come to."""
        return Progress(
            books_stalled_s=self._books.look(now_s, at.books_cursor, at.journal_end),
            sync_stalled_s=self._sync.look(now_s, at.journal_synced, at.journal_end),
            backlog_age_s=self._backlog.look(now_s, at.written, at.journal_end),
            loss_age_s=self._losses.look(now_s, at.losses, at.losses + 1),
            messages_per_s=self._messages.look(now_s, at.messages),
            rows_per_s=self._rows.look(now_s, at.rows),
        )

    def since(self, now_s: float, statuses: Mapping[str, str]) -> dict[str, float]:
        """Return for how many seconds each component has been as it is."""
        return self._since.look(now_s, statuses)


async def watch_service(look: Callable[[], object]) -> None:
    """Look once a second until cancelled."""
    while True:
        look()
        await trio.sleep(LOOK_EVERY_S)
