"""`doctor`: everything that the service will need, looked at once, a line each."""

import itertools
import time

import click

from rlflow.cli.findings import Finding, Grade
from rlflow.cli.local_checks import local_findings
from rlflow.cli.options import load_settings
from rlflow.cli.venue_checks import venue_findings
from rlflow.errors import CommandError

_COLOURS = {Grade.OK: "green", Grade.NOTE: "blue", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Look at everything the service needs: a line each, with the cure; exit code 1 if it would not record.

    Key file and its permissions, data directory, database and its tables, disk and days until it is full, port, the
    venue, clock, signature and scope, websocket. Nothing is changed.
    """
    settings = load_settings(context)
    problems = 0
    for finding in itertools.chain(local_findings(settings, time.time_ns()), venue_findings(settings)):
        click.echo(line(finding))
        problems += finding.grade is Grade.PROBLEM
    if problems:
        raise CommandError(f"{problems} to cure before it can record")


def line(finding: Finding) -> str:
    """Return the finding as one line: what, how bad, what was seen, and what to do."""
    grade = click.style(f"{finding.grade.value:<8}", fg=_COLOURS[finding.grade])
    cure = f"; {finding.cure}" if finding.cure else ""
    return f"{finding.name:<15} {grade} {finding.text}{cure}"
