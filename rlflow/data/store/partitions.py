"""Day partitions of the three large tables: made before they are needed, dropped when they are too old.

There is no default partition, so a row of a day without one is refused: `DayPartitions.ensure` comes before each write.
A partition is made as a table of its own and then attached, because `CREATE TABLE ... PARTITION OF` waits for every
open reader of the parent while everybody else waits behind it.
"""

import re
from collections.abc import Iterable, Set
from datetime import date
from typing import Final, Literal

import attrs
from psycopg import sql

from rlflow.data.store.postgres import Connection
from rlflow.units import Nanos

TABLES: Final = ("rl_orderbook_snapshots", "rl_orderbook_deltas", "rl_trades")
DAY_NS: Final = 86_400 * 10**9
# A service that cannot make partitions for a week has been looked at by somebody.
DAYS_AHEAD = 7
# A lock that does not come within this time is held by something long; the next attempt may have more luck.
LOCK_TIMEOUT = "5s"

_EPOCH = date(1970, 1, 1).toordinal()
_NAME = re.compile(rf"({'|'.join(TABLES)})_(\d{{4}})(\d\d)(\d\d)")


def day_of(received_ns: Nanos) -> int:
    """Return the UTC day of a time, as days since 1970-01-01."""
    return received_ns // DAY_NS


def partition_name(table: str, day: int) -> str:
    """Return the name of a table's partition for a day: rl_trades_20261122."""
    return f"{table}_{_date(day):%Y%m%d}"


def day_of_partition(name: str) -> int | None:
    """Return the day of a partition's name, None if it is no such name."""
    match = _NAME.fullmatch(name)
    return date(*map(int, match.groups()[1:])).toordinal() - _EPOCH if match else None


@attrs.define
class DayPartitions:
    """The partitions of one store; remembers those seen, so that asking again for the same days costs nothing."""

    _connection: Connection
    _known: set[int] = attrs.field(factory=set, init=False)
    """Days for which all tables have one."""

    @property
    def days(self) -> frozenset[int]:
        """The days that all tables had a partition for when we last looked."""
        return frozenset(self._known)

    def refresh(self) -> None:
        """Look at the database again: retention, or another process, may have changed it."""
        self._known = set(complete_days(self._connection))

    def ensure(self, days: Iterable[int]) -> None:
        """Make what is missing of these days. The connection must not be in a transaction.

        Raises:
            psycopg.errors.LockNotAvailable: something holds a lock on a parent table for long.
        """
        if self._known.issuperset(days := set(days)):
            return
        with self._connection.transaction():
            self._connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            self._connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('rlflow days ' || current_schema(), 0))"
            )
            self._finish_detaching(days)
            for table, attached in _attached(self._connection).items():
                for day in sorted(days - attached):
                    self._make(table, day)
        self.refresh()

    def _finish_detaching(self, days: Set[int]) -> None:
        """Let go of the partitions of these days that are half detached: only then they can be attached again."""
        for name, parent, is_pending in _tables(self._connection):
            if parent is not None and is_pending and day_of_partition(name) in days:
                self._detach(name, parent, "FINALIZE")

    def look_ahead(self, now_ns: Nanos) -> None:
        """Make the partitions of today and the days to come."""
        today = day_of(now_ns)
        self.ensure(range(today, today + DAYS_AHEAD + 1))

    def drop_before(self, day: date) -> list[str]:
        """Drop all partitions of earlier days and return their names; readers and writers go on meanwhile.

        Takes up what an earlier attempt left half done.
        """
        dropped = []
        for name, parent, is_pending in _tables(self._connection):
            found = day_of_partition(name)
            if found is None or found >= day_number(day):
                continue
            if parent is not None:
                self._detach(name, parent, "FINALIZE" if is_pending else "CONCURRENTLY")
            self._connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            dropped.append(name)
        self.refresh()
        return dropped

    def _detach(self, name: str, parent: str, how: Literal["CONCURRENTLY", "FINALIZE"]) -> None:
        self._connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(
                sql.Identifier(parent), sql.Identifier(name), sql.SQL(how)
            )
        )

    def _make(self, table: str, day: int) -> None:
        names = {
            "parent": sql.Identifier(table),
            "partition": sql.Identifier(partition_name(table, day)),
            "begin": sql.Literal(day * DAY_NS),
            "end": sql.Literal((day + 1) * DAY_NS),
        }
        # IF NOT EXISTS: retention may have detached it and not come to dropping it.
        self._connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {partition} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY)").format(
                **names
            )
        )
        self._connection.execute(
            sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ({begin}) TO ({end})").format(
                **names
            )
        )


def complete_days(connection: Connection) -> frozenset[int]:
    """Return the days for which all tables of the store have a partition."""
    return frozenset(set.intersection(*_attached(connection).values()))


def _attached(connection: Connection) -> dict[str, set[int]]:
    """Return the days of each table's partitions."""
    attached: dict[str, set[int]] = {table: set() for table in TABLES}
    for name, parent, is_pending in _tables(connection):
        day = day_of_partition(name)
        if day is not None and parent is not None and not is_pending:
            attached[parent].add(day)
    return attached


def _tables(connection: Connection) -> list[tuple[str, str | None, bool]]:
    """Return name, parent (None if detached) and whether detaching was begun, of all tables named like ours."""
    found = connection.execute(
        """SELECT child.relname, parent.relname, coalesce(inherits.inhdetachpending, false)
           FROM pg_catalog.pg_class AS child
           LEFT JOIN pg_catalog.pg_inherits AS inherits ON inherits.inhrelid = child.oid
           LEFT JOIN pg_catalog.pg_class AS parent ON parent.oid = inherits.inhparent
           JOIN pg_catalog.pg_namespace AS space ON space.oid = child.relnamespace
           WHERE space.nspname = current_schema() AND child.relkind = 'r' AND child.relname ~ %s
           ORDER BY child.relname""",
        (f"^{_NAME.pattern}$",),
    )
    return list(found)


@attrs.frozen
class StoreSize:
    """How large a store is."""

    bytes: int
    """All tables and indexes of ours."""
    oldest_day: date | None
    """The oldest day with a partition."""
    newest_day: date | None
    """The newest, usually in the future and empty."""
    last_full_day_bytes: int
    """What yesterday took, the best guess for tomorrow."""


def sizes_before(connection: Connection, day: date) -> dict[str, int]:
    """Return the sizes in bytes of all partitions of earlier days, indexes included, detached ones too."""
    sizes = _sizes(connection)
    earlier = {name for name in sizes if (found := day_of_partition(name)) is not None and found < day_number(day)}
    return {name: sizes[name] for name in sorted(earlier)}


def size_of(connection: Connection, now_ns: Nanos) -> StoreSize:
    """Measure the store that the connection works in."""
    sizes = _sizes(connection)
    days = [day for name in sizes if (day := day_of_partition(name)) is not None]
    yesterday = [partition_name(table, day_of(now_ns) - 1) for table in TABLES]
    return StoreSize(
        bytes=sum(sizes.values()),
        oldest_day=_date(min(days)) if days else None,
        newest_day=_date(max(days)) if days else None,
        last_full_day_bytes=sum(sizes.get(name, 0) for name in yesterday),
    )


def _sizes(connection: Connection) -> dict[str, int]:
    """Return what each table of ours takes, with its indexes."""
    found = connection.execute(
        """SELECT class.relname, pg_total_relation_size(class.oid) FROM pg_catalog.pg_class AS class
           JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
           WHERE space.nspname = current_schema() AND class.relkind = 'r' AND class.relname LIKE 'rl\\_%%'""",
        (),
    )
    return {str(name): int(size) for name, size in found}


def day_number(day: date) -> int:
    """Return a date as days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def _date(day: int) -> date:
    return date.fromordinal(_EPOCH + day)
