"""`serve`: the service itself."""

import click
import structlog

from rlflow.cli.options import load_settings, run_listening
from rlflow.config import unknown_names
from rlflow.supervisor import run_service

_log = structlog.get_logger(__name__)


@click.command()
@click.pass_context
def serve(context: click.Context) -> None:
    """Record the configured markets and serve their books over HTTP, until Ctrl-C or SIGTERM."""
    settings = load_settings(context)
    for name in unknown_names(context.obj()):
        _log.warning("setting unknown", name=name)
    code = run_listening(run_service, settings)
    context.exit(code)
