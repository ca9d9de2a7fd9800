"""`export`: stored rows into a file."""

import os
from pathlib import Path

import click

from rlflow.cli.options import MOMENT, env_option, open_store, progress_bar
from rlflow.cli.wording import counted
from rlflow.data.history.export import export as export_rows
from rlflow.data.history.export import markets_of
from rlflow.data.history.export_files import FORMATS, PACKINGS, export_target
from rlflow.data.history.moments import END_OF_TIME
from rlflow.errors import CommandError
from rlflow.units import Nanos

# What a name ends in, before a packing's ending, and the format that says.
_ENDINGS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}


class OutputFile(click.Path):
    """A file to write, which has a name."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path."""
        if not os.fspath(value):
            self.fail("it has no name", param, ctx)
        if os.fspath(value) == "-":
            self.fail("it is there whole or not at all, which stdout cannot be; ./- is a file of that name", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("file", type=OutputFile())
@click.option("--market", "markets", multiple=True, metavar="TICKER", help="A market; may be given again.")
@click.option("--series", metavar="TICKER", help="All markets of a series.")
@click.option("--from", "start_ns", type=MOMENT, help="Received from then on, and the snapshots before it.")
@click.option("--to", "end_ns", type=MOMENT, help="Received before then.")
@click.option("--format", "file_format", type=click.Choice(FORMATS), help="Without it, as FILE ends, or ndjson.")
@env_option
@click.pass_context
def export(
    context: click.Context,
    file: Path,
    *,
    markets: tuple[str, ...],
    series: str | None,
    start_ns: Nanos | None,
    end_ns: Nanos | None,
    file_format: str | None,
    environment: str | None,
) -> None:
    """Write what is stored of markets, or of a series, to FILE; one that is there is replaced.

    As ndjson the venue's own frames with their receive times, for `import` to read back, packed if FILE ends in .gz
    or .zst; as parquet one flat table for other tools. Gaps are rows of both.
    """
    if bool(markets) == (series is not None):
        raise click.UsageError("give either --market or --series")
    if end_ns is not None and (start_ns or 0) >= end_ns:
        raise click.UsageError("--from must be before --to")
    chosen = format_of(file, file_format)
    with open_store(context, environment) as database:
        wanted = markets if series is None else markets_of(database, series)
        if not wanted:
            raise CommandError(f"nothing is stored of series {series}")
        with progress_bar("exporting") as progress, export_target(file, chosen) as target:
            exported = export_rows(
                database,
                wanted,
                target,
                start_ns=start_ns or 0,
                end_ns=END_OF_TIME if end_ns is None else end_ns,
                progress=progress,
            )
            if not exported.rows:
                raise CommandError(f"nothing is stored of {series or ', '.join(wanted)} in that time")
    click.echo(
        f"{file}: {counted(exported.rows, 'row')} of {counted(exported.captures, 'capture')}, "
        f"{exported.gaps:,} of them gaps, {file.stat().st_size:,} bytes"
    )


def format_of(file: Path, asked: str | None) -> str:
    """Return the format of a file by its name and what --format asks for; UsageError if they do not go together."""
    packing = file.suffix.lower() if file.suffix.lower() in PACKINGS else ""
    ending = Path(file.stem if packing else file.name).suffix.lower()
    named = _ENDINGS.get(ending)
    if asked is None and ending and named is None:
        raise click.UsageError(f"{file.name} does not end in {' or '.join(_ENDINGS)}: name it so, or give --format")
    if asked is not None and named not in {asked, None}:
        raise click.UsageError(f"{file.name} is a name of {named}, --format says {asked}")
    chosen = asked or named or "ndjson"
    if packing and chosen == "parquet":
        raise click.UsageError(f"{file.name}: parquet is packed inside, only ndjson ends in {packing}")
    return chosen
