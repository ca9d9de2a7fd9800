"""`deploy`: units, recipes and a dashboard that carry the settings and match our deadlines, probes and metrics."""

import json
import math
import shlex
import sys
from importlib import resources
from pathlib import Path
from string import Template

import click

from rlflow.cli.carrying import as_compose, as_pod, as_unit, carried, secrets, unit_word
from rlflow.cli.dashboard import dashboard
from rlflow.cli.options import load_settings
from rlflow.cli.unit_places import installation, protection
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
DEFAULTS = Settings()


def render(kind: str, settings: Settings) -> str:
    """Return the text of one kind, with all of these settings but their secrets in it.

    What is recorded is always the venue: without its key a recorder ends, lest it records the simulation unnoticed.
    """
    if kind == "grafana":
        return json.dumps(dashboard(), indent=2) + "\n"
    text = resources.files("rlflow.cli").joinpath("templates", _TEMPLATES[kind]).read_text(encoding="utf-8")
    return Template(text).substitute({**_facts(settings), **_unit_facts(settings), **_container_facts(settings)})


def _facts(settings: Settings) -> dict[str, str | int]:
    grace_s = math.ceil(settings.stop_deadline_s) + GRACE_S
    return {
        "port": _port(settings),
        "key": shlex.quote(str((settings.private_key_path or Path("kalshi.pem")).absolute())),
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


def _port(settings: Settings) -> int:
    """Return a port that is known beforehand."""
    return settings.port or DEFAULTS.port


def _own(settings: Settings, *, data_dir: Path, key: str) -> dict[str, str]:
    """Return the variables that a recipe sets itself: what it takes care of, and what other lines of it agree with."""
    return {
        "KALSHI_PRIVATE_KEY_PATH": key,
        "RL_PORT": str(_port(settings)),
        "RL_DATA_DIR": str(data_dir),
        "RL_STOP_DEADLINE": f"{settings.stop_deadline_s}",
    }


def _unit_facts(settings: Settings) -> dict[str, str]:
    chosen = None if settings.data_dir == DEFAULTS.data_dir else settings.data_dir.absolute()
    data_dir = chosen or Path("/var/lib/rlflow")
    return {
        "python": unit_word(sys.executable.replace("$", "$$")),
        "unit_secrets": " ".join(f"{name}=..." for name in secrets(settings, "KALSHI_API_KEY_ID")),
        "make_data_dir": _make_data_dir(chosen) if chosen else "",
        "unit_environment": as_unit(carried(settings, _own(settings, data_dir=data_dir, key="/etc/rlflow/key.pem"))),
        "unit_places": protection(chosen, installation()),
    }


def _make_data_dir(data_dir: Path) -> str:
    """Return the line of the unit's head that makes what systemd does not."""
    where = shlex.quote(str(data_dir))
    return f"#   mkdir -p {where} && chown -R rlflow:rlflow {where} && chmod 0700 {where}\n"


def _container_facts(settings: Settings) -> dict[str, str]:
    # Not loopback inside a container, so admin requests need the token.
    host = {"RL_HOST": "0.0.0.0"}  # noqa: S104  what is published of it, the recipe says
    compose = carried(settings, _own(settings, data_dir=Path("/data"), key="/run/secrets/kalshi_key") | host)
    pod = carried(settings, _own(settings, data_dir=Path("/data"), key="/secret/kalshi.pem") | host)
    needed = ("KALSHI_API_KEY_ID", "RL_ADMIN_TOKEN")
    return {
        "compose_secrets": ", ".join(each for each in secrets(settings, *needed) if each != "DATABASE_URL"),
        "compose_environment": as_compose(compose),
        "pod_secrets": " ".join(f"--from-literal={name}=..." for name in secrets(settings, *needed, "DATABASE_URL")),
        "pod_environment": as_pod(pod),
    }


@click.command()
@click.argument("kind", type=click.Choice([*_TEMPLATES, "grafana"]))
@click.pass_context
def deploy(context: click.Context, kind: str) -> None:
    """Print a systemd unit, a compose or k8s recipe, Prometheus alerts, or a Grafana dashboard for these settings.

    All that is set is carried, but for the secrets: where they go is said at the top.
    """
    click.echo(render(kind, load_settings(context)), nl=False)
