"""What every case must leave behind: frames that balance, and books that are the venue's own wherever no gap says not.

Written without the modules that it judges: plain SQL, and the rule of `schema.sql` in a few lines.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import attrs
import psycopg

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.units import Side
from tests.faults.truth import Book, Truth, add

State: TypeAlias = tuple[int, Book]

_SNAPSHOTS = """SELECT frame_no, clock, yes_bids, no_bids FROM {}.rl_orderbook_snapshots
    WHERE capture = %s AND market_ticker = %s AND origin = 'venue'"""
_DELTAS = """SELECT frame_no, clock, side, price_e4, delta FROM {}.rl_orderbook_deltas
    WHERE capture = %s AND market_ticker = %s"""
_GAPS = """SELECT from_frame, frame_no FROM {}.rl_feed_gaps
    WHERE capture = %s AND channel = 'orderbook_delta' AND coalesce(market_ticker, %s) = %s ORDER BY 1, 2"""
_IS_SNAPSHOT = 4
"""The columns of a snapshot's row; a delta's has one more."""


@attrs.frozen
class Verdict:
    """What was looked at, and what was found."""

    states: int
    """Stored books that were compared with the venue's own."""
    gaps: int
    """Gap rows of order books."""
    findings: tuple[str, ...]


def judge(url: str, truth: Truth, *, db_schema: str = "rlflow_sim", environment: str = "sim") -> Verdict:
    """Compare all that is stored with the truth, and audit the store."""
    findings: list[str] = []
    states = 0
    with psycopg.connect(url) as connection:
        # As it is at this moment: what is recorded meanwhile does not show.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        pairs = connection.execute(
            f"SELECT DISTINCT capture, market_ticker FROM {db_schema}.rl_orderbook_snapshots ORDER BY 1, 2"
        ).fetchall()
        for capture, ticker in pairs:
            for each in compare(connection, db_schema, capture, ticker, truth):
                states += 1
                findings += each
        gaps = connection.execute(
            f"SELECT count(*) FROM {db_schema}.rl_feed_gaps WHERE channel = 'orderbook_delta'"
        ).fetchone()
    with Database.connect(url, db_schema=db_schema, environment=environment) as database:
        findings += [f"audit: {finding}" for finding in audit(database).findings]
    assert gaps is not None
    return Verdict(states, gaps[0], tuple(findings[:20]))


def compare(
    connection: "psycopg.Connection[tuple[Any, ...]]", db_schema: str, capture: int, ticker: str, truth: Truth
) -> Iterator[list[str]]:
    """Yield for each trusted stored book what is wrong with it: nothing, or a sentence."""
    rows = [
        row
        for query in (_SNAPSHOTS, _DELTAS)
        for row in connection.execute(query.format(db_schema).encode(), (capture, ticker)).fetchall()
    ]
    rows.sort(key=lambda row: row[0])
    gaps = connection.execute(_GAPS.format(db_schema).encode(), (capture, ticker, ticker)).fetchall()
    truth.wait_heard(ticker, max(row[1] or 0 for row in rows))
    walker = truth.walker(ticker)
    for clock, stored in trusted_books(rows, gaps):
        if truth.knows(ticker, clock):
            true = walker.at(clock)
            wrong = f"{ticker} of capture {capture} at clock {clock}: {_difference(stored, true)}"
            yield [] if stored == true else [wrong]


def trusted_books(rows: Sequence[Any], gaps: Sequence[tuple[int, int]]) -> Iterator[State]:
    """Yield the clock and the book (changed afterwards) behind each complete action that the store vouches for.

    An action is complete when the next one has begun: the frame that was lost may have belonged to the last one before
    a gap. A snapshot at the very frame at which a gap was noticed is behind it. What has no clock belongs to the action
    that comes next.
    """
    waiting = list(gaps)
    book: Book | None = None
    base = clock = hidden_before = 0
    for row in rows:
        while waiting and waiting[0][0] < row[0]:
            hidden_before, book = max(hidden_before, waiting.pop(0)[1]), None
        if row[0] < hidden_before:
            continue
        if len(row) == _IS_SNAPSHOT:
            book, base, clock = _snapshot(row), row[1] or 0, row[1] or 0
            if clock:
                yield clock, book
        elif book is not None and row[1] is None:
            add(book, (row[2], row[3]), int(row[4] * 100))
            clock = base
        elif book is not None and row[1] > base:
            if row[1] != clock and clock != base:
                yield clock, book
            add(book, (row[2], row[3]), int(row[4] * 100))
            clock = row[1]


def _snapshot(row: Any) -> Book:
    sides: tuple[tuple[Side, Any], ...] = (("yes", row[2]), ("no", row[3]))
    return {
        (side, int(Decimal(str(cents)) * 100)): int(Decimal(str(size)) * 100)
        for side, levels in sides
        for cents, size in levels
    }


def _difference(stored: Book, true: Book) -> str:
    levels = [level for level in stored.keys() | true.keys() if stored.get(level) != true.get(level)]
    shown = ", ".join(f"{level}: {stored.get(level)} for {true.get(level)}" for level in sorted(levels)[:3])
    return f"{len(levels)} levels differ: {shown}"
