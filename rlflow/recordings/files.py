"""Files of any packing as numbered lines."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

import msgspec
import pyarrow
import pyarrow.parquet
import zstandard

from rlflow.errors import RecordingError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) of the file as it lies on disk."""

CHUNK_BYTES = 64 * 1024
_ROWS_AT_A_TIME = 4_096

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"


class Line(NamedTuple):
    """One line without its end."""

    number: int
    """From 1; of a Parquet file, the row."""
    text: bytes


class _DamagedError(Exception):
    """The packing of a file is broken at the point reached; the message says how."""


class _TruncatedError(_DamagedError):
    """A packed file ends before its packing does."""


class _Decompressor(Protocol):
    """What zlib's and zstandard's objects have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def read_lines(path: Path, progress: Progress | None = None) -> Iterator[Line]:
    """Yield the lines that are not blank.

    Raises:
        RecordingError: the packing is damaged; every line before that was yielded.
        OSError: the file cannot be read.
    """
    number = 0
    try:
        for number, text in enumerate(_texts(path, progress or _silent), start=1):
            if text and not text.isspace():
                yield Line(number, text)
    except _DamagedError as error:
        raise RecordingError(path, number + 1, str(error)) from error


def is_table(path: Path) -> bool:
    """Return whether a file is Parquet, which has rows for lines."""
    return _magic(path) == _PARQUET


def check_sums(path: Path) -> None:
    """Read a packed file through and compare the check sums it carries; a missing end is not complained of.

    A flipped bit can turn one size into another and still unpack: only the sum at the very end tells.

    Raises:
        RecordingError: a sum differs, so that nothing in the file can be relied on. The line is 0: it is not known.
    """
    if is_table(path):
        return
    try:
        for _ in _chunks(path, _silent):
            pass
    except _TruncatedError:
        return
    except _DamagedError as error:
        raise RecordingError(
            path, 0, f"its check sum does not hold ({error}), so nothing in it can be trusted"
        ) from error


def _silent(_done: int, _total: int) -> None:
    """Report nothing."""


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _texts(path: Path, progress: Progress) -> Iterator[bytes]:
    return _rows(path, progress) if is_table(path) else _split(_chunks(path, progress))


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _chunks(path: Path, progress: Progress) -> Iterator[bytes]:
    magic, size = _magic(path), path.stat().st_size
    with path.open("rb") as file:
        packed = _packed(file, size, progress)
        if magic[:2] == _GZIP:
            yield from _unpacked(packed, partial(zlib.decompressobj, wbits=31))
        elif magic == _ZSTD:
            yield from _unpacked(packed, zstandard.ZstdDecompressor().decompressobj)
        else:
            yield from packed


def _packed(file: BinaryIO, size: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        done += len(chunk)
        yield chunk
        progress(done, size)


def _unpacked(chunks: Iterator[bytes], new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    unpacker = new()
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if unpacker.eof:  # several packed files behind each other are one
                    unpacker = new()
                yield unpacker.decompress(data)
                data = unpacker.unused_data
    except (zlib.error, zstandard.ZstdError) as error:
        raise _DamagedError(f"cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise _TruncatedError("the packed file ends in the middle")


def _rows(path: Path, progress: Progress) -> Iterator[bytes]:
    size, done = path.stat().st_size, 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                yield from map(msgspec.json.encode, batch.to_pylist())
                done += batch.num_rows
                progress(size * done // file.metadata.num_rows, size)
    except (pyarrow.ArrowException, OSError) as error:  # a Parquet file without its end cannot be opened at all
        raise _DamagedError(f"not a whole Parquet file: {error}") from error
