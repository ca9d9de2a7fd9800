"""What `deploy` prints: it parses, agrees with our deadlines and probes, and names only metrics that we serve."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlflow.cli.dashboard import dashboard
from rlflow.cli.deploy import render
from rlflow.cli.main import commands
from rlflow.cli.unit_places import installation, protection
from rlflow.config import SECRETS, Settings

KINDS = ("systemd", "compose", "k8s", "alerts", "grafana")
SETTINGS = Settings.from_environ({"RL_STOP_DEADLINE": "40.5", "RL_PORT": "9123"})
PLAIN = {
    "KALSHI_ENV": "demo",
    "KALSHI_WS_URL": "wss://demo-api.kalshi.co/trade-api/ws/v2",
    "RL_MARKET_TICKER": "KXA,KX$B,KXÉ",
    "RL_REDUNDANT_FEEDS": "2",
    "RL_RETENTION_DAYS": "30",
    "RL_DB_SCHEMA": "books",
    "RL_JOURNAL_MAX_BYTES": "99999999",
    "RL_PORT": "9123",
    "RL_STOP_DEADLINE": "40.5",
}
CHOSEN = PLAIN | {
    "KALSHI_API_KEY_ID": "hunter2-key-id",
    "KALSHI_PRIVATE_KEY_PATH": "/keys/mine.pem",
    "DATABASE_URL": "postgresql://u:hunter2@db/x",
    "RL_ADMIN_TOKEN": "hunter2-token-of-admins",
    "RL_DATA_DIR": "/srv/of rlflow",
    "RL_HOST": "0.0.0.0",
}
FULL = Settings.from_environ(CHOSEN)


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\brlflow_[a-z_]+", text))


def served_metrics() -> set[str]:
    """The names in our own source, as Prometheus will see them."""
    source = (Path(__file__).parent.parent / "rlflow" / "api" / "metrics_page.py").read_text()
    counters = re.findall(r'_counter\(\s*f?"([a-z_]+)"', source)
    gauges = re.findall(r'_gauge\(\s*f?"([a-z_]+)"', source)
    families = re.findall(r'(Counter|Gauge)MetricFamily\(\s*"(rlflow_[a-z_]+)"', source)
    return (
        {f"rlflow_{name}_total" for name in counters}
        | {f"rlflow_{name}" for name in gauges}
        | {f"{name}_total" if kind == "Counter" else name for kind, name in families}
    )


def workload(settings: Settings = SETTINGS) -> Any:
    return next(each for each in yaml.safe_load_all(render("k8s", settings)) if each["kind"] == "StatefulSet")


def unit(settings: Settings) -> dict[str, list[str]]:
    """The lines of the unit by their names, a word each, as systemd takes quotes."""
    lines = [line.partition("=") for line in render("systemd", settings).splitlines() if line[:1] not in ("#", "[", "")]
    found: dict[str, list[str]] = {}
    for name, _, value in lines:
        found.setdefault(name, []).extend(shlex.split(value))
    return found


def in_unit(settings: Settings) -> dict[str, str]:
    return dict(word.split("=", 1) for word in unit(settings)["Environment"])


def in_compose(settings: Settings) -> dict[str, str]:
    environment = yaml.safe_load(render("compose", settings))["services"]["rlflow"]["environment"]
    return {name: value.replace("$$", "$") for name, value in environment.items()}


def in_pod(settings: Settings) -> dict[str, str]:
    variables = workload(settings)["spec"]["template"]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"].replace("$$", "$") for each in variables}


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_filled_in(kind: str) -> None:
    assert not re.findall(r"\$\{?[a-z_]+", render(kind, SETTINGS))


def test_every_kind_is_offered_by_the_command() -> None:
    argument = commands.commands["deploy"].params[0]
    assert set(argument.type.choices) == set(KINDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("carried", [in_unit, in_compose, in_pod])
def test_a_recipe_carries_all_that_is_set(carried: Callable[[Settings], dict[str, str]]) -> None:
    assert PLAIN.items() <= carried(FULL).items()
    assert "RL_SERIES_TICKER" not in carried(FULL)


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_printed_and_each_that_is_needed_is_named(kind: str) -> None:
    text = render(kind, FULL)
    assert "hunter2" not in text
    if kind in ("systemd", "compose", "k8s"):
        assert {name for name in SECRETS if name not in text} == set()


@pytest.mark.parametrize("kind", ["systemd", "compose", "k8s"])
def test_a_recipe_without_markets_says_that_they_are_missing(kind: str) -> None:
    assert "RL_SERIES_TICKER" in render(kind, SETTINGS)
    assert "RL_SERIES_TICKER" not in render(kind, FULL)


def test_the_unit_gives_a_stop_more_time_than_it_takes_and_does_not_repeat_wrong_settings() -> None:
    service = unit(SETTINGS)
    assert float(service["TimeoutStopSec"][0]) > SETTINGS.stop_deadline_s
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["ExecStart"] == [sys.executable, "-m", "rlflow", "--log-format", "json", "serve"]


def test_the_unit_records_to_the_chosen_directory_and_says_how_to_make_it() -> None:
    assert in_unit(FULL)["RL_DATA_DIR"] == "/srv/of rlflow"
    assert unit(FULL)["ReadWritePaths"] == ["/srv/of rlflow"]
    assert "chown -R rlflow:rlflow '/srv/of rlflow'" in render("systemd", FULL)
    assert "StateDirectory" not in unit(FULL)
    assert (in_unit(SETTINGS)["RL_DATA_DIR"], unit(SETTINGS)["StateDirectory"]) == ("/var/lib/rlflow", ["rlflow"])


def test_the_unit_says_how_to_make_its_user_who_may_read_the_key() -> None:
    head = render("systemd", FULL).partition("[Unit]")[0]
    assert "useradd --system" in head
    assert "install -D -o rlflow -g rlflow -m 0400 /keys/mine.pem /etc/rlflow/key.pem" in head
    assert in_unit(FULL)["KALSHI_PRIVATE_KEY_PATH"] == "/etc/rlflow/key.pem"


def test_the_unit_sees_what_it_runs_from_though_homes_and_scratch_directories_are_hidden() -> None:
    at_home = protection(None, [Path("/home/me/rlflow"), Path("/usr")])
    assert at_home.splitlines()[:3] == [
        "ProtectHome=tmpfs",
        "PrivateTmp=true",
        'BindReadOnlyPaths="/home/me/rlflow"',
    ]
    assert protection(None, [Path("/opt/rlflow")]).splitlines()[:2] == ["ProtectHome=true", "PrivateTmp=true"]
    assert "BindReadOnly" not in protection(None, [Path("/opt/rlflow")])
    assert 'BindReadOnlyPaths="/tmp/50%% of\\"it"' in protection(None, [Path('/tmp/50% of"it')])
    assert 'ProtectHome=tmpfs\nPrivateTmp=true\nBindPaths="/root/data"' in protection(Path("/root/data"), [])


def test_the_installation_is_the_interpreter_and_the_package() -> None:
    for needed in (Path(sys.executable), Path(sys.base_prefix, "lib"), Path(__file__).parent.parent / "rlflow"):
        assert any(needed.is_relative_to(place) for place in installation()), needed


def test_the_compose_recipe_waits_for_a_stop_and_probes_our_health() -> None:
    services = yaml.safe_load(render("compose", SETTINGS))["services"]
    own = services["rlflow"]
    assert own["stop_grace_period"] == "46s"
    assert int(services["postgres"]["stop_grace_period"].rstrip("s")) > 46
    assert "http://127.0.0.1:9123/rl/health" in own["healthcheck"]["test"][-1]
    assert own["environment"]["RL_ADMIN_TOKEN"].startswith("${RL_ADMIN_TOKEN:?")
    assert own["ports"] == ["127.0.0.1:9123:9123"]


def test_the_image_takes_from_the_checkout_only_what_the_package_is_made_of() -> None:
    """The key and .env lie beside it."""
    recipe = yaml.safe_load(render("compose", SETTINGS))["services"]["rlflow"]["build"]["dockerfile_inline"]
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", recipe, re.MULTILINE) for word in line.split()}
    assert copied == {"pyproject.toml", "README.md", "schema.sql", "rlflow"}


def test_the_pod_has_our_probes_and_is_never_there_twice() -> None:
    spec = workload()["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["replicas"] == 1
    assert pod["terminationGracePeriodSeconds"] > SETTINGS.stop_deadline_s
    assert container["livenessProbe"]["httpGet"]["path"] == "/rl/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/rl/ready"
    assert container["ports"][0]["containerPort"] == 9123


def test_recipes_set_only_variables_that_exist() -> None:
    settings = set(SETTINGS.public())
    assert {*in_unit(FULL), *in_compose(FULL), *in_pod(FULL)} <= settings


def test_alerts_and_dashboard_name_only_metrics_that_are_served() -> None:
    rules = yaml.safe_load(render("alerts", SETTINGS))["groups"][0]["rules"]
    asked = metrics_in(" ".join(rule["expr"] for rule in rules)) | metrics_in(json.dumps(dashboard()["panels"]))
    assert asked <= served_metrics()
    assert len(asked) > 15


def test_an_alert_tells_of_stale_data_but_not_in_the_weekly_maintenance() -> None:
    rules = yaml.safe_load(render("alerts", SETTINGS))["groups"][0]["rules"]
    stale = next(rule for rule in rules if rule["alert"] == "RlflowStaleData")
    assert "rlflow_feed_silent_seconds > 30" in stale["expr"]
    assert "day_of_week() == 4" in stale["expr"]


def test_no_two_panels_overlap() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard()["panels"]]
    assert len(set(places)) == len(places)
