"""`db`: a store's PostgreSQL for people: its address, psql in it, and a dump of it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rlflow.cli.options import env_option, load_settings
from rlflow.data.stores import Stores
from rlflow.errors import CommandError

# What we do not know is for PostgreSQL's own program, --help excepted.
_PASS_ON = {"ignore_unknown_options": True}


@click.group()
def db() -> None:
    """Reach a store's PostgreSQL directly: the embedded one runs for as long as the command."""


@db.command()
@env_option
@click.pass_context
def url(context: click.Context, environment: str | None) -> None:
    """Print the store's address, password included. An embedded server answers while an rlflow process uses it."""
    with Stores(load_settings(context)) as stores:
        click.echo(stores.address(stores.choose(environment)))


@db.command(context_settings=_PASS_ON)
@env_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def psql(context: click.Context, arguments: tuple[str, ...], environment: str | None) -> None:
    """Run psql in the store. ARGUMENTS are psql's own, such as -c "SELECT ...". With --env a store may be new."""
    with Stores(load_settings(context)) as stores:
        code = _run(stores, "psql", environment or stores.choose(None), arguments)
    context.exit(code)


@db.command(context_settings=_PASS_ON)
@env_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dump(context: click.Context, arguments: tuple[str, ...], environment: str | None) -> None:
    """Write the store as SQL to stdout, for `db psql` to read. ARGUMENTS are pg_dump's own, such as --file=FILE."""
    with Stores(load_settings(context)) as stores:
        chosen = stores.choose(environment)
        # What else is in a database of the user's is none of our business.
        schema = stores.settings.schema_for(chosen)
        own = [] if stores.settings.database_url is None else [f"--schema={schema}"]
        code = _run(stores, "pg_dump", chosen, [*own, *arguments])
    context.exit(code)


def _run(stores: Stores, program: str, environment: str, arguments: Sequence[str]) -> int:
    """Run one of PostgreSQL's programs on a store until it ends; return its exit code."""
    address = conninfo_to_dict(stores.address(environment))
    # The environment of a process is its owner's to see, its command line everybody's.
    password = address.pop("password", None)
    secret = {} if password is None else {"PGPASSWORD": str(password)}
    schema = stores.settings.schema_for(environment)
    search = {} if schema == "public" else {"PGOPTIONS": f"-c search_path={schema}"}
    target = make_conninfo(**{name: str(value) for name, value in address.items()})
    command = [str(stores.program(program)), f"--dbname={target}", *arguments]
    try:
        with _interrupts_left_to_the_child():
            code = subprocess.run(command, check=False, env={**os.environ, **search, **secret}).returncode  # noqa: S603
    except OSError as error:
        raise CommandError(f"{program} cannot be run: {error}") from error
    return code if code >= 0 else 1


@contextmanager
def _interrupts_left_to_the_child() -> Iterator[None]:
    # Ctrl-C goes to both; in psql it ends a query, not psql. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
