"""The settings: one frozen declaration of name, type, default, unit and meaning, read from the environment.

All that is wrong is reported at once. `repr` masks secrets. Which venue the settings lead to is decided here, in
`Settings.environment` and `Settings.is_simulated`; connecting to it is not.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import attrs
import platformdirs

from rlflow.errors import Problem, SettingsError
from rlflow.setting_values import credential, database_url, path, schema_name, seconds, tickers, token, url, whole
from rlflow.venues import API_URLS, WS_URLS, is_local, venue_of

REAL = ("prod", "demo")
ENVIRONMENTS = (*REAL, "sim", "replay")

# Market data is public there: it needs no key.
PUBLIC_API_URL = API_URLS["prod"]
SIMULATED_TICKERS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B", "KXSIM-27JAN01-C")

# Of difflib: a letter more or less in a short name, a word more or less in a long one.
_LIKENESS = 0.75

T = TypeVar("T")


def _environment(text: str) -> str:
    if text not in ENVIRONMENTS:
        raise ValueError(f"must be one of {', '.join(ENVIRONMENTS)}, not {text[:40]!r}")
    return text


def mask_url(url: str) -> str:
    """Return a database's URL without its password, and without its query, which may hold one too.

    A password may hold any character but the ones that end it for PostgreSQL's own reader, so no general one will do.
    """
    scheme, _, rest = url.partition("://")
    credentials, at, location = rest.rpartition("@")
    user = re.match(r"[^:/?#]*", credentials)
    assert user is not None
    shown = user.group() + ("" if user.group() == credentials else ":***" if user.group() else "***")
    location, query, _ = location.partition("?")
    return f"{scheme}://{shown}{at}{location}{query and '?***'}"


def _mask_identifier(text: str) -> str:
    """Return enough of a key's id to tell it from another."""
    return f"{text[:4]}***" if len(text) > 8 else "***"


_MASKS: dict[str, Callable[[str], str]] = {
    "DATABASE_URL": mask_url,
    "KALSHI_API_KEY_ID": _mask_identifier,
    "RL_ADMIN_TOKEN": lambda _: "***",
}


SECRETS = frozenset(_MASKS)
"""The variables whose values are shown nowhere."""


def _setting(
    name: str, parse: Callable[[str], T], default: T, meaning: str, *, unit: str = "", shown: str | None = None
) -> T:
    masked: bool | Callable[[Any], str] = True
    if name in _MASKS:
        masked = lambda value: repr(value and _MASKS[name](value))  # noqa: E731
    if shown is None:
        shown = "" if default in (None, ()) else f"{default} {unit}".rstrip()
    metadata = {"name": name, "parse": parse, "meaning": meaning, "shown": shown}
    return attrs.field(default=default, metadata=metadata, repr=masked)  # type: ignore[return-value,no-any-return,call-overload,unused-ignore]


@attrs.frozen
class Settings:
    """Everything that can be set from outside. See `from_environ`."""

    api_key_id: str | None = _setting("KALSHI_API_KEY_ID", credential, None, "the API key's id, from the venue's site")
    private_key_path: Path | None = _setting("KALSHI_PRIVATE_KEY_PATH", path, None, "the API key's PEM file")
    kalshi_env: str | None = _setting(
        "KALSHI_ENV", _environment, None, "prod, demo, sim or replay; without it, as the host says"
    )
    custom_ws_url: str | None = _setting("KALSHI_WS_URL", url("wss", "ws"), None, "another websocket address")
    custom_api_url: str | None = _setting("KALSHI_API_URL", url("https", "http"), None, "another REST address")
    database_url: str | None = _setting(
        "DATABASE_URL", database_url, None, "PostgreSQL 16 to 18; without it, an embedded one"
    )
    db_schema: str = _setting("RL_DB_SCHEMA", schema_name, "public", "the PostgreSQL schema that holds our tables")
    market_tickers: tuple[str, ...] = _setting("RL_MARKET_TICKER", tickers, (), "markets to record, comma separated")
    series_tickers: tuple[str, ...] = _setting(
        "RL_SERIES_TICKER", tickers, (), "series whose markets to record as they come, comma separated"
    )
    markets_per_connection: int = _setting(
        "RL_MARKETS_PER_CONNECTION", whole(1, 100_000), 500, "a connection has at most", unit="markets"
    )
    redundant_feeds: int = _setting(
        "RL_REDUNDANT_FEEDS", whole(1, 2), 1, "connections that bring the same market, 1 or 2"
    )
    batch_size: int = _setting("RL_ORDERBOOK_BATCH_SIZE", whole(1, 100_000), 100, "a batch is full at", unit="rows")
    flush_interval_s: float = _setting(
        "RL_ORDERBOOK_FLUSH_INTERVAL", seconds(0.01, 60), 1.0, "a batch that is not full is written after", unit="s"
    )
    sample_rate: int = _setting("RL_ORDERBOOK_SAMPLE_RATE", whole(1, 1_000_000), 1, "store 1 out of N deltas")
    host: str = _setting("RL_HOST", str, "127.0.0.1", "the address that HTTP listens on")
    port: int = _setting("RL_PORT", whole(0, 65_535), 8001, "the port that HTTP listens on; 0: any free one")
    admin_token: str | None = _setting(
        "RL_ADMIN_TOKEN", token, None, "what admin requests must bear, 16 characters or more"
    )
    data_dir: Path = _setting(
        "RL_DATA_DIR",
        path,
        platformdirs.user_data_path("rlflow"),
        "journal, keys and embedded database",
        shown="the user's data directory",
    )
    journal_max_bytes: int = _setting(
        "RL_JOURNAL_MAX_BYTES", whole(2**20), 4 * 2**30, "the journal's budget in bytes", shown="4 GiB"
    )
    raw_keep_days: int = _setting("RL_RAW_KEEP_DAYS", whole(0, 3_650), 3, "committed raw frames are kept", unit="days")
    retention_days: int = _setting(
        "RL_RETENTION_DAYS", whole(0, 36_500), 0, "what is stored is kept; 0: for ever", unit="days"
    )
    stop_deadline_s: float = _setting("RL_STOP_DEADLINE", seconds(1, 3_600), 25.0, "a stop takes at most", unit="s")

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
        problems += settings._contradictions()
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
        return venue_of(self.custom_ws_url or WS_URLS["prod"]) or "sim"

    @property
    def ws_url(self) -> str:
        """The websocket address of the venue; of no use when simulated."""
        return self.custom_ws_url or WS_URLS.get(self.environment, "")

    @property
    def api_url(self) -> str:
        """The REST address of the venue; of no use when simulated."""
        return self.custom_api_url or API_URLS.get(self.environment, "")

    @property
    def tickers(self) -> tuple[str, ...]:
        """The markets to record by name; those of `series_tickers` come beside them."""
        is_nothing_named = not self.market_tickers and not self.series_tickers
        return SIMULATED_TICKERS if self.is_simulated and is_nothing_named else self.market_tickers

    def schema_for(self, environment: str) -> str:
        """Return the schema of an environment's tables; what is not real stays apart in somebody's own database."""
        is_apart = self.database_url and self.db_schema == "public" and environment not in REAL
        return f"rlflow_{environment}" if is_apart else self.db_schema

    def public(self) -> dict[str, object]:
        """Return the settings by variable name for people to see, secrets masked."""
        shown: dict[str, object] = {}
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            name = field.metadata["name"]
            if value and name in _MASKS:
                value = _MASKS[name](value)
            shown[name] = str(value) if isinstance(value, Path) else value
        return shown

    def variables(self) -> dict[str, str]:
        """Return what differs from the defaults as variables that `from_environ` reads again, secrets too."""
        found: dict[str, str] = {}
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.metadata["name"]] = ",".join(value) if isinstance(value, tuple) else str(value)
        return found

    def _contradictions(self) -> list[Problem]:
        """Return what is wrong with the settings taken together."""
        problems: list[Problem] = []
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
        if not self.market_tickers and not self.series_tickers:
            what = "name one or several markets, comma separated, or series in RL_SERIES_TICKER"
            problems.append(Problem("RL_MARKET_TICKER", f"is missing; {what}"))
        if self.kalshi_env in ("sim", "replay") and self.custom_ws_url is None:
            problems.append(
                Problem("KALSHI_WS_URL", f"is missing; KALSHI_ENV={self.kalshi_env} has no address of its own")
            )
        for name, url_ in (("KALSHI_WS_URL", self.custom_ws_url), ("KALSHI_API_URL", self.custom_api_url)):
            if url_ is not None:
                problems += self._against_address(name, url_)
        return problems

    def _against_address(self, name: str, url_: str) -> list[Problem]:
        """Return why nothing may be received from an address: stored, or traded, it would be what it is not."""
        problems: list[Problem] = []
        venue, is_real = venue_of(url_), self.environment in REAL
        if venue and venue != self.environment:
            problems.append(Problem("KALSHI_ENV", f"is {self.environment}, but {name} is of {venue}"))
        elif is_real and is_local(url_):
            cure = "what runs here is no venue; leave KALSHI_ENV out, or say sim or replay, and set both addresses"
            problems.append(Problem("KALSHI_ENV", f"is {self.environment}, but {name} leads to this machine: {cure}"))
        elif is_real and not venue and self.kalshi_env is None:
            cure = f"if it is a proxy to the venue, say KALSHI_ENV={self.environment}; if not, set KALSHI_WS_URL too"
            problems.append(Problem("KALSHI_ENV", f"is missing; {name} leads elsewhere than the feed: {cure}"))
        if url_.startswith(("ws:", "http:")) and not is_local(url_):
            # The signature and everything received could be read, and changed, on the way.
            secure = f"{url_.partition(':')[0]}s://"
            problems.append(Problem(name, f"must begin with {secure} where it leads to another machine"))
        return problems


def unknown_names(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return variables that look like ours but are not, each with the one that it is most likely misspelt of."""
    known = [field.metadata["name"] for field in attrs.fields(Settings)]
    unknown = sorted(name for name in environ if name.startswith(("RL_", "KALSHI_")) and name not in known)
    return {name: next(iter(get_close_matches(name, known, n=1, cutoff=_LIKENESS)), None) for name in unknown}
