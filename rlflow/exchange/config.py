"""What a local venue is to be, and how a collector is pointed at it."""

import shlex
import ssl
from collections.abc import Mapping
from pathlib import Path

import attrs

from rlflow.exchange.handshake import REST_PATH, WEBSOCKET_PATH
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.replay import Replay
from rlflow.exchange.rest.settings import RestSettings
from rlflow.exchange.wire.conversation import Limits
from rlflow.exchange.wire.faults import Fault
from rlflow.kalshi.auth import PublicKey

DEFAULT_TICKERS = ("KXSIM-27JAN01-A", "KXSIM-27JAN01-B", "KXSIM-27JAN01-C")


@attrs.frozen
class ExchangeConfig:
    """Settings of one local venue; the defaults are the real venue's where those are known."""

    keys: Mapping[str, PublicKey] = attrs.field(repr=False)
    """The public keys that may connect, by key id."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    tls: ssl.SSLContext | None = None
    """A server context makes it `wss`."""
    tickers: tuple[str, ...] = DEFAULT_TICKERS
    """The simulated markets that stay open; the first is the busiest. Not used by a replay."""
    series: tuple[SeriesSpec, ...] = ()
    """The simulated series, beside those. Not used by a replay."""
    seed: int = 1
    rate: float = attrs.field(default=50.0, validator=attrs.validators.gt(0))
    """Mean messages a second over all simulated markets; infinite: as many as the slowest connection takes."""
    replay: Replay | None = None
    """Recordings to play in place of the simulation."""
    max_skew_s: float = 15.0
    """How far a signature's time may be off; the venue's own value lies between 10 and 30."""
    ping_interval_s: float = 10.0
    pong_limit_s: float = 30.0
    """A connection whose pong takes longer is dropped; unpublished by the venue."""
    goodbye_s: float = 3.0
    """How long a connection that is to end waits for the write under way and for the peer's close frame."""
    limits: Limits = attrs.field(factory=Limits)
    faults: tuple[Fault, ...] = ()
    keys_without_read: frozenset[str] = frozenset()
    """Key ids without the scope `read`: they may connect, and every subscription is refused by error 9."""
    keys_without_write: frozenset[str] = frozenset()
    """Key ids without the scope `write`: whatever places, changes or ends an order is refused by 403."""
    rest: RestSettings = attrs.field(factory=RestSettings)

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """The markets that have data here from the start to the end; those of series come and go."""
        return self.tickers if self.replay is None else tuple(sorted(self.replay.tickers))


@attrs.frozen
class Address:
    """Where a running venue is."""

    host: str
    port: int
    is_secure: bool = False

    @property
    def url(self) -> str:
        """The websocket's URL."""
        return f"{'wss' if self.is_secure else 'ws'}://{self.host}:{self.port}{WEBSOCKET_PATH}"

    @property
    def api_url(self) -> str:
        """The base URL of REST calls, on the same port."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}:{self.port}{REST_PATH}"


def describe_environment(
    address: Address,
    *,
    key_id: str,
    private_key_path: Path,
    tickers: tuple[str, ...],
    series: tuple[str, ...] = (),
    is_replay: bool = False,
) -> str:
    """Return the lines of a shell or an .env file that point a collector at the venue.

    What is replayed goes into a store of its own, and its old times alarm nobody.
    """
    variables = {
        "KALSHI_API_KEY_ID": key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(private_key_path.absolute()),
        **({"KALSHI_ENV": "replay"} if is_replay else {}),
        "KALSHI_WS_URL": address.url,
        "KALSHI_API_URL": address.api_url,
        **({"RL_MARKET_TICKER": ",".join(tickers)} if tickers else {}),
        **({"RL_SERIES_TICKER": ",".join(series)} if series else {}),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
