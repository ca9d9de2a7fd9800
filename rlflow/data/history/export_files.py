"""The files that an export can be: lines for `import`, or a Parquet table. Whole or not at all."""

import gzip
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs
import msgspec
import pyarrow
import pyarrow.parquet
import zstandard

from rlflow.data.history.export import ExportTarget
from rlflow.data.history.stored_rows import StoredRow
from rlflow.data.journal.segment import sync_directory
from rlflow.data.store.captures import CaptureRecord
from rlflow.errors import CommandError
from rlflow.recordings.exported import (
    ExportedOpening,
    closing_line,
    fetched_line,
    opening_line,
    removed_line,
    row_line,
)
from rlflow.session.rows import DeltaRow, GapRow, RemovedState, SnapshotRow, TradeRow

FORMATS: Final = ("ndjson", "parquet")
PACKINGS: Final = (".gz", ".zst")
"""How the name of packed lines ends, in any case."""

_ROWS_PER_GROUP = 50_000
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 9


@contextmanager
def export_target(path: Path, file_format: str) -> Iterator[ExportTarget]:
    """Yield what writes a file, which is there under its name only if no error comes; the one before is replaced.

    Args:
        path: The file, or a symbolic link to it, which stays. Lines are packed if its name ends in one of `PACKINGS`.
        file_format: One of `FORMATS`.

    Raises:
        CommandError: It cannot be written there, or something else than a file is there (code 2); or it can no longer
            be written (1).
    """
    place = _place(path)
    # A name of its own: nothing that is there may be written over, and a long name leaves no room for an ending.
    part = place.with_name(f".rlflow-{secrets.token_hex(4)}.part")
    try:
        opened = part.open("xb")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}", 2) from error
    try:
        with opened as file:
            if file_format == "parquet":
                with ParquetTarget(file) as table:
                    yield table
            else:
                with _packing(file, path.suffix.lower()) as packed:
                    yield LineTarget(packed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
        sync_directory(place.parent)
    except OSError as error:
        raise CommandError(f"{path} could not be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _place(path: Path) -> Path:
    """Return where the file is to be, symbolic links followed; CommandError where a file cannot take its place."""
    place = Path(os.path.realpath(path))
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return place
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}", 2) from error
    if not stat.S_ISREG(mode):
        # It would be taken away, be it a device that the whole machine uses.
        raise CommandError(f"{path} is there and no regular file, the only thing that an export replaces", 2)
    return place


@contextmanager
def _packing(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    match suffix:
        case ".gz":
            # Without the time, so that the same rows are the same bytes.
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0, filename="") as packed:
                yield cast(BinaryIO, packed)
        case ".zst":
            compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
            with compressor.stream_writer(file, closefd=False) as packed:
                yield cast(BinaryIO, packed)
        case _:
            yield file


@attrs.frozen
class LineTarget:
    """Lines of `recordings.exported`."""

    _file: BinaryIO

    def begin(self, record: CaptureRecord, markets: Sequence[str]) -> None:
        """Write the line that opens a capture."""
        opening = ExportedOpening(
            capture_id=record.capture,
            url=record.opened.url,
            environment=record.opened.environment,
            markets=tuple(markets),
            sample_rate=record.opened.sample_rate,
            sparse_seq=record.opened.sparse_seq,
        )
        self._write(opening_line(opening, record.opened_ns))

    def add(self, _record: CaptureRecord, row: StoredRow) -> None:
        """Write a row's line."""
        self._write(row_line(row))

    def add_removal(self, removed: RemovedState) -> None:
        """Write the line of a removed market."""
        self._write(removed_line(removed))

    def end(self, record: CaptureRecord, *, is_whole: bool) -> None:
        """Write the line that closes a capture, if it was closed and nothing before that is left out."""
        if is_whole and record.closed is not None and record.closed_ns is not None:
            self._write(closing_line(record.closed, record.committed_frame, record.closed_ns))

    def add_fetched(self, trade: TradeRow) -> None:
        """Write the line of a trade of no capture."""
        self._write(fetched_line(trade))

    def _write(self, line: bytes) -> None:
        self._file.write(line + b"\n")


_LEVELS = pyarrow.list_(pyarrow.struct([("price_e4", pyarrow.int32()), ("size_e2", pyarrow.int64())]))

TABLE: Final = pyarrow.schema(
    [
        ("kind", pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
        ("capture_id", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        ("market_ticker", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        ("frame_no", pyarrow.int64()),
        ("received_ns", pyarrow.int64()),
        ("timestamp_ms", pyarrow.int64()),
        ("sending_ts_ms", pyarrow.int64()),
        ("sid", pyarrow.int64()),
        ("sequence_number", pyarrow.int64()),
        ("clock", pyarrow.int64()),
        ("side", pyarrow.string()),
        ("price_e4", pyarrow.int32()),
        ("delta_e2", pyarrow.int64()),
        ("action", pyarrow.string()),
        ("old_size_e2", pyarrow.int64()),
        ("new_size_e2", pyarrow.int64()),
        ("trade_id", pyarrow.string()),
        ("yes_price_e4", pyarrow.int32()),
        ("count_e2", pyarrow.int64()),
        ("taker_side", pyarrow.string()),
        ("is_block_trade", pyarrow.bool_()),
        ("origin", pyarrow.string()),
        ("yes_bids", _LEVELS),
        ("no_bids", _LEVELS),
        ("channel", pyarrow.string()),
        ("from_frame", pyarrow.int64()),
        ("from_ns", pyarrow.int64()),
        ("to_ns", pyarrow.int64()),
        ("cause", pyarrow.string()),
        ("expected_seq", pyarrow.int64()),
        ("received_seq", pyarrow.int64()),
    ],
    metadata={
        "units": "_e4: 1/10,000 dollar; _e2: 1/100 contract; _ns, _ms: since 1970-01-01 UTC; NO side in NO prices"
    },
)
"""The columns of a Parquet export; those that a kind of row does not have are null."""

_KINDS: Final = {SnapshotRow: "snapshot", DeltaRow: "delta", TradeRow: "trade", GapRow: "gap"}
# Where a row's own name for something does not say its unit.
_UNITS: Final = {
    "price": "price_e4",
    "delta": "delta_e2",
    "old_size": "old_size_e2",
    "new_size": "new_size_e2",
    "yes_price": "yes_price_e4",
    "count": "count_e2",
}


@attrs.define
class ParquetTarget:
    """One flat table of all rows, in the order of captures and frames. A context manager: leaving it ends the file."""

    _file: BinaryIO
    _writer: pyarrow.parquet.ParquetWriter = attrs.field(init=False)
    _rows: list[dict[str, object]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = pyarrow.parquet.ParquetWriter(self._file, TABLE, compression="zstd")

    def begin(self, record: CaptureRecord, markets: Sequence[str]) -> None:
        """Do nothing: every row names its capture."""

    def add(self, record: CaptureRecord, row: StoredRow) -> None:
        """Write a row."""
        fields = {_UNITS.get(name, name): value for name, value in msgspec.structs.asdict(row).items()}
        for side in ("yes_bids", "no_bids"):
            if side in fields:
                fields[side] = [{"price_e4": price, "size_e2": size} for price, size in fields[side]]
        self._add({"kind": _KINDS[type(row)], "capture_id": str(record.capture), **fields})

    def add_removal(self, removed: RemovedState) -> None:
        """Do nothing: it is no row."""

    def end(self, record: CaptureRecord, *, is_whole: bool) -> None:
        """Do nothing: how a capture ended shows in its gaps."""

    def add_fetched(self, trade: TradeRow) -> None:
        """Write a row without capture and frame."""
        fields = {_UNITS.get(name, name): value for name, value in msgspec.structs.asdict(trade).items()}
        of_no_capture = dict.fromkeys(("frame_no", "sid", "sequence_number"))
        self._add({"kind": "trade", "origin": "rest", **fields, **of_no_capture})

    def _add(self, row: dict[str, object]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, TABLE))
            self._rows = []

    def __enter__(self) -> "ParquetTarget":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
