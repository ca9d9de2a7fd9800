"""`reimport`: a capture's rows made anew."""

from uuid import UUID

import click

from rlflow.cli.options import env_option, open_store
from rlflow.cli.wording import counted
from rlflow.config import Settings
from rlflow.data.imports.reimport import Reimported
from rlflow.data.imports.reimport import reimport as make_anew
from rlflow.data.journal.kept_frames import KeptFrames


@click.command()
@click.argument("capture", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@env_option
@click.pass_context
def reimport(context: click.Context, capture: UUID, dry_run: bool, environment: str | None) -> None:
    """Make the rows of CAPTURE anew from its frames, as they were received, after a bug in their decoding.

    The frames are in the data directory for RL_RAW_KEEP_DAYS; if not all of a closed capture are there, nothing
    happens. Everything changes in one transaction, beside a running service.
    """
    # `open_store` says what is wrong with the settings.
    kept = KeptFrames(Settings.from_environ(context.obj()).data_dir)
    with open_store(context, environment) as database:
        found = make_anew(database, kept, capture, dry_run=dry_run)
    for line in describe(found, dry_run=dry_run):
        click.echo(line)


def describe(found: Reimported, *, dry_run: bool) -> list[str]:
    """Return what was read and what changed."""
    changes = found.changes
    kinds = sorted(changes.before.keys() | changes.after.keys())
    rows = ", ".join(f"{changes.before[kind]:,} to {changes.after[kind]:,} {kind}s" for kind in kinds)
    lines = [f"{counted(found.frames, 'frame')} read again; rows from {rows or 'none'}"]
    if not found.has_changed:
        return [*lines, "nothing changes"]
    lines += changes.examples
    if changes.frames > len(changes.examples):
        lines.append(f"and {counted(changes.frames - len(changes.examples), 'frame')} more")
    lines.append(
        f"{counted(changes.frames, 'frame')} with other rows, {counted(found.gaps_removed, 'gap')} fewer, "
        f"{found.gaps_added:,} more, {found.rejected_before:,} to {counted(found.rejected_after, 'rejected frame')}"
    )
    return [*lines, "not written: this was a dry run" if dry_run else "written"]
