"""Which fee held when: what the venue announces, and what was seen to have changed without an announcement."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

import attrs

from rlflow.data.store.copy_text import storable
from rlflow.data.store.postgres import Connection
from rlflow.kalshi.sheets import EventSheet, FeeChange, SeriesSheet

Scope: TypeAlias = Literal["series", "event"]

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
class SeenFees:
    """What the venue says of one series' or event's fees at one moment."""

    scope: Scope
    ticker: str
    now: Fee
    announced: tuple[FeeRow, ...] = ()
    """All changes of past and future; empty where there is no such list."""

    @classmethod
    def of_series(cls, sheet: SeriesSheet, changes: Iterable[FeeChange]) -> "SeenFees":
        """Translate; a change of fee keeps its place to the millisecond."""
        rows = (FeeRow(change.from_ns // 10**6, Fee(change.fee_type, change.fee_multiplier)) for change in changes)
        return cls("series", sheet.ticker, Fee(sheet.fee_type, sheet.fee_multiplier), tuple(rows))

    @classmethod
    def of_event(cls, sheet: EventSheet) -> "SeenFees":
        """Translate; events have no list of changes."""
        return cls("event", sheet.event_ticker, Fee(sheet.fee_type_override, sheet.fee_multiplier_override))


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


def updated(known: Sequence[FeeRow], seen: SeenFees, now_ms: int) -> list[FeeRow]:
    """Return all rows as they should be: the past as known or announced, the present as seen, the future as announced.

    What is seen now without having been announced is noted from now on, or from 0 at the first look.
    """
    rows = {row.valid_from_ms: row for row in known if row.valid_from_ms <= now_ms}
    rows |= {row.valid_from_ms: row for row in seen.announced}
    is_first_look = not any(at <= now_ms for at in rows)
    if fee_at(rows.values(), now_ms) != seen.now:
        rows[0 if is_first_look else now_ms] = FeeRow(0 if is_first_look else now_ms, seen.now)
    return sorted(rows.values(), key=lambda row: row.valid_from_ms)


def read_fees(connection: Connection, scope: Scope, ticker: str) -> list[FeeRow]:
    """Return what the store knows of a series' or event's fees, in the order of time."""
    return [
        FeeRow(at, Fee(kind, multiplier)) for *_, at, kind, multiplier in connection.execute(_READ, (scope, ticker))
    ]


def write_fees(connection: Connection, seen: SeenFees, now_ns: int) -> None:
    """Bring the store up to what was seen. The connection may be in a transaction."""
    known = read_fees(connection, seen.scope, seen.ticker)
    rows = updated(known, seen, now_ns // 10**6)
    for row in set(known) - set(rows):
        connection.execute(_REMOVE, (seen.scope, seen.ticker, row.valid_from_ms))
    for row in set(rows) - set(known):
        fee = (row.fee.fee_type and storable(row.fee.fee_type), row.fee.multiplier)
        connection.execute(_WRITE, (seen.scope, seen.ticker, row.valid_from_ms, *fee, now_ns))
