"""`markets`: what the venue offers, to find the tickers that are worth recording."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import click
import msgspec
import trio
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from rlflow.cli.options import load_settings
from rlflow.config import PUBLIC_API_URL, Settings
from rlflow.data.rest.client import VenueClient
from rlflow.errors import CommandError, PeerError, TransientError
from rlflow.kalshi.auth import Signer
from rlflow.kalshi.sheets import STATUS_FILTERS, MarketSheet
from rlflow.kalshi.wire_values import WireNumber, count, price
from rlflow.supervisor.venue import key_file
from rlflow.units import hundredths

Header = tuple[str, str]
# A title that is folded within so many characters can still be read.
_LEAST_TITLE = 16
# Nothing that is shown needs more.
_MOST_WIDTH = 10_000


class _Quotes(msgspec.Struct):
    """What the sheet leaves out, because it is old a moment later."""

    yes_bid_dollars: WireNumber = None
    yes_ask_dollars: WireNumber = None
    volume_24h_fp: WireNumber = None


@click.command()
@click.option("--series", metavar="S", help="Only this series, such as KXBTC15M.")
@click.option("--search", metavar="T", help="Only what has this text in its ticker or titles, in any case.")
@click.option("--status", type=click.Choice(STATUS_FILTERS), default="open", show_default=True, help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
@click.option("--json", "as_json", is_flag=True, help="The venue's own sheets, one JSON object a line.")
@click.pass_context
def markets(
    context: click.Context, series: str | None, search: str | None, status: str, limit: int, *, as_json: bool
) -> None:
    """List the venue's markets, those that close first at the top. Needs no key: without one, production's."""
    settings = load_settings(context)
    api_url = PUBLIC_API_URL if settings.is_simulated else settings.api_url
    try:
        found = trio.run(_ask, api_url, settings, series, status)
    except PeerError as error:
        raise CommandError(str(error)) from error
    except TransientError as error:
        # Without a venue in the settings, doctor looks at none.
        cure = "look at the network or a proxy" if settings.is_simulated else "see `rlflow doctor`"
        raise CommandError(f"{api_url} gives no answer: {error}; {cure}") from error
    chosen = [sheet for sheet in found if search is None or is_found(sheet, search)]
    chosen.sort(key=lambda sheet: (sheet.close_ns is None, sheet.close_ns, sheet.ticker))
    if not chosen:
        raise CommandError("no market is like that; --status, --series and --search say which are shown")
    if as_json:
        for sheet in chosen[:limit]:
            click.echo(sheet.raw.decode())
    else:
        _print(chosen[:limit])
        click.echo(f"{min(limit, len(chosen)):,} of {len(chosen):,} {status} markets")


async def _ask(api_url: str, settings: Settings, series: str | None, status: str) -> list[MarketSheet]:
    async with VenueClient(api_url, _headers(settings)) as client:
        return await client.markets(series=series, status=status)


def _headers(settings: Settings) -> Callable[[str, str], Iterable[Header]]:
    """Sign where there is a key: signed requests have a larger allowance."""
    if settings.private_key_path is None or settings.api_key_id is None:
        return lambda _method, _path: ()
    return partial(_signed, key_file(settings).signer())


def _signed(signer: Signer, method: str, path: str) -> Iterable[Header]:
    return signer.headers(method, path, time.time_ns() // 1_000_000)


def is_found(sheet: MarketSheet, text: str) -> bool:
    """Return whether the text is in what people read of a market."""
    words = (sheet.ticker, sheet.event_ticker, sheet.title, sheet.yes_sub_title)
    return any(text.casefold() in word.casefold() for word in words if word)


def _print(sheets: Iterable[MarketSheet]) -> None:
    table = Table()
    table.add_column("ticker", no_wrap=True)
    table.add_column("title", overflow="fold", min_width=_LEAST_TITLE)
    table.add_column("closes (UTC)", no_wrap=True)
    for name in ("bid ¢", "ask ¢", "24 h"):
        table.add_column(name, justify="right", no_wrap=True)
    for sheet in sheets:
        quotes = msgspec.json.decode(sheet.raw, type=_Quotes)
        table.add_row(
            sheet.ticker,
            ", ".join(word for word in (sheet.title, sheet.yes_sub_title) if word),
            "" if sheet.close_ns is None else f"{datetime.fromtimestamp(sheet.close_ns // 10**9, UTC):%Y-%m-%d %H:%M}",
            _shown(price, quotes.yes_bid_dollars),
            _shown(price, quotes.yes_ask_dollars),
            _shown(count, quotes.volume_24h_fp),
        )
    _console(table).print(table)


def _console(table: Table) -> Console:
    """Return a console that is wide enough: a ticker that is cut or broken can be neither searched nor copied."""
    console = Console()
    # The least width that rich measures is that of the longest word, also where it must not break between words.
    title = table.columns[1]
    title.width = _LEAST_TITLE
    needed = Measurement.get(console, console.options.update(width=_MOST_WIDTH), table).maximum
    title.width = None
    return Console(width=max(console.width, needed))


def _shown(read: Callable[[WireNumber], int | None], text: WireNumber) -> str:
    """Return cents, or contracts, as people write them; nothing for what is not known or makes no sense."""
    try:
        value = read(text)
    except ValueError:
        return ""
    return "" if value is None else f"{hundredths(value):,}"
