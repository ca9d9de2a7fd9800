"""What a file that `db dump` wrote says of the store in it, before anything is restored."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs
import zstandard

from rlflow.errors import CommandError

# What pg_dump writes before the rows of a table; the row of `rl_meta` is one line.
_META: Final = re.compile(rb"COPY (?P<schema>\S+)\.rl_meta \((?P<columns>[^)]*)\) FROM stdin;")


@attrs.frozen
class DumpedStore:
    """A store as its dump describes it."""

    environment: str
    db_schema: str


@contextmanager
def open_dump(path: Path) -> Iterator[BinaryIO]:
    """Open a dump for reading, unpacked if it is gzip or zstd by its content."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
        elif magic == b"\x28\xb5\x2f\xfd":
            yield cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(file))
        else:
            yield file


def read_dump(path: Path) -> DumpedStore:
    """Return what store a dump holds.

    Raises:
        CommandError: it holds none.
    """
    with open_dump(path) as file:
        lines = _lines(file)
        for line in lines:
            if (found := _META.match(line)) is not None:
                columns = found["columns"].decode().split(", ")
                values = dict(zip(columns, next(lines).decode().rstrip("\n").split("\t"), strict=True))
                return DumpedStore(values["environment"], found["schema"].decode().strip('"'))
    raise CommandError(f"{path} is no dump of a store: it has no table rl_meta with its row", 2)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
