"""`exchange`: a local venue, simulated or replaying recordings."""

import math
import signal
import ssl
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import trio

from rlflow.cli.options import RECORDING_FILE, RegularFile, run_listening
from rlflow.errors import CommandError, meant_for_people
from rlflow.exchange.config import DEFAULT_TICKERS, ExchangeConfig, describe_environment
from rlflow.exchange.credentials import KEY_FILE, Credentials, load_or_make_credentials
from rlflow.exchange.markets.series import SeriesSpec
from rlflow.exchange.replay import replay_source
from rlflow.exchange.server import Exchange, serve
from rlflow.setting_values import tickers


class Speed(click.ParamType[float]):
    """A factor above 0, or max."""

    name = "factor"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the factor, infinite for max."""
        if value == "max":
            return math.inf
        try:
            factor = float(value)
        except ValueError:
            factor = math.nan
        if not factor > 0:
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)
        return factor


def spread(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """Repeat these options before each of their values: `--market A B` becomes `--market A --market B`."""
    result: list[str] = []
    current: str | None = None
    is_given = False
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            current, is_given = (name if name in options else None), bool(equals)
        elif current is not None:
            if is_given:
                result.append(current)
            is_given = True
        result.append(argument)
    return result


class SeriesParam(click.ParamType[SeriesSpec]):
    """A series' ticker, and perhaps its period."""

    name = "series"

    def convert(self, value: str | SeriesSpec, param: click.Parameter | None, ctx: click.Context | None) -> SeriesSpec:
        """Return what the series is to be."""
        if isinstance(value, SeriesSpec):
            return value
        try:
            return SeriesSpec.from_text(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Variadic(click.Command):
    """A command whose options --market, --series and --replay take several values each."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, ("--market", "--series", "--replay")))


_PEM_FILE = RegularFile("a certificate is read to its end")


@click.command(cls=_Variadic)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default="any free one", help="To listen on.")
@click.option(
    "--market", "markets", multiple=True, metavar="TICKER...", help="Simulated markets, also comma separated."
)
@click.option(
    "--series",
    "series",
    multiple=True,
    type=SeriesParam(),
    metavar="TICKER[:PERIOD]...",
    help="Simulated series: a market opens every period, as the one before it closes; 15m, or like 60s, 5m, 1h.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same order flow.")
@click.option("--rate", type=Speed(), default="50", show_default=True, help="Mean messages a second, or max.")
@click.option(
    "--replay",
    "files",
    multiple=True,
    type=RECORDING_FILE,
    metavar="FILE...",
    help="Play recordings instead of simulating.",
)
@click.option("--speed", type=Speed(), default="1", show_default=True, help="Of the replay: a factor, or max.")
@click.option("--sparse-seq", is_flag=True, help="The recordings' seq was shared with markets that are not in them.")
@click.option(
    "--key-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the key pair is kept; without it, in a directory that goes with the process.",
)
@click.option("--tls-cert", type=_PEM_FILE, help="Speak TLS with this certificate, in a PEM file.")
@click.option("--tls-key", type=_PEM_FILE, help="The certificate's private key, unless it is in the same file.")
def exchange(  # noqa: PLR0917 - click passes every option by name
    port: int,
    markets: tuple[str, ...],
    series: tuple[SeriesSpec, ...],
    seed: int,
    rate: float,
    files: tuple[Path, ...],
    speed: float,
    sparse_seq: bool,
    key_dir: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Run a local venue that speaks Kalshi's protocol, until Ctrl-C. Prints the settings that point rlflow to it."""
    if (markets or series) and files:
        raise click.UsageError(
            "--market and --series are of the simulation, --replay brings its own markets: give one of them"
        )
    tls = _server_context(tls_cert, tls_key)
    replay = replay_source(files, sparse_seq=sparse_seq, speed=speed) if files else None
    with _directory(key_dir) as directory:
        credentials = _credentials(directory)
        config = ExchangeConfig(
            keys=credentials.public_keys,
            port=port,
            tls=tls,
            tickers=_tickers(markets) or (() if series else DEFAULT_TICKERS),
            series=_distinct(series),
            seed=seed,
            rate=rate,
            replay=replay,
        )
        try:
            run_listening(_run, config, credentials)
        except BaseExceptionGroup as group:
            raise meant_for_people(group) from None


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """Provide where the keys are: without a directory of the user's, one that goes with the process."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="rlflow-exchange-") as scratch:
        yield Path(scratch)


def _distinct(series: tuple[SeriesSpec, ...]) -> tuple[SeriesSpec, ...]:
    tickers = [each.ticker for each in series]
    if len(tickers) != len(set(tickers)):
        raise click.UsageError("--series: each of them once")
    return series


def _tickers(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        found = tickers(",".join(texts))
    except ValueError as error:
        raise CommandError(f"--market: {error}", code=2) from error
    if texts and not found:
        raise CommandError("--market: names no market", code=2)
    return found


def _credentials(directory: Path) -> Credentials:
    try:
        return load_or_make_credentials(directory)
    except OSError as error:
        raise CommandError(f"--key-dir {directory} cannot be used: {error.strerror}", code=2) from error
    except ValueError as error:
        raise CommandError(f"--key-dir: {directory / KEY_FILE}: {error}", code=2) from error


def _server_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the context of a server with this certificate, None without one; CommandError if it cannot be used."""
    if certificate is None:
        if key is not None:
            raise CommandError("--tls-key is of no use without --tls-cert", code=2)
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Anything but a text would be asked for on the terminal where the key is encrypted.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        # What OpenSSL says of it is for those who wrote it.
        wanted = "both in PEM form, the key not encrypted"
        raise CommandError(f"--tls-cert and --tls-key: no certificate with its key, {wanted}", code=2) from error
    except OSError as error:
        raise CommandError(f"--tls-cert and --tls-key cannot be read: {error.strerror}", code=2) from error
    return context


async def _run(config: ExchangeConfig, credentials: Credentials) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            running = await _start(nursery, config)
            click.echo(
                describe_environment(
                    running.address,
                    key_id=credentials.key_id,
                    private_key_path=credentials.private_key_path,
                    tickers=config.market_tickers,
                    series=tuple(each.ticker for each in config.series),
                    is_replay=config.replay is not None,
                ),
                nl=False,
            )
            click.echo("# the exchange is running; Ctrl-C ends it", err=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


async def _start(nursery: trio.Nursery, config: ExchangeConfig) -> Exchange:
    try:
        running: Exchange = await nursery.start(serve, config)
    except OSError as error:
        raise CommandError(f"--port {config.port} cannot be listened on: {error.strerror}", code=2) from error
    return running
