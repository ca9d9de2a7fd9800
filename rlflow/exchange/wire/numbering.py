"""The sequence numbers of one subscription."""

import attrs


@attrs.define
class Numbering:
    """Gives out one subscription's numbers: from 1 in steps of 1, or a recording's own as long as nothing came between.

    Recorded numbers keep their distances: a hole in the recording stays a hole, a duplicate a duplicate. A frame of
    ours in between (the answer to a command) moves all later ones up by one, a recorded frame that is left out moves
    them down.
    """

    last: int = 0
    """The number last given, 0 before the first."""
    _shift: int | None = None
    # What is added to recorded numbers; None until the first one, which decides it.

    def insert(self) -> int:
        """Return the number of a frame that is in no recording."""
        # Before the first number, nothing that was left out matters: recorded ones just come behind this.
        self._shift = None if self._shift is None or not self.last else self._shift + 1
        self.last += 1
        return self.last

    def follow(self, recorded: int | None) -> int:
        """Return the number of a recorded frame; None is one whose recorded number is not to be kept."""
        number = self.last = self.last + 1 if recorded is None else recorded + self._settled_shift(recorded)
        return number

    def skip(self, recorded: int | None) -> None:
        """Leave a recorded frame out, so that the next one takes its place."""
        if recorded is not None:
            self._shift = self._settled_shift(recorded) - 1

    def restart(self) -> None:
        """Let the next recorded number, whatever it is, come right behind the last one given."""
        self._shift = None

    def _settled_shift(self, recorded: int) -> int:
        if self._shift is None:
            self._shift = self.last + 1 - recorded if self.last else 0
        return self._shift
