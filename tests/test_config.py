from pathlib import Path

import attrs
import pytest

from rlflow.config import SIMULATED_TICKERS, Settings, mask_url, unknown_names
from rlflow.errors import SettingsError

KEY = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY_PATH": "key.pem", "RL_MARKET_TICKER": "KXA"}


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    return {problem.name: problem.message for problem in caught.value.problems}


def test_nothing_set_is_the_simulated_exchange() -> None:
    settings = Settings.from_environ({})
    assert settings.is_simulated
    assert settings.environment == "sim"
    assert settings.tickers == SIMULATED_TICKERS
    assert (settings.batch_size, settings.flush_interval_s, settings.sample_rate) == (100, 1.0, 1)
    assert (settings.host, settings.port) == ("127.0.0.1", 8001)


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings.from_environ({"KALSHI_API_KEY_ID": " ", "RL_PORT": ""}) == Settings.from_environ({})


@pytest.mark.parametrize("missing", sorted(KEY))
def test_half_a_configuration_names_what_is_missing(missing: str) -> None:
    assert set(problems(**{name: value for name, value in KEY.items() if name != missing})) == {missing} or (
        missing == "RL_MARKET_TICKER"
    )
    assert missing in problems(**{name: value for name, value in KEY.items() if name != missing})


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        RL_ORDERBOOK_BATCH_SIZE="0",
        RL_ORDERBOOK_FLUSH_INTERVAL="soon",
        RL_PORT="70000",
        DATABASE_URL="mysql://x",
        RL_MARKET_TICKER="A B",
        RL_DB_SCHEMA="Bad-Name",
        KALSHI_ENV="moon",
        RL_HOST="0.0.0.0",
        RL_SERIES_TICKER="KX BTC15M",
        RL_REDUNDANT_FEEDS="3",
        RL_MARKETS_PER_CONNECTION="0",
        RL_RETENTION_DAYS="-1",
    )
    assert len(found) == 12
    assert found["RL_PORT"] == "must be a whole number from 0 to 65535, not '70000'"
    assert found["RL_ADMIN_TOKEN"] == "must be set when RL_HOST (0.0.0.0) is not loopback"


@pytest.mark.parametrize(
    ("extra", "environment"),
    [
        ({}, "prod"),
        ({"KALSHI_ENV": "demo"}, "demo"),
        ({"KALSHI_WS_URL": "wss://demo-api.kalshi.co/trade-api/ws/v2"}, "demo"),
        ({"KALSHI_WS_URL": "ws://127.0.0.1:9000/trade-api/ws/v2"}, "sim"),
        ({"KALSHI_WS_URL": "ws://127.0.0.1:9000/trade-api/ws/v2", "KALSHI_ENV": "replay"}, "replay"),
        ({"KALSHI_WS_URL": "wss://kalshi.com.example.org/"}, "sim"),
    ],
)
def test_the_environment_follows_the_address(extra: dict[str, str], environment: str) -> None:
    assert Settings.from_environ(KEY | extra).environment == environment


def test_a_series_may_stand_in_for_markets_or_beside_them() -> None:
    alone = KEY | {"RL_MARKET_TICKER": "", "RL_SERIES_TICKER": "KXS"}
    assert (Settings.from_environ(alone).tickers, Settings.from_environ(alone).series_tickers) == ((), ("KXS",))
    both = Settings.from_environ(KEY | {"RL_SERIES_TICKER": "KXS,KXT"})
    assert (both.tickers, both.series_tickers) == (("KXA",), ("KXS", "KXT"))
    assert Settings.from_environ({"RL_SERIES_TICKER": "KXSIM"}).tickers == ()


def test_what_is_set_can_be_written_down_and_read_again() -> None:
    chosen = KEY | {"RL_SERIES_TICKER": "KXS,KXT", "RL_PORT": "0", "RL_STOP_DEADLINE": "40.5", "RL_DATA_DIR": "/x y"}
    settings = Settings.from_environ(chosen | {"RL_HOST": "127.0.0.1"})
    assert settings.variables() == chosen
    assert Settings.from_environ(settings.variables()) == settings
    assert Settings.from_environ({}).variables() == {}


def test_tickers_are_a_list_without_repeats() -> None:
    assert Settings.from_environ({"RL_MARKET_TICKER": "KXA, KXB-1.5,,KXA"}).tickers == ("KXA", "KXB-1.5")


def test_secrets_are_shown_nowhere() -> None:
    settings = Settings.from_environ(
        KEY
        | {"DATABASE_URL": "postgresql://u:hunter2@db/x?password=hunter2", "RL_ADMIN_TOKEN": "hunter2-hunter2-hunter2"}
    )
    assert "hunter2" not in repr(settings)
    assert settings.public()["KALSHI_API_KEY_ID"] == "***"
    long = attrs.evolve(settings, api_key_id="01234567-89ab-cdef-0123-456789abcdef")
    assert long.public()["KALSHI_API_KEY_ID"] == "0123***"
    assert "89ab" not in repr(long)
    assert "hunter2" not in str(settings.public())
    assert settings.public()["DATABASE_URL"] == "postgresql://u:***@db/x?***"
    assert mask_url("postgresql://db/x") == "postgresql://db/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:hun#ter2@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:hun?ter2@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:hun/ter2@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:hun@ter2@db/x", "postgresql://u:***@db/x"),
        ("postgresql://u:hunter2@[db/x", "postgresql://u:***@[db/x"),
        ("postgresql://u@db/x", "postgresql://u@db/x"),
        ("postgresql:///x?password=hunter2", "postgresql:///x?***"),
        ("postgresql:///x?password=hun@ter2", "postgresql://***@ter2"),
        ("postgresql://db:1,db2:2/x", "postgresql://db:1,db2:2/x"),
    ],
)
def test_a_password_is_masked_whatever_is_in_it(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KALSHI_WS_URL", "ws://127.0.0.1:99999/x"),
        ("KALSHI_WS_URL", "ws://127.0.0.1:port/x"),
        ("KALSHI_WS_URL", "ws://127.0.0.1:0/x"),
        ("KALSHI_WS_URL", "ws://[::1/x"),
        ("KALSHI_WS_URL", "ws://a b/x"),
        ("KALSHI_WS_URL", "ws://venue/a b"),
        ("KALSHI_WS_URL", "ws://vénue/"),
        ("KALSHI_WS_URL", f"ws://{'a' * 64}.example/"),
        ("KALSHI_WS_URL", "ws://user:hunter2@venue/"),
        ("KALSHI_API_URL", "https://user@venue/"),
        ("KALSHI_API_KEY_ID", "a\r\nX-Evil: 1"),
        ("KALSHI_API_KEY_ID", "clé"),
        ("RL_ADMIN_TOKEN", "clé hunter2"),
        ("RL_ADMIN_TOKEN", "hunter2"),
        ("RL_ADMIN_TOKEN", "15 characters-x"),
        ("DATABASE_URL", "postgresql://u:hunter2@[db/x"),
        ("DATABASE_URL", "postgresql://u:hun%zzter2@db/x"),
        ("DATABASE_URL", "postgresql://u:hunter2/@db/x"),
        ("DATABASE_URL", "postgresql://u:p@db:70000/x"),
        ("DATABASE_URL", "postgresql://u:hunter2@db/x?colour=red"),
        ("RL_DATA_DIR", "~nobody-of-this-name/x"),
        ("RL_DATA_DIR", "a\x00b"),
        ("RL_DB_SCHEMA", "pg_x"),
        ("RL_DB_SCHEMA", "information_schema"),
        ("KALSHI_PRIVATE_KEY_PATH", "~nobody-of-this-name/key.pem"),
    ],
)
def test_what_cannot_be_used_later_is_refused_at_once(name: str, text: str) -> None:
    found = problems(**KEY | {name: text})
    assert set(found) == {name}
    assert "hunter2" not in found[name]


@pytest.mark.parametrize(
    "extra",
    [
        {"KALSHI_ENV": "demo", "KALSHI_WS_URL": "wss://external-api-ws.kalshi.com/trade-api/ws/v2"},
        {"KALSHI_ENV": "replay", "KALSHI_WS_URL": "wss://demo-api.kalshi.co/trade-api/ws/v2"},
        {"KALSHI_API_URL": "https://demo-api.kalshi.co/trade-api/v2"},
    ],
)
def test_an_environment_and_an_address_of_another_one_contradict(extra: dict[str, str]) -> None:
    assert "KALSHI_ENV" in problems(**KEY | extra)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KALSHI_WS_URL", "ws://external-api-ws.kalshi.com/trade-api/ws/v2"),
        ("KALSHI_WS_URL", "ws://external-api-ws.demo.kalshi.co/trade-api/ws/v2"),
        ("KALSHI_API_URL", "http://external-api.kalshi.com/trade-api/v2"),
        ("KALSHI_WS_URL", "ws://example.com/"),
        ("KALSHI_WS_URL", "ws://10.0.0.5:8765/"),
        ("KALSHI_WS_URL", "ws://127.0.0.1.example.com/"),
    ],
)
def test_nothing_is_said_to_another_machine_in_the_clear(name: str, text: str) -> None:
    environ = KEY | ({"KALSHI_ENV": "demo"} if text.endswith(".kalshi.co/trade-api/ws/v2") else {})
    found = problems(**environ | {name: text})
    assert set(found) == {name}
    assert "s://" in found[name]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.0.1",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "ip6-localhost",
    ],
)
@pytest.mark.parametrize("environment", ["prod", "demo"])
def test_nothing_of_this_machine_is_taken_for_the_venue(host: str, environment: str) -> None:
    local = {"KALSHI_WS_URL": f"ws://{host}:8765/ws", "KALSHI_API_URL": f"http://{host}:8765/api"}
    assert Settings.from_environ(KEY | local).environment == "sim"
    assert Settings.from_environ(KEY | local | {"KALSHI_ENV": "replay"}).environment == "replay"
    for name, url in local.items():
        for text in (url, url.replace("://", "s://")):
            found = problems(**KEY | {name: text, "KALSHI_ENV": environment})
            assert set(found) == {"KALSHI_ENV"}
            assert f"is {environment}, but {name} leads to this machine" in found["KALSHI_ENV"]


def test_a_rest_interface_of_this_machine_does_not_go_with_the_venues_feed() -> None:
    found = problems(**KEY | {"KALSHI_API_URL": "http://127.0.0.1:8765/trade-api/v2"})
    assert "is prod, but KALSHI_API_URL leads to this machine" in found["KALSHI_ENV"]


def test_another_host_is_taken_for_the_venue_only_if_that_is_said() -> None:
    proxy = {"KALSHI_WS_URL": "wss://proxy.example/ws", "KALSHI_API_URL": "https://proxy.example/api"}
    assert Settings.from_environ(KEY | proxy).environment == "sim"
    assert Settings.from_environ(KEY | proxy | {"KALSHI_ENV": "prod"}).environment == "prod"
    assert set(problems(**KEY | {"KALSHI_API_URL": proxy["KALSHI_API_URL"]})) == {"KALSHI_ENV"}


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.5", "0", "::ffff:127.0.0.1", "recorder.example", "localhost."]
)
def test_other_addresses_than_loopback_need_the_admin_token(host: str) -> None:
    assert set(problems(RL_HOST=host)) == {"RL_ADMIN_TOKEN"}
    assert Settings.from_environ({"RL_HOST": host, "RL_ADMIN_TOKEN": "t" * 16}).host == host


def test_a_simulation_stays_apart_in_somebodys_database() -> None:
    settings = Settings.from_environ({"DATABASE_URL": "postgresql://db/x"})
    assert settings.schema_for("sim") == "rlflow_sim"
    assert settings.schema_for("prod") == "public"
    assert Settings.from_environ({"DATABASE_URL": "postgresql://db/x", "RL_DB_SCHEMA": "a"}).schema_for("sim") == "a"


def test_a_misspelt_variable_is_noticed() -> None:
    environ = {"RL_ORDERBOK_BATCH_SIZE": "1", "KALSHI_PRIVATE_KEY": "x", "RL_X": "", "RL_PORT": "1", "PATH": "x"}
    assert unknown_names(environ) == {
        "RL_ORDERBOK_BATCH_SIZE": "RL_ORDERBOOK_BATCH_SIZE",
        "KALSHI_PRIVATE_KEY": "KALSHI_PRIVATE_KEY_PATH",
        "RL_X": None,
    }


def test_a_path_may_begin_with_the_home_directory() -> None:
    assert Settings.from_environ({"RL_DATA_DIR": "~/x"}).data_dir == Path.home() / "x"
