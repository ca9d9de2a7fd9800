"""What several commands share: settings, the store to read, times, and progress."""

import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rlflow.config import Settings, unknown_names
from rlflow.data.database import Database
from rlflow.data.stores import ALL_ENVIRONMENTS, Stores
from rlflow.units import Nanos

T = TypeVar("T")

env_option = click.option(
    "--env",
    "environment",
    type=click.Choice(ALL_ENVIRONMENTS),
    help="Which store to read; without it, the only one there is.",
)


def load_settings(context: click.Context) -> Settings:
    """Return the settings of the environment that the command line was started in; say which variables are none."""
    environ = context.obj()
    for name, nearest in unknown_names(environ).items():
        meant = f"; is {nearest} meant?" if nearest else ""
        click.echo(f"warning: {name} is no setting{meant}", err=True)
    return Settings.from_environ(environ)


@contextmanager
def open_store(context: click.Context, environment: str | None) -> Iterator[Database]:
    """Connect to a store that exists, and let it go afterwards."""
    with Stores(load_settings(context)) as stores:
        database = stores.connect(stores.choose(environment))
        try:
            yield database
        finally:
            database.close()


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while a terminal is there; yields what to call with (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class RegularFile(click.Path):
    """A file that has an end, and can be read more than once."""

    def __init__(self, why: str) -> None:
        """Prepare to refuse what is no such file, and to say why it must be one."""
        super().__init__(exists=True, dir_okay=False, path_type=Path)
        self._why = why

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path."""
        path = super().convert(value, param, ctx)
        if not os.path.isfile(path):
            self.fail(f"{os.fsdecode(path)!r} is no regular file, and {self._why}", param, ctx)
        return path


class Moment(click.ParamType[Nanos]):
    """A time: ISO 8601 (UTC if it names no zone), or a Unix time in s, ms or ns, told apart by its length."""

    name = "time"

    def convert(self, value: str | Nanos, param: click.Parameter | None, ctx: click.Context | None) -> Nanos:
        """Return nanoseconds since 1970 UTC."""
        if isinstance(value, int):
            return value
        if re.fullmatch(r"\d{10}|\d{13}|\d{19}", value, re.ASCII):
            return int(value.ljust(19, "0"))
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is not a time such as 2026-08-11T01:30:00Z, nor a Unix time in s, ms or ns", param, ctx
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


MOMENT = Moment()
RECORDING_FILE = RegularFile("a recording is read more than once")


def run_listening(function: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run a Trio program that listens for SIGINT and SIGTERM itself; both do nothing before and after it listens.

    An interrupt that is raised wherever the interpreter happens to be would otherwise end Trio from within.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    return trio.run(function, *args)
