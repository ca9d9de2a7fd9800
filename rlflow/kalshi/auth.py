"""Keys and signatures of the venue (protocol section 2), made and verified.

What is signed is timestamp + method + path, without separators: the time in milliseconds as decimal digits, the method
in upper case, the path from the root without its query. RSA keys sign with PSS (SHA-256, salt of 32 bytes), Ed25519
keys plainly; the key's kind is read from its PEM, never from a file name.
"""

import base64
from typing import Final, Literal, TypeAlias

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ed25519.Ed25519PublicKey

HEADER_KEY: Final = "KALSHI-ACCESS-KEY"
HEADER_TIMESTAMP: Final = "KALSHI-ACCESS-TIMESTAMP"
HEADER_SIGNATURE: Final = "KALSHI-ACCESS-SIGNATURE"

_SHA256 = hashes.SHA256()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=padding.PSS.DIGEST_LENGTH)


@attrs.frozen
class Signer:
    """A key id and its private key; neither is shown by `repr`."""

    key_id: str = attrs.field(repr=False)
    key: PrivateKey = attrs.field(repr=False)

    def headers(self, method: str, path: str, now_ms: int) -> tuple[tuple[str, str], ...]:
        """Return the three headers for one request, or one attempt to connect, made now.

        Args:
            method: Such as "GET", in any case.
            path: From the root, such as "/trade-api/ws/v2". A query is left out of what is signed.
            now_ms: Milliseconds since 1970 UTC; the venue accepts some ten seconds of difference.
        """
        signature = _sign(self.key, _signed_text(method, path, str(now_ms)))
        return (
            (HEADER_KEY, self.key_id),
            (HEADER_TIMESTAMP, str(now_ms)),
            (HEADER_SIGNATURE, base64.b64encode(signature).decode("ascii")),
        )


def verify(public_key: PublicKey, signature_b64: str, method: str, path: str, timestamp: str) -> bool:
    """Return whether the signature is this key's for such a request; False for what is no signature at all."""
    try:
        signature = base64.b64decode(signature_b64, validate=True)
        text = _signed_text(method, path, timestamp)
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, text, _PSS, _SHA256)
        else:
            public_key.verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def kind_of(key: PrivateKey) -> str:
    """Return what people call the key: "RSA 2048" or "Ed25519"."""
    return f"RSA {key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else "Ed25519"


def load_private_key(pem: bytes) -> PrivateKey:
    """Return the key in a PEM text: RSA as PKCS#1 or PKCS#8, or Ed25519 as PKCS#8.

    Raises:
        ValueError: With a sentence for the person who gave the key; nothing of the key is in it.
    """
    if b"PUBLIC KEY" in pem:
        raise ValueError("this is a public key; the private key that belongs to it is needed")
    if b"PRIVATE KEY" not in pem:
        raise ValueError("this is no private key in PEM form (no line '-----BEGIN ... PRIVATE KEY-----')")
    try:
        key = serialization.load_pem_private_key(pem.strip() + b"\n", password=None)
    except TypeError as error:
        raise ValueError("the private key is protected by a password; give one that is not") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("the private key cannot be read: it is damaged or of an unknown kind") from error
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError("the private key is neither RSA nor Ed25519")  # noqa: TRY004  # the text is at fault, not a type
    return key


def generate_private_key_pem(kind: Literal["rsa", "ed25519"] = "rsa") -> bytes:
    """Return a new private key as the venue hands them out: RSA of 2048 bits as PKCS#1, Ed25519 as PKCS#8.

    An RSA key takes some tenths of a second.
    """
    if kind == "rsa":
        return _pem(rsa.generate_private_key(65_537, 2048), serialization.PrivateFormat.TraditionalOpenSSL)
    return _pem(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.PKCS8)


def _pem(key: PrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _signed_text(method: str, path: str, timestamp: str) -> bytes:
    return f"{timestamp}{method.upper()}{path.partition('?')[0]}".encode()


def _sign(key: PrivateKey, text: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, _PSS, _SHA256)
    return key.sign(text)
