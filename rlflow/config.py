"""The settings: one frozen declaration of name, type, default, unit and meaning, read from the environment.

All that is wrong is reported at once. `repr` masks secrets. Which venue the settings lead to is decided here, in
`Settings.environment` and `Settings.is_simulated`; connecting to it is not.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import attrs
import platformdirs

from rlflow.errors import Problem, SettingsError

ENVIRONMENTS = ("prod", "demo", "sim", "replay")

# Protocol section 1: the recommended hosts, read 2026-11-22.
_WS_URLS = {
    "prod": "wss://external-api-ws.kalshi.com/trade-api/ws/v2",
    "demo": "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
}
_API_URLS = {
    "prod": "https://external-api.kalshi.com/trade-api/v2",
    "demo": "https://external-api.demo.kalshi.co/trade-api/v2",
}
SIMULATED_TICKERS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B", "KXSIM-27JAN01-C")

T = TypeVar("T")


def _whole(low: int, high: int = 2**62) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII) or not low <= int(text) <= high:
            bound = f"from {low} to {high}" if high < 2**62 else f"of at least {low}"
            raise ValueError(f"must be a whole number {bound}, not {text[:40]!r}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, not {text[:40]!r}")
        return value

    return parse


def _tickers(text: str) -> tuple[str, ...]:
    tickers = tuple(dict.fromkeys(ticker for part in text.split(",") if (ticker := part.strip())))
    for ticker in tickers:
        # Tickers hold letters, digits, dots and hyphens; the venue dropped its documented pattern, so only what can
        # break a log line, a URL or a JSON command is refused.
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f/?#%\"\\]{1,200}", ticker):
            raise ValueError(f"{ticker[:60]!r} is not a market ticker")
    return tickers


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")
        return text

    return parse


def _database_url(text: str) -> str:
    # A host is not needed: PostgreSQL's addresses may name a socket's directory as a parameter, or nothing at all.
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL that begins with postgresql://")
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _environment(text: str) -> str:
    if text not in ENVIRONMENTS:
        raise ValueError(f"must be one of {', '.join(ENVIRONMENTS)}, not {text[:40]!r}")
    return text


def _schema_name(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", text):
        raise ValueError(f"must be a lower-case SQL name of at most 63 characters, not {text[:80]!r}")
    return text


def mask_url(url: str) -> str:
    """Return a URL without its password, and without its query, which may hold one too."""
    parts = urlsplit(url)
    if parts.password is None and not parts.query:
        return url
    location = parts.netloc
    if parts.password is not None:
        location = f"{parts.username}:***@{location.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, location, parts.path, "***" if parts.query else "", ""))


def _setting(
    name: str, parse: Callable[[str], T], default: T, meaning: str, *, unit: str = "", shown: str | None = None
) -> T:
    masked: bool | Callable[[Any], str] = True
    if name == "DATABASE_URL":
        masked = lambda url: repr(url and mask_url(url))  # noqa: E731
    if name == "RL_ADMIN_TOKEN":
        masked = lambda token: repr(token and "***")  # noqa: E731
    if shown is None:
        shown = "" if default in (None, ()) else f"{default} {unit}".rstrip()
    metadata = {"name": name, "parse": parse, "meaning": meaning, "shown": shown}
    return attrs.field(default=default, metadata=metadata, repr=masked)  # type: ignore[return-value,no-any-return,call-overload,unused-ignore]


@attrs.frozen
class Settings:
    """Everything that can be set from outside. See `from_environ`."""

    api_key_id: str | None = _setting("KALSHI_API_KEY_ID", str, None, "the API key's id, from the venue's site")
    private_key_path: Path | None = _setting("KALSHI_PRIVATE_KEY_PATH", _path, None, "the API key's PEM file")
    kalshi_env: str | None = _setting(
        "KALSHI_ENV", _environment, None, "prod, demo, sim or replay; without it, as the host says"
    )
    custom_ws_url: str | None = _setting("KALSHI_WS_URL", _url("wss", "ws"), None, "another websocket address")
    custom_api_url: str | None = _setting("KALSHI_API_URL", _url("https", "http"), None, "another REST address")
    database_url: str | None = _setting(
        "DATABASE_URL", _database_url, None, "PostgreSQL 16 to 18; without it, an embedded one"
    )
    db_schema: str = _setting("RL_DB_SCHEMA", _schema_name, "public", "the PostgreSQL schema that holds our tables")
    market_tickers: tuple[str, ...] = _setting("RL_MARKET_TICKER", _tickers, (), "markets to record, comma separated")
    batch_size: int = _setting("RL_ORDERBOOK_BATCH_SIZE", _whole(1, 100_000), 100, "a batch is full at", unit="rows")
    flush_interval_s: float = _setting(
        "RL_ORDERBOOK_FLUSH_INTERVAL", _seconds(0.01, 60), 1.0, "a batch that is not full is written after", unit="s"
    )
    sample_rate: int = _setting("RL_ORDERBOOK_SAMPLE_RATE", _whole(1, 1_000_000), 1, "store 1 out of N deltas")
    host: str = _setting("RL_HOST", str, "127.0.0.1", "the address that HTTP listens on")
    port: int = _setting("RL_PORT", _whole(0, 65_535), 8001, "the port that HTTP listens on; 0: any free one")
    admin_token: str | None = _setting("RL_ADMIN_TOKEN", str, None, "what admin requests must bear")
    data_dir: Path = _setting(
        "RL_DATA_DIR",
        _path,
        platformdirs.user_data_path("rlflow"),
        "journal, keys and embedded database",
        shown="the user's data directory",
    )
    journal_max_bytes: int = _setting(
        "RL_JOURNAL_MAX_BYTES", _whole(2**20), 4 * 2**30, "the journal's budget in bytes", shown="4 GiB"
    )
    raw_keep_days: int = _setting("RL_RAW_KEEP_DAYS", _whole(0, 3_650), 3, "committed raw frames are kept", unit="days")
    stop_deadline_s: float = _setting("RL_STOP_DEADLINE", _seconds(1, 3_600), 25.0, "a stop takes at most", unit="s")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty one counts as absent.

        Raises:
            SettingsError: with every problem, each naming its variable.
        """
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for field in attrs.fields(cls):
            text = environ.get(field.metadata["name"], "").strip()
            if not text:
                continue
            try:
                values[field.name] = field.metadata["parse"](text)
            except ValueError as error:
                problems.append(Problem(field.metadata["name"], str(error)))
        settings = cls(**values)
        problems += settings._contradictions(environ)
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def is_simulated(self) -> bool:
        """Whether nothing points to a venue, so that the simulated exchange runs in this process."""
        kalshi = (self.api_key_id, self.private_key_path, self.kalshi_env, self.custom_ws_url, self.custom_api_url)
        return all(value is None for value in kalshi)

    @property
    def environment(self) -> str:
        """The one environment whose data may go into the store: prod, demo, sim or replay.

        An address that is not the venue's is taken for a simulated exchange, so that its data never mixes with real
        data.
        """
        if self.is_simulated:
            return "sim"
        if self.kalshi_env is not None:
            return self.kalshi_env
        host = urlsplit(self.custom_ws_url or _WS_URLS["prod"]).hostname or ""
        if host.endswith(".kalshi.com"):
            return "prod"
        return "demo" if host.endswith(".kalshi.co") else "sim"

    @property
    def ws_url(self) -> str:
        """The websocket address of the venue; of no use when simulated."""
        return self.custom_ws_url or _WS_URLS.get(self.environment, "")

    @property
    def api_url(self) -> str:
        """The REST address of the venue; of no use when simulated."""
        return self.custom_api_url or _API_URLS.get(self.environment, "")

    @property
    def tickers(self) -> tuple[str, ...]:
        """The markets to record."""
        return self.market_tickers or (SIMULATED_TICKERS if self.is_simulated else ())

    def schema_for(self, environment: str) -> str:
        """Return the schema of an environment's tables; what is not real stays apart in somebody's own database."""
        is_apart = self.database_url and self.db_schema == "public" and environment not in ("prod", "demo")
        return f"rlflow_{environment}" if is_apart else self.db_schema

    def public(self) -> dict[str, object]:
        """Return the settings by variable name for people to see, secrets masked."""
        shown: dict[str, object] = {}
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if field.name == "database_url" and value:
                value = mask_url(value)
            if field.name == "admin_token" and value:
                value = "***"
            shown[field.metadata["name"]] = str(value) if isinstance(value, Path) else value
        return shown

    def _contradictions(self, environ: Mapping[str, str]) -> list[Problem]:
        """Return what is wrong with the settings taken together."""
        problems: list[Problem] = []
        if environ.get("RL_SERIES_TICKER", "").strip():
            problems.append(
                Problem("RL_SERIES_TICKER", "a series cannot be followed yet; name its markets in RL_MARKET_TICKER")
            )
        if not self.is_simulated:
            problems += self._missing_for_venue()
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.admin_token:
            problems.append(Problem("RL_ADMIN_TOKEN", f"must be set when RL_HOST ({self.host}) is not loopback"))
        return problems

    def _missing_for_venue(self) -> list[Problem]:
        problems: list[Problem] = []
        if self.api_key_id is None:
            problems.append(Problem("KALSHI_API_KEY_ID", "is missing; the venue accepts no connection without a key"))
        if self.private_key_path is None:
            problems.append(Problem("KALSHI_PRIVATE_KEY_PATH", "is missing; it names the PEM file of the API key"))
        if not self.market_tickers:
            problems.append(Problem("RL_MARKET_TICKER", "is missing; name one or several markets, comma separated"))
        if self.kalshi_env in ("sim", "replay") and self.custom_ws_url is None:
            problems.append(
                Problem("KALSHI_WS_URL", f"is missing; KALSHI_ENV={self.kalshi_env} has no address of its own")
            )
        return problems


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Return variables that look like ours but are not, most likely misspelt."""
    known = {field.metadata["name"] for field in attrs.fields(Settings)} | {"RL_SERIES_TICKER"}
    return sorted(name for name in environ if name.startswith(("RL_", "KALSHI_")) and name not in known)
