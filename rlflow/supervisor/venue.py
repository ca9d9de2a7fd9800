"""The venue that the settings lead to: Kalshi, an exchange at another address, or the simulated one in this process."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import structlog
import trio

from rlflow.config import Settings
from rlflow.errors import Problem, SettingsError
from rlflow.exchange.config import ExchangeConfig
from rlflow.exchange.credentials import KEY_FILE, load_or_make_credentials
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.server import Exchange, serve
from rlflow.kalshi.auth import Signer, load_private_key
from rlflow.key_file import exposure, read_key_file

SIMULATED_PERIOD_S = 60
"""A market of a simulated series lives for a minute: somebody who looks sees a change-over soon."""

_log = structlog.get_logger(__name__)


@attrs.frozen
class Venue:
    """Where to connect, and how to sign for it."""

    ws_url: str
    api_url: str
    """Empty: the venue has no REST."""
    signer: Callable[[], Signer]
    """Looks at the key file at each call, so that a replaced key needs no restart."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of one connection, signed now."""
        return self.rest_headers("GET", urlsplit(self.ws_url).path)

    def rest_headers(self, method: str, path: str) -> tuple[tuple[str, str], ...]:
        """Return the headers of one request, signed now; SettingsError if the key cannot be read."""
        return self.signer().headers(method, path, time.time_ns() // 1_000_000)


@attrs.define
class KeyFile:
    """The configured key: its file is read at each use, but a key is made of it only when it has changed.

    Making an RSA key of its text checks that it is one, which takes 40 ms, and every request is signed on the loop.
    """

    path: Path
    key_id: str
    _pem: bytes = b""
    _signer: Signer | None = None

    def signer(self) -> Signer:
        """Return the signer of the key that is in the file now; SettingsError if it cannot be used."""
        try:
            pem = read_key_file(self.path)
            if self._signer is None or pem != self._pem:
                self._signer, self._pem = Signer(self.key_id, load_private_key(pem)), pem
        except OSError as error:
            raise SettingsError([Problem("KALSHI_PRIVATE_KEY_PATH", f"cannot be read: {error}")]) from error
        except ValueError as error:
            raise SettingsError([Problem("KALSHI_PRIVATE_KEY_PATH", str(error))]) from error
        return self._signer


def key_file(settings: Settings) -> KeyFile:
    """Return the configured key's file; the settings must name one."""
    assert settings.private_key_path is not None
    assert settings.api_key_id is not None
    return KeyFile(settings.private_key_path, settings.api_key_id)


async def open_venue(settings: Settings, root: trio.Nursery) -> Venue:
    """Return the venue. Starts the simulated exchange in the given nursery if that is it; it runs until cancelled."""
    if settings.is_simulated:
        return await _start_simulation(settings, root)
    key = key_file(settings)
    key.signer()
    if (exposed := exposure(key.path)) is not None:
        mode = f"{exposed.mode:04o}"
        _log.warning("key file can be read by others", path=str(key.path), mode=mode, cure=exposed.cure)
    return Venue(settings.ws_url, settings.api_url, key.signer)


async def _start_simulation(settings: Settings, root: trio.Nursery) -> Venue:
    """Start the simulated exchange on a free port; every run has an order flow of its own."""
    directory = settings.data_dir / "exchange"
    try:
        credentials = await trio.to_thread.run_sync(load_or_make_credentials, directory)
    except (OSError, ValueError) as error:
        problem = f"{directory / KEY_FILE} cannot be used, remove it to get a new one: {error}"
        raise SettingsError([Problem("RL_DATA_DIR", problem)]) from error
    series = tuple(SeriesSpec(ticker, period_s=SIMULATED_PERIOD_S) for ticker in settings.series_tickers)
    config = ExchangeConfig(keys=credentials.public_keys, tickers=settings.tickers, series=series, seed=time.time_ns())
    running: Exchange = await root.start(serve, config, name="simulated exchange")
    _log.warning("simulated exchange", address=running.url, why="no KALSHI_ variable is set; nothing of this is real")
    return Venue(running.url, running.address.api_url, lambda: credentials.signer)
