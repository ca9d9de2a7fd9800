"""The key that requests are signed with: read again whenever it has changed, made anew only then."""

import os
from pathlib import Path

import pytest

from rlflow.cli.local_checks import check_key_file
from rlflow.config import Settings
from rlflow.errors import SettingsError
from rlflow.exchange.credentials import KEY_FILE, load_or_make_credentials
from rlflow.kalshi.auth import generate_private_key_pem
from rlflow.supervisor.venue import KeyFile


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    path = tmp_path / "key.pem"
    path.write_bytes(generate_private_key_pem("ed25519"))
    return KeyFile(path, "id")


def test_an_unchanged_file_gives_the_key_that_was_made_of_it(key: KeyFile) -> None:
    assert key.signer() is key.signer()


def test_a_replaced_file_gives_its_own_key_at_once(key: KeyFile) -> None:
    before = key.signer()
    key.path.write_bytes(generate_private_key_pem("ed25519"))
    after = key.signer()
    assert after is not before
    assert after.headers("GET", "/", 1) != before.headers("GET", "/", 1)
    assert key.signer() is after


@pytest.mark.parametrize("kind", ["fifo", "endless", "large"])
def test_what_has_no_end_is_no_key_and_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / KEY_FILE
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "large":
            path.write_bytes(b" " * 100_000 + generate_private_key_pem("ed25519"))
    words = "larger than 64 KiB" if kind == "large" else "no regular file"
    with pytest.raises(SettingsError, match=words):
        KeyFile(path, "id").signer()
    with pytest.raises(ValueError, match=words):
        load_or_make_credentials(tmp_path)
    environ = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY_PATH": str(path), "RL_MARKET_TICKER": "A"}
    assert words in check_key_file(Settings.from_environ(environ)).text


@pytest.mark.parametrize("content", [None, b"no key"])
def test_a_file_that_cannot_be_used_is_named_and_a_good_one_in_its_place_is_taken(
    key: KeyFile, content: bytes | None
) -> None:
    good = key.path.read_bytes()
    key.signer()
    key.path.unlink() if content is None else key.path.write_bytes(content)
    with pytest.raises(SettingsError, match="KALSHI_PRIVATE_KEY_PATH"):
        key.signer()
    key.path.write_bytes(good)
    assert key.signer().headers("GET", "/", 1)
