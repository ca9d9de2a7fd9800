"""The command line, run in this process: what it says and with which exit code, whatever people type."""

import errno
import gzip
import json
import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import attrs
import psycopg
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from rlflow.cli.exchange import spread
from rlflow.cli.export import format_of
from rlflow.cli.main import main, report_output
from tests.recordings import make
from tests.running import clean_environ

MARKET = make.MARKETS[0]


@attrs.frozen
class Ended:
    code: object
    out: str
    err: str


Run: TypeAlias = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A function that runs one command in an empty directory, with the given settings only."""
    for name in ("DATABASE_URL", "RL_DB_SCHEMA", "RL_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    # What main() does to the whole process stays out of the other tests.
    monkeypatch.setattr("signal.signal", lambda _number, _handler: None)
    monkeypatch.setattr(sys.modules["rlflow.cli.main"], "configure_logging", lambda _log_format: None)

    def run_command(*arguments: object, **environ: str) -> Ended:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["rlflow", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return Ended(ended.value.code or 0, said.out, said.err)

    return run_command


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return make.write(tmp_path / "scene.jsonl", make.wrapped(make.Scene(random.Random(1)).play(50)))


def test_a_recording_goes_in_once_and_comes_out_again(run: Run, recording: Path, database_url: str) -> None:
    first = run("import", recording, DATABASE_URL=database_url)
    assert (first.code, first.err) == (0, "")
    assert ", 0 new" not in first.out
    assert ", 0 new, 0 rows added" in run("import", recording).out
    audited = run("audit").out
    assert audited.startswith("1 capture, ")
    assert "clean" in audited
    shown = run("book", MARKET)
    assert (shown.code, shown.out.splitlines()[0].split()[0]) == (0, MARKET)
    exact = json.loads(run("book", MARKET, "--json").out)
    assert exact["valid"]
    there = run("book", MARKET, "--json", "--frame", f"{exact['capture_id'].upper()}:{exact['frame_no']}")
    assert json.loads(there.out) == exact


@pytest.mark.parametrize(
    "command", [("import",), ("exchange", "--replay"), ("exchange", "--tls-cert"), ("db", "restore")]
)
@pytest.mark.parametrize("path", ["absent", ".", "/dev/null", "fifo"])
def test_what_is_no_file_is_no_recording_dump_or_certificate(run: Run, command: tuple[str, ...], path: str) -> None:
    os.mkfifo("fifo")
    ended = run(*command, path)
    assert ended.code == 2
    assert path in ended.err


def test_what_is_not_stored_is_no_success(run: Run, recording: Path, database_url: str) -> None:
    assert run("audit", DATABASE_URL=database_url).err == "error: nothing is stored yet\n"
    (recording.parent / "empty").touch()
    refused = run("import", recording.parent / "empty")
    assert (refused.code, "it is empty" in refused.err) == (2, True)
    assert run("audit").err == "error: nothing is stored yet\n"
    run("import", recording)
    for command in (("book", "NOPE"), ("audit", "NOPE"), ("book", MARKET, "--at", "2001-01-01")):
        ended = run(*command)
        assert (ended.code, ended.out) == (1, "")
        assert command[1] in ended.err
    assert run("audit", "--env", "prod").err == "error: nothing is stored for prod; stored: recordings\n"


def test_exit_codes_tell_input_from_what_is_not_there(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    nowhere = "0198c3f0-2b1c-7000-8000-000000000001"
    for command in (
        *(("book", "NOPE"), ("audit", "NOPE"), ("export", "--market", "NOPE", "x"), ("export", "--series", "NO", "x")),
        *(("book", MARKET, "--frame", f"{nowhere}:1"), ("reimport", nowhere), ("audit", "--env", "prod")),
    ):
        ended = run(*command)
        assert (ended.code, ended.err.count("\n")) == (1, 1), command
    nonsense = recording.parent / "nonsense"
    nonsense.write_text("nonsense\n")
    refused: tuple[tuple[object, ...], ...] = (
        *(("import", nonsense), ("exchange", "--replay", nonsense), ("db", "restore", nonsense)),
        *(("book", MARKET, "--frame", "x"), ("audit", "--env", "moon"), ("import", recording, "--sparse-seq")),
    )
    for arguments in refused:
        assert run(*arguments).code == 2, arguments
    # Of a damaged one something may be whole.
    recording.write_bytes(recording.read_bytes() + b"nonsense\n")
    assert run("import", recording, nonsense).code == 1


def test_an_exported_table_is_told_from_a_recording(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    run("export", "--market", MARKET, "y.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), "z.parquet")
    for command in (("import",), ("exchange", "--replay")):
        ours, other = run(*command, "y.parquet"), run(*command, "z.parquet")
        assert (ours.code, "export as .ndjson instead" in ours.err) == (2, True)
        assert (other.code, "its columns are of no known form" in other.err) == (2, True)
        assert "line" not in ours.err + other.err


def test_a_book_of_a_time_to_come_is_said_to_be_the_last_one(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    now, ahead = run("book", MARKET, "--json"), run("book", MARKET, "--json", "--at", "2200-01-01")
    assert (now.err, ahead.out) == ("", now.out)
    assert ahead.err.startswith("note: --at is still to come")


@pytest.mark.parametrize(
    "frame", ["x", "0198c3f0-2b1c-7000-8000-00000000000-:1", "-" * 36 + ":1", "0198c3f0-2b1c-7000-8000-000000000001:-1"]
)
def test_a_frame_that_is_none_is_an_error_of_input(run: Run, frame: str) -> None:
    ended = run("book", MARKET, f"--frame={frame}")
    assert (ended.code, "CAPTURE:N" in ended.err) == (2, True)


def test_tables_of_other_people_are_told_from_ours(run: Run, recording: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA rlflow_recordings")
        connection.execute("CREATE TABLE rlflow_recordings.rl_meta (version INTEGER)")
    assert run("audit", DATABASE_URL=database_url).err == "error: nothing is stored yet\n"
    ended = run("import", recording)
    assert (ended.code, "RL_DB_SCHEMA" in ended.err) == (2, True)


@pytest.mark.parametrize("command", [("audit",), ("book", "A"), ("db", "url")])
def test_looking_at_nothing_makes_nothing(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(*command).code == 1
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_cannot_be_is_named(run: Run, tmp_path: Path, recording: Path) -> None:
    (tmp_path / "file").touch()
    for command in (("import", recording), ("db", "psql", "--env", "sim")):
        ended = run(*command, RL_DATA_DIR=str(tmp_path / "file" / "data"))
        assert ended.code == 2
        assert "error: RL_DATA_DIR: " in ended.err


@pytest.mark.parametrize(("content", "words"), [(b"RL_PORT=x\n", "RL_PORT"), (b"A=\xff\n", ".env")])
def test_an_env_file_is_read_or_refused(run: Run, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    ended = run("audit")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {words}: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("command", [("audit",), ("doctor",), ("reimport", "0198c3f0-2b1c-7000-8000-000000000001")])
def test_a_misspelt_setting_is_said_by_every_command(run: Run, command: tuple[str, ...]) -> None:
    said = run(*command, RL_DATADIR="x", KALSHI_NOSUCH="1").err
    assert said.count("RL_DATADIR") == 1
    assert said.startswith(
        "warning: KALSHI_NOSUCH is no setting\nwarning: RL_DATADIR is no setting; is RL_DATA_DIR meant?\n"
    )


@pytest.mark.parametrize("damage", ["journal", "raw/x", "exchange/exchange_key.pem"])
def test_a_data_directory_with_foreign_files_is_named(run: Run, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "data" / damage.removesuffix("/x")
    path.parent.mkdir(parents=True)
    path.write_text("something else")
    ended = run("serve", RL_PORT="0", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert ended.code == 2
    assert "error: RL_DATA_DIR: " in ended.err
    assert str(path) in ended.err


def test_a_database_that_does_not_answer_is_one_line_without_its_password(run: Run, recording: Path) -> None:
    for command in (("audit",), ("import", recording), ("db", "dump")):
        ended = run(*command, DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x")
        assert ended.code == 1
        assert ended.err.startswith("error: the database does not answer: ")
        assert ended.err.count("\n") == 1
        assert "hunter2" not in ended.err


def test_db_passes_on_to_postgresqls_own_programs(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    assert run("db", "url").out == f"{database_url}\n"
    # The store's tables are found by their names alone.
    counted = run("db", "psql", "-At", "-c", "SELECT count(*) > 20 FROM rl_orderbook_deltas")
    assert (counted.code, counted.out) == (0, "t\n"), counted.err
    assert run("db", "psql", "-c", "nonsense").code == 1
    dumped = run("db", "dump", "--schema-only")
    assert "CREATE TABLE rlflow_recordings.rl_meta" in dumped.out
    assert "COPY" not in dumped.out


def test_options_of_several_values_are_repeated_before_each() -> None:
    typed = ["--market", "A", "B", "--seed", "1", "--replay=x", "y", "--sparse-seq"]
    assert spread(typed, ["--market", "--replay"]) == [
        *("--market", "A", "--market", "B", "--seed", "1", "--replay=x", "--replay", "y", "--sparse-seq")
    ]
    assert spread(["--market", "--seed", "1", "2"], ["--market"]) == ["--market", "--seed", "1", "2"]


def test_an_exchange_that_cannot_be_says_why(run: Run, tmp_path: Path, recording: Path) -> None:
    (tmp_path / "exchange_key.pem").write_text("no key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for word, arguments in {
            "give one of them": ("--market", "A", "--replay", recording, recording),
            "--port": ("--port", taken.getsockname()[1]),
            "--market": ("--market", "A", "B C"),
            "names no market": ("--market", ","),
            "no market": ("--market", ""),
            "1s to 24h": ("--series", "KXA:60s", "KXB:0"),
            "letters, digits": ("--series", "KX-A:60s"),
            "once": ("--series", "KXA", "KXA:60s"),
            "--key-dir": ("--key-dir", tmp_path),
            "unexpected": ("--seed", "1", "2"),
        }.items():
            ended = run("exchange", *arguments)
            assert ended.code == 2
            assert word in ended.err


@pytest.mark.parametrize("command", ["--help", "--version", "deploy systemd", "deploy grafana", "doctor"])
def test_an_output_that_cannot_be_written_is_one_line(command: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "rlflow", *command.split()],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=clean_environ(RL_DATA_DIR=str(tmp_path / "data")),
        )
    error = "error: the output could not be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, error)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad"), OSError(errno.ENOSPC, "full", "a file")], ids=repr)
def test_an_error_of_no_output_stays_what_it_is(error: OSError) -> None:
    with pytest.raises(OSError, match=str(error.strerror)):
        report_output(error)


def test_ctrl_c_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_stores: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlflow.data.stores.Stores.existing", interrupt)
    ended = run("audit")
    assert (ended.code, ended.err.strip()) == (1, "error: interrupted")


# Ctrl-C in the naming of a class's attribute, whose exceptions Python 3.11 replaces by others.
_INTERRUPTED_IMPORT = """
import os, runpy, signal, sys

class Name:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "rlflow.config":
            type("Owner", (), {"name": Name()})

sys.meta_path.insert(0, Finder())
runpy.run_module("rlflow", run_name="__main__")
"""


def test_ctrl_c_during_the_imports_is_one_line_too() -> None:
    ended = subprocess.run([sys.executable, "-c", _INTERRUPTED_IMPORT], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "error: interrupted\n")


def test_a_checkout_that_is_not_installed_says_how_to() -> None:
    # Without what is installed beside the interpreter.
    command = [sys.executable, "-S", "-m", "rlflow", "doctor"]
    root = Path(__file__).parent.parent
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root, env={})
    assert (ended.returncode, ended.stderr) == (2, "error: rlflow is not installed here: pip install -e .\n")


def test_what_is_exported_goes_in_again(run: Run, recording: Path, tmp_path: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    ended = run("export", "--series", "KXSIM", tmp_path / "all.ndjson.zst")
    assert (ended.code, "rows of 1 capture, 0 of them gaps" in ended.out) == (0, True), ended.err
    assert ", 0 new, 0 rows added" not in run("import", tmp_path / "all.ndjson.zst").out
    assert "clean" in run("audit").out
    ended = run("export", "--market", MARKET, "--to", "2001-01-01", tmp_path / "none.parquet")
    assert (ended.code, ended.err) == (1, f"error: nothing is stored of {MARKET} in that time\n")
    assert not (tmp_path / "none.parquet").exists()
    assert run("export", tmp_path / "x").code == 2
    assert run("export", "--series", "NOPE", tmp_path / "x").code == 1


@pytest.mark.parametrize("name", ["absent/x.ndjson", "file/x.parquet"])
def test_an_export_that_cannot_be_written_says_why(
    run: Run, recording: Path, tmp_path: Path, database_url: str, name: str
) -> None:
    run("import", recording, DATABASE_URL=database_url)
    (tmp_path / "file").touch()
    ended = run("export", "--market", MARKET, tmp_path / name)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"error: {tmp_path / name} cannot be written: ")
    assert run("export", "--market", MARKET, "--from", "2026-01-02", "--to", "2026-01-01", "x").code == 2


@pytest.mark.parametrize("name", ["", "-", "fifo", "to-fifo", "."])
def test_an_export_to_what_is_no_file_is_an_error_of_input(
    run: Run, recording: Path, tmp_path: Path, database_url: str, name: str
) -> None:
    run("import", recording, DATABASE_URL=database_url)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    before = {path: path.lstat().st_ino for path in tmp_path.iterdir()}
    assert run("export", "--market", MARKET, name).code == 2
    assert {path: path.lstat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "asked", "chosen"),
    [
        ("x", None, "ndjson"),
        ("x", "parquet", "parquet"),
        ("x.gz", None, "ndjson"),
        ("x.ndjson.gz", "ndjson", "ndjson"),
        ("x.JSONL.ZST", None, "ndjson"),
        ("x.parquet", None, "parquet"),
        ("KXA-T99.5", "parquet", "parquet"),
    ],
)
def test_an_exports_format_is_what_its_name_says_or_what_is_asked_for(
    name: str, asked: str | None, chosen: str
) -> None:
    assert format_of(Path("a.csv") / name, asked) == chosen


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("x.csv", None),
        ("x.csv.gz", None),
        ("KXA-T99.5", None),
        ("x.parquet", "ndjson"),
        ("x.ndjson", "parquet"),
        ("x.ndjson.gz", "parquet"),
        ("x.gz", "parquet"),
        ("x.parquet.gz", None),
    ],
)
def test_an_export_whose_name_says_something_else_is_refused(run: Run, name: str, asked: str | None) -> None:
    ended = run("export", "--market", MARKET, name, *(() if asked is None else ("--format", asked)))
    assert (ended.code, name in ended.err) == (2, True)


def test_an_export_to_a_full_disk_leaves_the_file_before_it(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    Path("before.ndjson").write_text("before")
    # As much as a full disk takes.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        ended = run("export", "--market", MARKET, "before.ndjson")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ended.code, ended.err) == (1, "error: before.ndjson could not be written: File too large\n")
    assert {path.name: path.read_text() for path in Path().glob("before*")} == {"before.ndjson": "before"}


def test_old_days_go_by_command(run: Run, recording: Path, database_url: str) -> None:
    run("import", recording, DATABASE_URL=database_url)
    planned = run("retention", "--keep", "90000d", "--dry-run")
    assert (planned.code, "0 days in 0 partitions" in planned.out) == (0, True), planned.err
    assert run("retention", "--keep", "soon").code == 2
    assert "dropped 0 partitions" in run("retention", "--keep", "90000d").out
    assert "clean" in run("audit").out


@pytest.mark.parametrize("packed", ["plain", "gz", "zst"])
def test_a_dump_is_restored_whole_and_only_where_nothing_is(
    run: Run, recording: Path, database_url: str, other_database_url: str, packed: str
) -> None:
    run("import", recording, DATABASE_URL=database_url)
    before = run("book", MARKET, "--json").out
    dump = recording.parent / "dump.sql"
    assert run("db", "dump", f"--file={dump}").code == 0
    match packed:
        case "gz":
            dump.write_bytes(gzip.compress(dump.read_bytes()))
        case "zst":
            dump.write_bytes(zstandard.compress(dump.read_bytes()))
    refused = run("db", "restore", dump)
    assert (refused.code, "there is a store of recordings already" in refused.err) == (2, True)
    restored = run("db", "restore", dump, DATABASE_URL=other_database_url)
    assert (restored.code, restored.out, restored.err) == (0, "restored the store of recordings: 1 capture\n", "")
    assert run("book", MARKET, "--json").out == before
    assert "clean" in run("audit").out


def test_half_a_dump_restores_nothing(
    run: Run, recording: Path, tmp_path: Path, database_url: str, other_database_url: str
) -> None:
    run("import", recording, DATABASE_URL=database_url)
    dump = tmp_path / "dump.sql"
    run("db", "dump", f"--file={dump}")
    whole = dump.read_text()
    dump.write_text(whole.replace("CREATE INDEX", "CREATE NONSENSE", 1))
    broken = run("db", "restore", dump, DATABASE_URL=other_database_url)
    assert (broken.code, broken.err.splitlines()[-1]) == (
        1,
        f"error: {dump} could not be restored; nothing was changed",
    )
    assert run("audit").err == "error: nothing is stored yet\n"
    refused = run("db", "restore", recording)
    assert (refused.code, "is no dump of a store" in refused.err) == (2, True)
    dump.write_text(whole)
    elsewhere = run("db", "restore", dump, RL_DB_SCHEMA="elsewhere")
    assert (elsewhere.code, "RL_DB_SCHEMA" in elsewhere.err) == (2, True)
    assert run("db", "restore", dump, RL_DB_SCHEMA="public").code == 0
