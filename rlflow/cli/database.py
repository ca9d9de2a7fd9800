"""`db`: a store's PostgreSQL for people: its address, psql in it, a dump of it and the way back."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rlflow.cli.options import RegularFile, env_option, load_settings
from rlflow.cli.wording import counted
from rlflow.data.imports.dump_file import DumpedStore, open_dump, read_dump
from rlflow.data.store import postgres
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
    """Write the store as SQL to stdout, for `db restore` to read. ARGUMENTS are pg_dump's own, such as --file=FILE."""
    with Stores(load_settings(context)) as stores:
        chosen = stores.choose(environment)
        # What else is in a database of the user's is none of our business.
        schema = stores.settings.schema_for(chosen)
        own = [] if stores.settings.database_url is None else [f"--schema={schema}"]
        code = _run(stores, "pg_dump", chosen, [*own, *arguments])
    context.exit(code)


@db.command()
@click.argument("file", type=RegularFile("a dump is read more than once"))
@click.pass_context
def restore(context: click.Context, file: Path) -> None:
    """Bring back the store in FILE, which `db dump` wrote, also packed as .gz or .zst: all of it or nothing.

    Only to where no such store is; another RL_DATA_DIR or DATABASE_URL is such a place. What the journal has behind the
    dump, the service then adds at its start.
    """
    dumped = read_dump(file)
    with Stores(load_settings(context)) as stores:
        _check_place(stores, dumped)
        with open_dump(file) as content:
            arguments = ("--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-")
            code = _run(stores, "psql", dumped.environment, arguments, content)
        if code:
            raise CommandError(f"{file} could not be restored; nothing was changed")
        # An older dump is upgraded here.
        with stores.connect(dumped.environment) as database:
            captures = len(database.captures())
    click.echo(f"restored the store of {dumped.environment}: {counted(captures, 'capture')}")


def _check_place(stores: Stores, dumped: DumpedStore) -> None:
    """Raise CommandError if the dump cannot be restored to where the settings lead."""
    schema = stores.settings.schema_for(dumped.environment)
    if dumped.db_schema != schema:
        raise CommandError(
            f"the dump is of schema {dumped.db_schema}, the settings lead to schema {schema}: RL_DB_SCHEMA decides", 2
        )
    with postgres.connect(stores.address(dumped.environment)) as connection, postgres.translated():
        tables = connection.execute(
            r"SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename LIKE 'rl\_%%'", (schema,)
        ).fetchone()
    if tables != (0,):
        raise CommandError(f"there is a store of {dumped.environment} already; nothing was changed", 2)


def _run(
    stores: Stores, program: str, environment: str, arguments: Sequence[str], content: BinaryIO | None = None
) -> int:
    """Run one of PostgreSQL's programs on a store until it ends; return its exit code.

    Args:
        stores: Where the store is.
        program: Its name.
        environment: Which store.
        arguments: For the program, besides the store's address.
        content: What it is to read, None for what we ourselves would.
    """
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
            code = _run_to_its_end(command, {**os.environ, **search, **secret}, content)
    except OSError as error:
        raise CommandError(f"{program} cannot be run: {error}") from error
    return code if code >= 0 else 1


def _run_to_its_end(command: Sequence[str], environ: Mapping[str, str], content: BinaryIO | None) -> int:
    if content is None:
        return subprocess.run(command, check=False, env=environ).returncode  # noqa: S603  no shell
    # What it says beside errors is of no interest to anybody.
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:  # noqa: S603  as above
        assert running.stdin is not None
        # If it ends early, its exit code says so.
        with suppress(BrokenPipeError):
            shutil.copyfileobj(content, running.stdin, 1 << 20)
        with suppress(BrokenPipeError):
            running.stdin.close()
        return running.wait()


@contextmanager
def _interrupts_left_to_the_child() -> Iterator[None]:
    # Ctrl-C goes to both; in psql it ends a query, not psql. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
