"""A key pair for the local venue, kept in a directory: what the site of the real venue hands out."""

import hashlib
import os
import uuid
from pathlib import Path
from typing import Literal

import attrs
from cryptography.hazmat.primitives import serialization

from rlflow.kalshi.auth import PrivateKey, PublicKey, Signer, generate_private_key_pem, load_private_key
from rlflow.key_file import read_key_file

KEY_FILE = "exchange_key.pem"


@attrs.frozen
class Credentials:
    """A private key in a file, and the id under which the exchange knows its public half."""

    private_key_path: Path
    key: PrivateKey = attrs.field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """What the exchange needs to verify signatures."""
        return self.key.public_key()

    @property
    def public_pem(self) -> str:
        """The same as a PEM text."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.public_key.public_bytes(serialization.Encoding.PEM, form).decode()

    @property
    def key_id(self) -> str:
        """The key's id, made from the public key, so that it needs no file of its own."""
        der = self.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return str(uuid.UUID(bytes=hashlib.sha256(der).digest()[:16], version=4))

    @property
    def signer(self) -> Signer:
        """What a client signs its requests with."""
        return Signer(self.key_id, self.key)

    @property
    def public_keys(self) -> dict[str, PublicKey]:
        """The one public key by its id, as `ExchangeConfig.keys` wants it."""
        return {self.key_id: self.public_key}


def load_or_make_credentials(directory: Path, kind: Literal["rsa", "ed25519"] = "rsa") -> Credentials:
    """Return the key pair in `directory`; a new one is made there, readable by the owner only, if there is none.

    Several processes may do this at once: all of them return the same key.

    Raises:
        ValueError: There is a key file, but no usable key in it.
        OSError: The directory cannot be made, read or written.
    """
    path = directory / KEY_FILE
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, generate_private_key_pem(kind))
    return Credentials(path, load_private_key(read_key_file(path)))


def read_public_key(pem: str) -> PublicKey:
    """Return the public key in a PEM text; ValueError if there is none that the venue takes."""
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, PublicKey):
        raise ValueError("neither an RSA nor an Ed25519 key")  # noqa: TRY004  # wrong is the text, not its type
    return key


def _write_once(path: Path, content: bytes) -> None:
    """Make the file with its whole content, unless it is there by then; never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        # Unlike a rename, a link does not replace a key that another process has made meanwhile.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
