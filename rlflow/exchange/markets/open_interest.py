"""How many pairs of a YES and a NO contract of a market are open."""

import attrs

from rlflow.exchange.matching.happenings import Filled
from rlflow.units import Count


@attrs.define
class OpenInterest:
    """Counts what accounts hold, and guesses what the crowd holds beside them.

    What accounts hold of one side and not of the other, the crowd holds against them. Nobody knows what it holds
    against itself: half of what it trades with itself is taken to be new, and none of that is ever closed.
    """

    _of_crowd: Count = 0
    _yes: Count = 0
    """Held by accounts."""
    _no: Count = 0

    @property
    def total(self) -> Count:
        """All of it; never less than what accounts hold of either side."""
        return self._of_crowd + max(self._yes, self._no)

    def note_crowd(self, count: Count) -> None:
        """Note a trade of the crowd with itself."""
        self._of_crowd += count // 2

    def note_fill(self, fill: Filled) -> None:
        """Note an account's part in a trade."""
        after = fill.post_position
        before = after - (fill.count if fill.side == "bid" else -fill.count)
        self._yes += max(after, 0) - max(before, 0)
        self._no += max(-after, 0) - max(-before, 0)
