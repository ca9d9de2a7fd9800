"""`serve`: the service itself."""

import gc

import click
import structlog

from rlflow.cli.options import run_listening
from rlflow.config import Settings, unknown_names
from rlflow.supervisor import run_service

# Objects made before the youngest are looked through (700 by default), and how often the two older generations follow.
GARBAGE_THRESHOLDS = (5_000, 20, 50)

_log = structlog.get_logger(__name__)


@click.command()
@click.pass_context
def serve(context: click.Context) -> None:
    """Record the configured markets and serve their books over HTTP, until Ctrl-C or SIGTERM."""
    settings = Settings.from_environ(context.obj())
    for name, nearest in unknown_names(context.obj()).items():
        _log.warning("setting unknown", name=name, **({"nearest": nearest} if nearest else {}))
    calm_garbage_collector()
    code = run_listening(run_service, settings)
    context.exit(code)


def calm_garbage_collector() -> None:
    """Let the collector of cycles look through everything seldom, and never through what stays for good.

    With 2,000 markets it held the event loop up for 60 to 120 ms each time; hardly anything of ours is in a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
