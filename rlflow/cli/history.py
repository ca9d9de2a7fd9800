"""`book` and `audit`: what the tables know."""

import json
import re
import time
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from rlflow.cli.options import MOMENT, env_option, open_store, progress_bar
from rlflow.cli.wording import counted
from rlflow.data.history import audit as auditing
from rlflow.data.history.rebuild import book_at
from rlflow.errors import CommandError
from rlflow.orderbook import BookView
from rlflow.session.rows import Levels
from rlflow.units import Nanos, format_count, format_price, hundredths

Place: TypeAlias = tuple[UUID, int]


class Frame(click.ParamType[Place]):
    """CAPTURE:N, a capture's UUID and a frame number."""

    name = "capture:n"

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Return the capture and the number."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,18})", value.lower(), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not CAPTURE:N, such as 0198c3f0-2b1c-7000-8000-000000000001:120", param, ctx)
        return UUID(match.group(1)), int(match.group(2))


@click.command()
@click.argument("market")
@click.option("--at", "at_ns", type=MOMENT, help="The receive time: ISO 8601 (UTC), or Unix s, ms or ns.")
@click.option("--frame", type=Frame(), help="A capture and a frame in it.")
@click.option("--json", "as_json", is_flag=True, help="Exact strings in dollars and contracts, for programs.")
@env_option
@click.pass_context
def book(
    context: click.Context,
    market: str,
    at_ns: Nanos | None,
    frame: Place | None,
    *,
    as_json: bool,
    environment: str | None,
) -> None:
    """Show MARKET's book as it was, rebuilt from the tables; without a time, after the last stored frame."""
    if at_ns is not None and frame is not None:
        raise click.UsageError("--at and --frame exclude each other")
    capture, number = frame or (None, None)
    if at_ns is not None and at_ns > time.time_ns():
        click.echo("note: --at is still to come; this is the book as far as it is stored", err=True)
    with open_store(context, environment) as database:
        view = book_at(database, market, at_ns=at_ns, capture=capture, frame=number)
    if view is None:
        raise CommandError(f"no book of {market} is stored for that moment")
    if as_json:
        click.echo(json.dumps(book_json(view)))
    else:
        print_book(view)


def book_json(view: BookView) -> dict[str, object]:
    """Return the book with exact strings, best price first."""
    return {
        "market_ticker": view.market_ticker,
        "capture_id": str(view.capture),
        "frame_no": view.frame_no,
        "timestamp_ms": view.timestamp_ms,
        "valid": view.is_valid,
        "yes_bids": _exact(view.yes_bids),
        "no_bids": _exact(view.no_bids),
    }


def _exact(levels: Levels) -> list[list[str]]:
    return [[format_price(price), format_count(count)] for price, count in levels]


def print_book(view: BookView) -> None:
    """Print both sides of YES beside each other, in cents and contracts, best first."""
    received = datetime.fromtimestamp(view.received_ns // 10**9, UTC)
    click.echo(f"{view.market_ticker} at {received:%Y-%m-%d %H:%M:%S}.{view.received_ns // 10**6 % 1000:03} UTC")
    click.echo(f"frame {view.frame_no} of capture {view.capture}")
    if not view.is_valid:
        click.echo(f"not valid: {view.cause}")
    if not view.yes_bids and not view.no_bids:
        click.echo("the book is empty")
        return
    table = Table()
    for name in ("bid size", "bid ¢", "ask ¢", "ask size"):
        table.add_column(name, justify="right")
    for number in range(max(len(view.yes_bids), len(view.no_bids))):
        bid = view.yes_bids[number : number + 1]
        ask = view.yes_asks[number : number + 1]
        left = [f"{hundredths(value)}" for level in bid for value in reversed(level)] or ["", ""]
        right = [f"{hundredths(value)}" for level in ask for value in level] or ["", ""]
        table.add_row(*left, *right)
    Console().print(table)


@click.command()
@click.argument("market", required=False)
@env_option
@click.pass_context
def audit(context: click.Context, market: str | None, environment: str | None) -> None:
    """Rebuild every book of the stored captures (or of MARKET alone) and compare; exit code 1 on any difference.

    Compares with every stored snapshot and with the sizes beside each delta, lists the gaps, and proves that every
    frame of every capture is accounted for.
    """
    with open_store(context, environment) as database, progress_bar("auditing") as progress:
        report = auditing.audit(database, market, progress)
    if market is not None and not report.markets:
        raise CommandError(f"no book of {market} is stored")
    print_report(report)
    if not report.is_clean:
        raise CommandError(counted(report.findings_count, "difference"))


def print_report(report: auditing.AuditReport) -> None:
    """Print what was looked at, the gaps, and what was found."""
    click.echo(
        f"{counted(report.captures, 'capture')}, {counted(report.markets, 'book')}, {counted(report.deltas, 'delta')}, "
        f"{counted(report.snapshots, 'snapshot')} compared"
    )
    click.echo(counted(len(report.gaps), "gap"))
    for gap in report.gaps:
        length = "open" if gap.to_ns is None else f"{(gap.to_ns - gap.from_ns) / 1e9:.1f} s"
        click.echo(
            f"  {gap.channel} capture {gap.capture} frame {gap.frame_no}: {gap.cause} "
            f"({length}, {counted(gap.rows, 'row')})"
        )
    for note in report.notes:
        click.echo(f"note: {note}")
    for finding in report.findings:
        click.echo(f"difference: {finding}")
    if report.is_clean:
        click.echo("clean: every book equals its snapshots, every frame is accounted for")
