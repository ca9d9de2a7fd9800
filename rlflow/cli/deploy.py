"""`deploy`: units, recipes and a dashboard that match our deadlines, probes and metrics."""

import json
import math
import sys
from importlib import resources
from string import Template

import click

from rlflow.cli.dashboard import dashboard
from rlflow.cli.options import load_settings
from rlflow.config import Settings
from rlflow.data.orderbook_client import SILENT_S

# Beyond the deadline the process ends itself; the rest is for that.
GRACE_S = 5
_TEMPLATES = {
    "systemd": "systemd.service",
    "compose": "compose.yaml",
    "k8s": "k8s.yaml",
    "alerts": "alerts.yaml",
}
_GIB = 2**30


def render(kind: str, settings: Settings) -> str:
    """Return the text of one kind, with these settings' deadline, port and journal budget in it."""
    if kind == "grafana":
        return json.dumps(dashboard(), indent=2) + "\n"
    text = resources.files("rlflow.cli").joinpath("templates", _TEMPLATES[kind]).read_text(encoding="utf-8")
    return Template(text).substitute(_facts(settings))


def _facts(settings: Settings) -> dict[str, str | int]:
    grace_s = math.ceil(settings.stop_deadline_s) + GRACE_S
    return {
        "python": sys.executable,
        "settings_file": "/etc/rlflow/rlflow.env",
        "port": settings.port or 8001,
        "stop_deadline_s": f"{settings.stop_deadline_s:g}",
        "grace_s": grace_s,
        "database_grace_s": grace_s + GRACE_S,
        "health_path": "/rl/health",
        "ready_path": "/rl/ready",
        "metrics_path": "/rl/metrics",
        # Longer, and the feed has given the connection up by itself.
        "silent_s": f"{SILENT_S + GRACE_S:g}",
        # Half of the budget is left when it warns.
        "backlog_bytes": settings.journal_max_bytes // 2,
        # The journal, as much again of compressed raw segments, and what the disk must keep free.
        "volume_gib": math.ceil((2 * settings.journal_max_bytes + 2 * _GIB) / _GIB),
    }


@click.command()
@click.argument("kind", type=click.Choice([*_TEMPLATES, "grafana"]))
@click.pass_context
def deploy(context: click.Context, kind: str) -> None:
    """Print a systemd unit, a compose or k8s recipe, Prometheus alerts, or a Grafana dashboard for these settings."""
    click.echo(render(kind, load_settings(context)), nl=False)
