"""What `deploy` prints: it parses, agrees with our deadlines and probes, and names only metrics that we serve."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlflow.cli.dashboard import dashboard
from rlflow.cli.deploy import render
from rlflow.cli.main import commands
from rlflow.config import Settings

KINDS = ("systemd", "compose", "k8s", "alerts", "grafana")
SETTINGS = Settings.from_environ({"RL_STOP_DEADLINE": "40.5", "RL_PORT": "9123"})


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


def workload() -> Any:
    return next(each for each in yaml.safe_load_all(render("k8s", SETTINGS)) if each["kind"] == "StatefulSet")


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_filled_in(kind: str) -> None:
    assert not re.findall(r"\$\{?[a-z_]+", render(kind, SETTINGS))


def test_every_kind_is_offered_by_the_command() -> None:
    argument = commands.commands["deploy"].params[0]
    assert set(argument.type.choices) == set(KINDS)  # type: ignore[attr-defined]


def test_the_unit_gives_a_stop_more_time_than_it_takes_and_does_not_repeat_wrong_settings() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(render("systemd", SETTINGS))
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > SETTINGS.stop_deadline_s
    assert "RL_STOP_DEADLINE=40.5" in service["Environment"]
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].endswith("-m rlflow --log-format json serve")


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
    environment = yaml.safe_load(render("compose", SETTINGS))["services"]["rlflow"]["environment"]
    names = {each["name"] for each in workload()["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert set(environment) | names <= settings


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
