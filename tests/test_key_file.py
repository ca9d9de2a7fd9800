"""The key that requests are signed with: read again whenever it has changed, made anew only then."""

from pathlib import Path

import pytest

from rlflow.errors import SettingsError
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
