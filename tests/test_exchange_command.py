"""The `exchange` command's TLS: which certificates it takes, and what it says of others."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rlflow.cli.exchange import exchange
from rlflow.errors import CommandError
from tests.raw_venue import loopback_authority


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tls-key", "chain.pem"], "without --tls-cert"),
        (["--tls-cert", "authority.pem"], "no certificate with its key"),
        (["--tls-cert", "chain.pem", "--tls-key", "authority.pem"], "no certificate with its key"),
        (["--tls-cert", "nonsense.pem"], "no certificate with its key"),
    ],
)
def test_what_cannot_be_a_server_is_named_before_anything_runs(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chain.pem").write_bytes(loopback_authority().chain_pem)
    Path("authority.pem").write_text(loopback_authority().ca_pem)
    Path("nonsense.pem").write_text("nonsense")
    result = CliRunner().invoke(exchange, arguments)
    assert isinstance(result.exception, CommandError)
    assert result.exception.code == 2
    assert complaint in str(result.exception)
    assert "[" not in str(result.exception)


def test_a_key_directory_that_cannot_be_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "x"
    result = CliRunner().invoke(exchange, ["--key-dir", str(directory)])
    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == f"--key-dir {directory} cannot be used: Not a directory"
