"""`import`: recorded files into the tables."""

from pathlib import Path

import click
import msgspec

from rlflow.cli.options import RECORDING_FILE, load_settings, progress_bar
from rlflow.cli.wording import counted
from rlflow.data.imports.importer import ImportedFile, import_files
from rlflow.data.stores import Stores
from rlflow.errors import CommandError

ENVIRONMENT = "recordings"


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=RECORDING_FILE)
@click.option("--sparse-seq", is_flag=True, help="seq was shared with markets not in the files: holes are no gaps.")
@click.option("--use-yes-price", is_flag=True, help="The recording's NO levels come as YES prices.")
@click.pass_context
def import_(context: click.Context, files: tuple[Path, ...], sparse_seq: bool, use_yes_price: bool) -> None:
    """Import recordings, exactly once: importing a file again adds nothing.

    Reads {"recv_ms","event"} lines, verbatim frames and recorder envelopes, plain, .gz or .zst, and legacy parquet. Of
    a damaged file what is whole is kept, and the repaired file goes on there; the exit code is 1 then, and 2 if all
    that is wrong is a file that is no recording.
    """
    stores = Stores(load_settings(context))
    with stores, stores.connect(ENVIRONMENT) as database, progress_bar("importing") as progress:
        found = import_files(database, files, sparse_seq=sparse_seq, use_yes_price=use_yes_price, progress=progress)
    for imported in found:
        click.echo(describe(imported))
    problems = [imported for imported in found if imported.problem is not None]
    if problems:
        code = 2 if all(imported.is_refused for imported in problems) else 1
        raise CommandError("\n".join(f"{imported.problem}" for imported in problems), code)


def describe(imported: ImportedFile) -> str:
    """Return one line about a file."""
    became = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in _shown(imported).items() if value)
    return (
        f"{imported.path.name}: {counted(imported.frames, 'frame')} in {counted(imported.captures, 'capture')}, "
        f"{imported.added:,} new{f' ({became})' if became else ''}, {counted(imported.rows, 'row')} added"
    )


def _shown(imported: ImportedFile) -> dict[str, int]:
    return msgspec.structs.asdict(imported.counts)
