"""What `doctor` looks at on this machine: key file, data directory, disk, database, port. Nothing is changed."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx

from rlflow.cli.findings import Finding, Grade, note, ok, problem, warning
from rlflow.cli.wording import counted
from rlflow.config import Settings
from rlflow.data.embedded.files import holds_data
from rlflow.data.journal.disk_guard import free_bytes_of
from rlflow.data.journal.journal import MIN_FREE_BYTES
from rlflow.data.lock import holder
from rlflow.data.store import postgres
from rlflow.data.store.partitions import StoreSize, size_of
from rlflow.data.store.schema import NEWEST_VERSION, read_store, use_schema
from rlflow.data.stores import Stores
from rlflow.errors import DatabaseAwayError, SettingsError, StoreError
from rlflow.kalshi.auth import kind_of, load_private_key
from rlflow.key_file import exposure, read_key_file
from rlflow.supervisor.http import bind
from rlflow.units import Nanos

_GIB = 2**30
# Less than this until the disk is full, and there is no time for a holiday.
FEW_DAYS = 14


def check_key_file(settings: Settings) -> Finding:
    """Look at the key's file: is it there, is it a key, and may others read it."""
    path = settings.private_key_path
    if path is None:
        return note("key file", "none is needed: the simulated exchange makes its own")
    try:
        exposed, pem = exposure(path), read_key_file(path)
        kind = kind_of(load_private_key(pem))
    except OSError as error:
        cure = "set KALSHI_PRIVATE_KEY_PATH to the PEM file that the venue's site gave you"
        return problem("key file", f"{path} cannot be read: {error.strerror}", cure)
    except ValueError as error:
        return problem("key file", f"{path}: {error}", "make a new key on the venue's site and save it as it is")
    if exposed is not None:
        return warning("key file", f"{path} ({kind}) can be read by others (mode {exposed.mode:04o})", exposed.cure)
    return ok("key file", f"{path} ({kind}), readable by its owner only")


def check_data_dir(settings: Settings) -> Finding:
    """Look whether the data directory can be used, and who uses it."""
    directory = settings.data_dir
    cure = "name another directory in RL_DATA_DIR"
    try:
        place = _existing(directory)
        if (refusal := _refusal(place)) is not None:
            return problem("data directory", f"{directory} cannot be used: {place} {refusal}", cure)
        if place != directory:
            return ok("data directory", f"{directory} will be made at the first start")
        pid = holder(directory)
    except OSError as error:
        return problem("data directory", f"{directory} cannot be used: {error.strerror}", cure)
    if pid is not None:
        return note("data directory", f"{directory} is in use by process {pid or 'unknown'}, a running rlflow")
    if directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warning("data directory", f"{directory} is open to others", f"chmod 700 {directory}")
    return ok("data directory", str(directory))


def _refusal(place: Path) -> str | None:
    """Return what keeps us from making files in a place that exists, as far as that shows without making one."""
    if not place.is_dir():
        return "is no directory"
    if not os.access(place, os.W_OK | os.X_OK):
        return "cannot be written to"
    # Such as /proc, whose permissions promise more.
    return None if os.statvfs(place).f_blocks else "is on a file system that holds no files"


def check_disk(settings: Settings, size: StoreSize | None) -> Finding:
    """Look at the room on the disk, and how long it will last at yesterday's rate."""
    place = _existing(settings.data_dir)
    free = free_bytes_of(place)
    text = f"{free / _GIB:.1f} GiB free at {place}"
    needed = MIN_FREE_BYTES + settings.journal_max_bytes
    if free < MIN_FREE_BYTES:
        return problem("disk", f"{text}, below 1 GiB the journal takes nothing", "make room, or move RL_DATA_DIR")
    if free < needed:
        cure = f"make room, or set RL_JOURNAL_MAX_BYTES below {max(free - MIN_FREE_BYTES, 0)}"
        return warning("disk", f"{text}, less than a full journal needs ({needed / _GIB:.1f} GiB)", cure)
    if settings.database_url is not None:
        return ok("disk", f"{text} for the journal; the database's disk cannot be seen from here")
    daily = size.last_full_day_bytes if size else 0
    if not daily:
        return ok("disk", f"{text}; how long it lasts shows after a full day of recording")
    return _judge_days(text, (free - needed) / daily, daily)


def _judge_days(text: str, days: float, daily: int) -> Finding:
    text = f"{text}, full in {counted(round(days), 'day')} at yesterday's {daily / _GIB:.2f} GiB a day"
    if days < FEW_DAYS:
        return warning("disk", text, "set RL_RETENTION_DAYS, or give it a larger disk")
    return ok("disk", text)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def check_database(settings: Settings, now_ns: Nanos) -> tuple[list[Finding], StoreSize | None]:
    """Connect to the store and look at its tables; an embedded server runs meanwhile, if it was ever made."""
    if settings.database_url is None and not _has_embedded(settings):
        return [ok("database", "an embedded PostgreSQL will be made at the first start")], None
    with Stores(settings) as stores:
        try:
            address = stores.address(settings.environment)
            with contextlib.closing(postgres.connect(address)) as connection, postgres.translated():
                return _look_at(connection, settings, now_ns)
        except DatabaseAwayError as error:
            cure = "start PostgreSQL, or correct DATABASE_URL; a running recorder goes on into its journal meanwhile"
            return [problem("database", f"{settings.public()['DATABASE_URL'] or 'embedded'}: {error}", cure)], None
        except (StoreError, SettingsError) as error:
            return [problem("database", str(error), "follow what it says")], None


def _has_embedded(settings: Settings) -> bool:
    try:
        return holds_data(settings.data_dir)
    except OSError:
        return False


def _look_at(
    connection: postgres.Connection, settings: Settings, now_ns: Nanos
) -> tuple[list[Finding], StoreSize | None]:
    where = "embedded" if settings.database_url is None else str(settings.public()["DATABASE_URL"])
    reached = ok("database", f"{where}: PostgreSQL {connection.info.server_version // 10_000} answers")
    schema = settings.schema_for(settings.environment)
    use_schema(connection, schema)
    store = read_store(connection, schema)
    if store is None:
        return [reached, ok("schema", f"{schema!r} is empty, the tables will be made at the first start")], None
    if store.environment != settings.environment:
        text = f"{schema!r} holds data of {store.environment}, not of {settings.environment}"
        return [reached, problem("schema", text, "set RL_DB_SCHEMA to another schema")], None
    if store.schema_version > NEWEST_VERSION:
        text = f"{schema!r} has version {store.schema_version}, this rlflow knows {NEWEST_VERSION}"
        return [reached, problem("schema", text, "install a newer rlflow")], None
    size = size_of(connection, now_ns)
    upgrade = "" if store.schema_version == NEWEST_VERSION else f", to become {NEWEST_VERSION} at the next start"
    text = f"{schema!r}, version {store.schema_version}{upgrade}, environment {store.environment}"
    return [reached, ok("schema", f"{text}, {size.bytes / _GIB:.2f} GiB")], size


def check_port(settings: Settings) -> Finding:
    """Look whether the port is free, or has us on it already."""
    try:
        bind(settings).close()
    except SettingsError as error:
        if _is_ours(settings):
            return note("port", f"{settings.host}:{settings.port} is served by an rlflow that runs")
        # It names the setting and what to do with it.
        return Finding("port", Grade.PROBLEM, str(error))
    return ok("port", f"{settings.host}:{settings.port or 'any'} is free")


def _is_ours(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        return '"rlflow"' in httpx.get(f"http://{host}:{settings.port}/rl/health", timeout=3).text
    except httpx.HTTPError:
        return False


def local_findings(settings: Settings, now_ns: Nanos) -> Iterator[Finding]:
    """Yield what is found, each as soon as it is known; blocks."""
    yield check_key_file(settings)
    yield check_data_dir(settings)
    found, size = check_database(settings, now_ns)
    yield from found
    yield check_disk(settings, size)
    yield check_port(settings)
