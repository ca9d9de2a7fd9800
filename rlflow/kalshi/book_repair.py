"""How the books of one connection become valid, and what to do about those that do not."""

from collections.abc import Iterable, Sequence, Set
from itertools import islice
from typing import Final

from rlflow.errors import FeedLostError
from rlflow.kalshi.snapshot_waits import SnapshotWaits, Stage
from rlflow.kalshi.wanted import CHUNK, CHUNK_LIMIT_S

SNAPSHOT_LIMIT_S: Final = 10.0
"""Protocol 10, question 5: a market without a snapshot after so long has to be looked at."""
MISSING_INTERVAL_S: Final = 60.0
"""How often a market is asked for that was given up: rarely enough to cost nothing."""


class BookRepair:
    """Watches the books of the order book subscription and says which snapshots to ask for.

    A book that waits for its snapshot goes through the stages of `snapshot_waits`. Where every market of the
    subscription waits in vain, the subscription is made anew, and if that does not help, the connection is given up.
    Where others are served, a market that never was is given up alone; one that was valid before is worth a new
    subscription.

    Markets to ask for stand in a line, so that the snapshots of a thousand books that one lost frame has spoilt do not
    come at once. Their waits begin when they are asked for.
    """

    def __init__(self) -> None:
        self._sid: int | None = None
        self._waits = SnapshotWaits()
        self._line: dict[str, Stage] = {}
        """The markets to ask for, the first first, with what they wait for then."""
        self._asked_until = 0.0
        """When those that were asked for last have had their time."""
        self._valid: dict[str, int] = {}
        """The books that are valid, with the sid that made them so."""
        self._proven: set[str] = set()
        """The markets that had a valid book on the present subscription."""
        self._heard: set[str] = set()
        """The markets whose snapshot came since their book was invalid, without word that the book is valid."""
        self._lacked_all = False
        """The present subscription was made because the one before gave no snapshot at all."""

    # -- what happens to the subscription -----------------------------------------------------------------------------

    def subscribed(self, sid: int, tickers: Set[str], now: float) -> None:
        """Expect the snapshots of a new subscription, but those that came with it already."""
        self._sid = sid
        self._proven = {ticker for ticker, source in self._valid.items() if source == sid}
        self._waits.clear()
        self._line.clear()
        self.expect(tickers - self._proven, now)

    def unsubscribed(self) -> None:
        """Expect nothing any more: the subscription is left or dead."""
        self._sid = None
        self._heard.clear()
        self._waits.clear()
        self._line.clear()

    def expect(self, tickers: Iterable[str], now: float) -> None:
        """Expect snapshots of markets that were just subscribed."""
        self._begin(tickers, Stage.EXPECTED, now)

    def ask(self, tickers: Iterable[str]) -> None:
        """Let these markets be asked for, behind those that are to be already."""
        for ticker in tickers:
            self._line.setdefault(ticker, Stage.ASKED)

    def take_next(self, now: float) -> list[str]:
        """Return the markets to ask for now, a hundred at most: none while the last have their time and do not come.

        Half of them may be under way, lest a few that never come hold up the others.
        """
        under_way = 0 if self._asked_until <= now else self._waits.asked()
        if not self._line or under_way > CHUNK // 2:
            return []
        taken = dict(islice(self._line.items(), CHUNK - under_way))
        for stage in set(taken.values()):
            self._begin([ticker for ticker in taken if taken[ticker] is stage], stage, now)
        self._asked_until = now + CHUNK_LIMIT_S
        return list(taken)

    def give_up(self, tickers: Iterable[str], now: float) -> None:
        """Do not expect a snapshot of these, but ask for it now and then."""
        self._begin(tickers, Stage.MISSING, now)

    def forget(self, tickers: Iterable[str]) -> None:
        """Forget markets that are not followed any more."""
        for ticker in tickers:
            self._waits.forget(ticker)
            self._line.pop(ticker, None)
            self._valid.pop(ticker, None)
            self._proven.discard(ticker)
            self._heard.discard(ticker)

    # -- what happens to the books ------------------------------------------------------------------------------------

    def became_valid(self, sid: int, ticker: str, now: float) -> None:
        """Note that a snapshot made a book valid."""
        self._valid[ticker] = sid
        self._heard.discard(ticker)
        if sid == self._sid:
            self._proven.add(ticker)
            self._lacked_all = False
            self._arrived(ticker, now)

    def snapshot_came(self, sid: int, ticker: str, now: float) -> None:
        """Note a snapshot; whether it made its book valid is another notice.

        The wait is not ended here, for a snapshot that makes no book valid would be asked for at once, without end. But
        the channel of notices is bounded, and the other notice may be lost: when the wait is over and nothing spoke
        against the snapshot, it counts.
        """
        if sid != self._sid:
            return
        if self._valid.get(ticker) == sid:
            self._arrived(ticker, now)
        else:
            self._heard.add(ticker)

    def became_invalid(self, sid: int | None, tickers: Sequence[str]) -> list[str]:
        """Note that books are not valid, and return those to ask for.

        Another subscription (`sid`) than the present one may be at fault: its end is being dealt with. A market that
        waits for a snapshot already is not asked for again: the answer is on its way, or is missed later.
        """
        for ticker in tickers:
            self._valid.pop(ticker, None)
            self._heard.discard(ticker)
        if self._sid is None or sid not in (None, self._sid):
            return []
        return [ticker for ticker in tickers if ticker not in self._waits and ticker not in self._line]

    # -- what time demands --------------------------------------------------------------------------------------------

    def take_due(self, now: float) -> bool:
        """Let the markets be asked for whose snapshot did not come; False: the subscription is to be made anew.

        `FeedLostError` if that was done for want of snapshots already, and brought none.
        """
        for wait in self._waits.take_due(now):
            assert self._sid is not None, "without a subscription nothing is waited for"
            for ticker in wait.tickers & self._heard:
                self.became_valid(self._sid, ticker, now)
            lacking = [ticker for ticker in sorted(wait.tickers) if self._valid.get(ticker) != self._sid]
            stage = self._stage_after(wait.stage, lacking) if lacking else wait.stage
            if stage is None:
                self._lacked_all = not self._proven
                return False
            if stage is Stage.MISSING:
                self.give_up(lacking, now)
            # One that is just being given up has been asked for often enough for now.
            if stage is not Stage.MISSING or wait.stage is Stage.MISSING:
                self._line.update(dict.fromkeys(lacking, stage))
        return True

    def next_deadline(self) -> float | None:
        """Return when `take_due` or `take_next` has something to say; None: never."""
        waits = self._waits.next_deadline()
        if not self._line:
            return waits
        return self._asked_until if waits is None else min(waits, self._asked_until)

    def _begin(self, tickers: Iterable[str], stage: Stage, now: float) -> None:
        named = list(tickers)
        for ticker in named:
            self._line.pop(ticker, None)
        self._waits.begin(named, stage, MISSING_INTERVAL_S if stage is Stage.MISSING else SNAPSHOT_LIMIT_S, now)

    def _arrived(self, ticker: str, now: float) -> None:
        self._line.pop(ticker, None)
        self._waits.arrived(ticker, now)

    @property
    def expected(self) -> int:
        """How many of the markets that were subscribed last have not had their first snapshot."""
        return self._waits.expected()

    @property
    def missing(self) -> frozenset[str]:
        """Markets that were given up for the time being."""
        return self._waits.missing()

    def _stage_after(self, stage: Stage, lacking: list[str]) -> Stage | None:
        """Return what to wait for next, None for a new subscription."""
        match stage:
            case Stage.EXPECTED:
                if self._lacked_all and not self._proven:
                    raise FeedLostError(
                        f"no snapshot of any of {len(lacking)} markets, not on a new subscription either"
                    )
                return Stage.ASKED
            case Stage.ASKED:
                return Stage.ASKED_AGAIN if self._proven else None
            case Stage.ASKED_AGAIN:
                return None if self._proven.intersection(lacking) else Stage.MISSING
            case Stage.MISSING:
                return Stage.MISSING
