"""The command line's entry: the group of commands, and errors as one clear line with the right exit code."""

import errno
import os
import signal
import sys

import attrs
import click

from rlflow import __version__
from rlflow.cli.database import db
from rlflow.cli.deploy import deploy
from rlflow.cli.doctor import doctor
from rlflow.cli.exchange import exchange
from rlflow.cli.export import export
from rlflow.cli.history import audit, book
from rlflow.cli.logs import configure_logging, drop_unwritten
from rlflow.cli.markets import markets
from rlflow.cli.recordings import import_
from rlflow.cli.reimport import reimport
from rlflow.cli.retention import retention
from rlflow.cli.serve import serve
from rlflow.config import Settings
from rlflow.environ import environ
from rlflow.errors import (
    CommandError,
    DatabaseAwayError,
    KeyRefusedError,
    OtherWriterError,
    RecordingRefusedError,
    RlflowError,
    SettingsError,
    StoreError,
)


def settings_help() -> str:
    """Return the table of settings, from their one declaration."""
    lines = []
    for field in attrs.fields(Settings):
        default = f" [{field.metadata['shown']}]" if field.metadata["shown"] else ""
        lines.append(f"  {field.metadata['name']:<28} {field.metadata['meaning']}{default}")
    return "\n".join(lines)


EPILOG = f"""
\b
Settings, from the environment or a .env file in the working directory:
{settings_help()}

Without any KALSHI_ variable the simulated exchange runs in the process. Exit codes: 0 done; 1 failed, or what was
looked for is not there or differs; 2 settings or input that cannot be used; 70 a stop took longer than its deadline.
"""
# What a stream says that is written to; whoever writes something else has an error of its own for it.
_OUTPUT_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@click.group(invoke_without_command=True, epilog=EPILOG, context_settings={"max_content_width": 120})
@click.version_option(__version__, prog_name="rlflow")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of stderr.")
@click.pass_context
def commands(context: click.Context, log_format: str) -> None:
    """Record Kalshi order books into PostgreSQL, keep them live, and rebuild any moment. Alone: the same as serve."""
    configure_logging(log_format)
    if context.invoked_subcommand is None:
        context.invoke(serve)


for command in (serve, doctor, markets, import_, export, book, audit, reimport, retention, db, exchange, deploy):
    commands.add_command(command)


def main() -> None:
    """Run the command line and exit with its code."""
    # As Ctrl-C: what is held, an embedded server for one, is let go. The service listens for both signals by itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = commands.main(prog_name="rlflow", standalone_mode=False, obj=environ)
    except click.ClickException as error:
        error.show()
        code = 2
    except click.Abort:
        click.echo("error: interrupted", err=True)
        code = 1
    except OSError as error:
        code = report_output(error)
    except RlflowError as error:
        code = report(error)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Nothing is left to interrupt; while the interpreter ends, a signal would only change the exit code.
        signal.signal(number, signal.SIG_IGN)
    drop_unwritten()
    sys.exit(code)


def report_output(error: OSError) -> int:
    """Print why stdout takes no more, and return the exit code; any other error is raised again."""
    if error.errno not in _OUTPUT_ERRORS or error.filename is not None:
        raise error
    # Whoever closed a pipe has seen enough.
    if error.errno != errno.EPIPE:
        click.echo(f"error: the output could not be written: {error.strerror}", err=True)
    # What is left in the buffer would make the interpreter complain at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def report(error: RlflowError) -> int:
    """Print an error for people and return its exit code."""
    what = "the database does not answer: " if isinstance(error, DatabaseAwayError) else ""
    for line in f"{what}{error}".splitlines():
        click.echo(f"error: {line}", err=True)
    if isinstance(error, CommandError):
        return error.code
    # The next start goes on from what it finds, so that who starts us again must not take it for a matter of settings.
    is_cured_by_a_start = isinstance(error, OtherWriterError)
    wants_other_input = isinstance(error, SettingsError | KeyRefusedError | StoreError | RecordingRefusedError)
    return 2 if wants_other_input and not is_cured_by_a_start else 1
