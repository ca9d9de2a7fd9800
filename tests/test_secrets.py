"""No secret leaves the process: not by its log, its answers, its command line, nor its last words."""

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from rlflow.cli.main import main
from rlflow.exchange.credentials import load_or_make_credentials
from tests.faults.scene import Scene, scene, written
from tests.running import ANSWER_LIMIT_S, Running, wait_for

TOKEN = "distinctive-admin-token-7f3a"
PASSWORD = "distinctive-database-password-91c2"
PATHS = (
    "/rl/health",
    "/rl/ready",
    "/rl/status",
    "/rl/metrics",
    "/rl/markets",
    "/rl/openapi.json",
    "/rl/orderbook/snapshot",
    "/rl/orderbook/snapshot?market=nothing",
    "/nothing",
)


def with_password(url: str) -> str:
    """The address with a password, of which a server that lets anybody in takes no notice."""
    address = urlsplit(url)
    user = address.username or "postgres"
    return address._replace(netloc=f"{user}:{PASSWORD}@{address.netloc.rpartition('@')[2]}").geturl()


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[Scene]:
    with scene(tmp_path, database_url) as made:
        url = with_password(made.settings["DATABASE_URL"])
        made.settings = {**made.settings, "DATABASE_URL": url, "RL_ADMIN_TOKEN": TOKEN}
        yield made


def secrets_of(settings: Mapping[str, str]) -> list[str]:
    """Everything that nobody may see; of the key any line of its file."""
    pem = Path(settings["KALSHI_PRIVATE_KEY_PATH"]).read_text().split("\n")
    lines = [line for line in pem if line and not line.startswith("-----")]
    assert len(lines) > 3
    key_id = settings["KALSHI_API_KEY_ID"]
    return [TOKEN, PASSWORD, key_id, key_id[6:], "KALSHI-ACCESS-SIGNATURE", *lines]


def everything_served(running: Running) -> str:
    """Ask for everything, rightly and wrongly."""
    # A flush waits for a database that is away, and then says so.
    with httpx.Client(base_url=running.url, timeout=ANSWER_LIMIT_S) as client:
        answers = [client.get(path) for path in PATHS]
        for token in (None, "wrong", f"{TOKEN}x", TOKEN[:-1], TOKEN):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            for name in ("flush", "resnapshot", "markets"):
                answers.append(client.post(f"/rl/admin/{name}", json={}, headers=headers))
                answers.append(client.post(f"/rl/admin/{name}", content=b"{", headers=headers))
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 415}
    return "\n".join(f"{answer.headers} {answer.text}" for answer in answers)


def command_lines(running: Running) -> str:
    """What `ps` shows anybody of the service and its children."""
    ours = psutil.Process(running.popen.pid)
    return "\n".join(" ".join(each.cmdline()) for each in (ours, *ours.children(recursive=True)))


def assert_hidden(text: str, secrets: list[str]) -> None:
    for number, secret in enumerate(secrets):
        assert secret not in text, f"secret {number} is shown"


def test_no_secret_is_logged_served_or_shown_by_ps_while_everything_goes_wrong(world: Scene) -> None:
    secrets = secrets_of(world.settings)
    key = Path(world.settings["KALSHI_PRIVATE_KEY_PATH"])
    key.chmod(0o644)
    with world.recording() as running:
        written(running, 100)
        shown = [everything_served(running), command_lines(running)]
        world.to_venue.is_refusing = world.to_database.is_refusing = True
        world.to_venue.cut()
        world.to_database.cut()
        for component in ("database", "orderbook_client"):
            wait_for(
                f"{component} to be away",
                lambda component=component: (  # type: ignore[misc]
                    running.ask("/rl/health")["components"][component]["status"] == "degraded" or None
                ),
            )
        shown.append(everything_served(running))
        pem = key.read_bytes()
        key.write_bytes(b"this is no key")
        world.to_venue.is_refusing = world.to_database.is_refusing = False
        running.wait_said("(no private key in PEM form)")
        shown.append(everything_served(running))
        key.write_bytes(pem)
        assert running.stop() == 0
        shown.append(running.said())
    assert f"chmod 600 {key}" in shown[-1]
    for text in shown:
        assert_hidden(text, secrets)


def test_no_secret_is_in_the_last_words_of_a_service_that_fails(world: Scene) -> None:
    """Its tables vanish: nothing that it could cure."""
    secrets = secrets_of(world.settings)
    with world.recording() as running:
        written(running, 100)
        with psycopg.connect(world.database_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA rlflow_sim CASCADE")
        assert running.popen.wait(60) != 0
        said = running.said()
    assert len(said.splitlines()) > 2
    assert_hidden(said, secrets)


def test_no_command_prints_a_secret(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = load_or_make_credentials(tmp_path / "keys")
    settings = {
        "KALSHI_WS_URL": "ws://127.0.0.1:1/trade-api/ws/v2",
        "KALSHI_API_URL": "http://127.0.0.1:1/trade-api/v2",
        "KALSHI_API_KEY_ID": key.key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(key.private_key_path),
        "RL_MARKET_TICKER": "KX-A",
        "RL_ADMIN_TOKEN": TOKEN,
        "RL_DATA_DIR": str(tmp_path / "data"),
        "RL_PORT": "0",
    }
    # What main() does to the whole process stays out of the other tests.
    monkeypatch.setattr("signal.signal", lambda _number, _handler: None)
    monkeypatch.setattr(sys.modules["rlflow.cli.main"], "configure_logging", lambda _log_format: None)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    hidden = secrets_of(settings)
    for url in (with_password(database_url), f"postgresql://user:{PASSWORD}@127.0.0.1:1/nothing"):
        monkeypatch.setenv("DATABASE_URL", url)
        for command in ("doctor", "audit", "deploy systemd", "deploy compose", "deploy k8s"):
            monkeypatch.setattr(sys, "argv", ["rlflow", *command.split()])
            with pytest.raises(SystemExit):
                main()
            said = "".join(capfd.readouterr())
            assert said
            assert_hidden(said, hidden)


@pytest.mark.skipif("RLFLOW_TEST_DATABASE_URL" in os.environ, reason="the test database is somebody else's server")
def test_an_embedded_database_is_for_its_owner_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SHOW data_directory").fetchone()
    assert found is not None
    assert stat.S_IMODE(Path(found[0]).stat().st_mode) == 0o700
