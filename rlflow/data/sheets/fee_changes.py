"""Which fee held when: what the venue announces, and what was seen to have changed without an announcement."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import attrs

from rlflow.data.store.copy_text import storable
from rlflow.data.store.postgres import Connection
from rlflow.kalshi.sheets import EventSheet, FeeChange, SeriesSheet

Scope: TypeAlias = Literal["series", "event"]

CLOCKS_DIFFER_MS: Final = 5_000
"""A change that was announced for a time is not called another because it is seen a moment before or after it: the
venue's clock is not ours (protocol 10, question 7)."""

_READ = """
    SELECT scope, ticker, valid_from_ms, fee_type, fee_multiplier FROM rl_fee_changes
    WHERE scope = %s AND ticker = %s ORDER BY valid_from_ms"""
_WRITE = """
    INSERT INTO rl_fee_changes (scope, ticker, valid_from_ms, fee_type, fee_multiplier, fetched_ns)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (scope, ticker, valid_from_ms) DO UPDATE SET
        fee_type = excluded.fee_type, fee_multiplier = excluded.fee_multiplier, fetched_ns = excluded.fetched_ns
    WHERE (rl_fee_changes.fee_type, rl_fee_changes.fee_multiplier)
          IS DISTINCT FROM (excluded.fee_type, excluded.fee_multiplier)"""
_REMOVE = "DELETE FROM rl_fee_changes WHERE scope = %s AND ticker = %s AND valid_from_ms = %s"


@attrs.frozen
class Fee:
    """A fee model and its multiplier; None in an event's: the series' own."""

    fee_type: str | None
    multiplier: Decimal | None


@attrs.frozen
class FeeRow:
    """From `valid_from_ms` on, until the next row, this fee holds."""

    valid_from_ms: int
    """On the venue's clock; 0: it held when we first looked, and nobody knows since when."""
    fee: Fee


@attrs.frozen
class Moment:
    """When something was asked for and when the answer had come, in ms: the answer is of some time in between."""

    asked_ms: int
    answered_ms: int


@attrs.frozen
class SeenFees:
    """What the venue says of one series' or event's fees at one moment."""

    scope: Scope
    ticker: str
    now: Fee
    at: Moment
    announced: tuple[FeeRow, ...] = ()
    """All changes of past and future; empty where there is no such list."""

    @classmethod
    def of_series(cls, sheet: SeriesSheet, changes: Iterable[FeeChange], at: Moment) -> "SeenFees":
        """Translate; a change of fee keeps its place to the millisecond."""
        rows = (FeeRow(change.from_ns // 10**6, Fee(change.fee_type, change.fee_multiplier)) for change in changes)
        return cls("series", sheet.ticker, Fee(sheet.fee_type, sheet.fee_multiplier), at, tuple(rows))

    @classmethod
    def of_event(cls, sheet: EventSheet, at: Moment) -> "SeenFees":
        """Translate; the venue's list of events' changes is not asked for, as its form is not known (protocol 6.2)."""
        return cls("event", sheet.event_ticker, Fee(sheet.fee_type_override, sheet.fee_multiplier_override), at)


def fee_at(rows: Iterable[FeeRow], at_ms: int) -> Fee:
    """Return the fee that held at a time; both parts None where that is not known."""
    past = [row for row in rows if row.valid_from_ms <= at_ms]
    return max(past, key=lambda row: row.valid_from_ms).fee if past else Fee(None, None)


def market_fee_at(series: Iterable[FeeRow], event: Iterable[FeeRow], at_ms: int) -> Fee:
    """Return a market's fee: its series', each part replaced by its event's where that has one (protocol 7)."""
    own, base = fee_at(event, at_ms), fee_at(series, at_ms)
    return Fee(
        base.fee_type if own.fee_type is None else own.fee_type,
        base.multiplier if own.multiplier is None else own.multiplier,
    )


def updated(known: Sequence[FeeRow], seen: SeenFees) -> list[FeeRow]:
    """Return all rows as they should be: the past as known or announced, the present as seen, the future as announced.

    What is seen without having been announced is noted from when it was asked for on, or from 0 at the first look; not
    from when it is stored, which may be long after.
    """
    asked_ms = seen.at.asked_ms
    rows = {row.valid_from_ms: row for row in known if row.valid_from_ms <= asked_ms}
    rows |= {row.valid_from_ms: row for row in seen.announced}
    is_first_look = not any(at <= asked_ms for at in rows)
    if seen.now not in _possible(rows.values(), seen):
        rows[0 if is_first_look else asked_ms] = FeeRow(0 if is_first_look else asked_ms, seen.now)
    return sorted(rows.values(), key=lambda row: row.valid_from_ms)


def _possible(rows: Iterable[FeeRow], seen: SeenFees) -> list[Fee]:
    """Return what may have been seen: the fee of the time, and close to an announced change the other one too."""
    earliest_ms, latest_ms = seen.at.asked_ms - CLOCKS_DIFFER_MS, seen.at.answered_ms + CLOCKS_DIFFER_MS
    changes = [row.valid_from_ms for row in seen.announced if earliest_ms <= row.valid_from_ms <= latest_ms]
    times = [seen.at.asked_ms, *changes, *(change - 1 for change in changes)]
    rows = list(rows)
    return [fee_at(rows, at_ms) for at_ms in times]


def read_fees(connection: Connection, scope: Scope, ticker: str) -> list[FeeRow]:
    """Return what the store knows of a series' or event's fees, in the order of time."""
    return [
        FeeRow(at, Fee(kind, multiplier)) for *_, at, kind, multiplier in connection.execute(_READ, (scope, ticker))
    ]


def write_fees(connection: Connection, seen: SeenFees, now_ns: int) -> None:
    """Bring the store up to what was seen, at `now_ns`. The connection may be in a transaction."""
    known = read_fees(connection, seen.scope, seen.ticker)
    rows = updated(known, seen)
    for row in set(known) - set(rows):
        connection.execute(_REMOVE, (seen.scope, seen.ticker, row.valid_from_ms))
    for row in set(rows) - set(known):
        fee = (row.fee.fee_type and storable(row.fee.fee_type), row.fee.multiplier)
        connection.execute(_WRITE, (seen.scope, seen.ticker, row.valid_from_ms, *fee, now_ns))
