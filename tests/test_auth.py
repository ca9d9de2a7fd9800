"""Signatures are the venue's: what is signed, by which scheme, and what does not verify."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from rlflow.kalshi.auth import PrivateKey, Signer, generate_private_key_pem, load_private_key, verify

WS_PATH = "/trade-api/ws/v2"
NOW_MS = 1_795_305_600_000


@pytest.fixture(scope="module", params=["rsa", "ed25519"])
def key(request: pytest.FixtureRequest) -> PrivateKey:
    return load_private_key(generate_private_key_pem(request.param))


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


def sign(key: PrivateKey, method: str = "GET", path: str = WS_PATH, now_ms: int = NOW_MS) -> str:
    return dict(Signer("id", key).headers(method, path, now_ms))["KALSHI-ACCESS-SIGNATURE"]


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_headers_are_key_id_milliseconds_and_signature(key: PrivateKey) -> None:
    names, values = zip(*Signer("a-key-id", key).headers("GET", WS_PATH, NOW_MS), strict=True)

    assert names == ("KALSHI-ACCESS-KEY", "KALSHI-ACCESS-TIMESTAMP", "KALSHI-ACCESS-SIGNATURE")
    assert values[:2] == ("a-key-id", "1795305600000")
    assert verify(key.public_key(), values[2], "GET", WS_PATH, "1795305600000")


def test_rsa_signs_with_pss_sha256_and_a_salt_of_32_bytes(rsa_key: rsa.RSAPrivateKey) -> None:
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)

    rsa_key.public_key().verify(
        base64.b64decode(sign(rsa_key), validate=True), f"{NOW_MS}GET{WS_PATH}".encode(), scheme, hashes.SHA256()
    )


def test_ed25519_signs_the_plain_text() -> None:
    # The key of RFC 8032, section 7.1, test 1.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)

    assert base64.b64decode(sign(key)) == key.sign(b"1795305600000GET/trade-api/ws/v2")


def test_query_is_not_signed_and_method_is_upper_case(key: PrivateKey) -> None:
    signature = sign(key, "get", "/trade-api/v2/portfolio/orders?limit=5")

    assert verify(key.public_key(), signature, "GET", "/trade-api/v2/portfolio/orders", str(NOW_MS))


@pytest.mark.parametrize(
    ("method", "path", "timestamp"),
    [("POST", WS_PATH, str(NOW_MS)), ("GET", "/trade-api/v2", str(NOW_MS)), ("GET", WS_PATH, str(NOW_MS + 1))],
)
def test_signature_of_another_request_does_not_verify(key: PrivateKey, method: str, path: str, timestamp: str) -> None:
    assert not verify(key.public_key(), sign(key), method, path, timestamp)


def test_signature_of_another_key_does_not_verify(key: PrivateKey, rsa_key: rsa.RSAPrivateKey) -> None:
    assert not verify(rsa_key.public_key(), sign(key), "GET", WS_PATH, str(NOW_MS))


@settings(max_examples=60, deadline=None)
@given(signature=st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()), timestamp=st.text())
def test_anything_else_does_not_verify_and_does_not_raise(signature: str, timestamp: str) -> None:
    public_key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key()

    assert not verify(public_key, signature, "GET", WS_PATH, timestamp)


def test_generated_keys_have_the_forms_that_the_venue_hands_out() -> None:
    assert generate_private_key_pem("rsa").startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    assert generate_private_key_pem("ed25519").startswith(b"-----BEGIN PRIVATE KEY-----")


def test_rsa_is_read_from_both_of_its_forms_and_with_stray_space_around(rsa_key: rsa.RSAPrivateKey) -> None:
    pkcs1 = rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    for pem in (pkcs1, pem_of(rsa_key), b"\n  " + pkcs1.replace(b"\n", b"\r\n") + b"\n\n"):
        loaded = load_private_key(pem)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        assert loaded.private_numbers() == rsa_key.private_numbers()


def test_keys_that_cannot_be_used_are_refused_in_words_for_people(rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    cases = {
        "no private key in PEM form": b"",
        "is a public key": public,
        "protected by a password": pem_of(rsa_key, password=b"secret"),
        "damaged": pem_of(rsa_key)[:300] + b"\n-----END PRIVATE KEY-----\n",
        "neither RSA nor Ed25519": pem_of(ec.generate_private_key(ec.SECP256R1())),
    }
    for words, pem in cases.items():
        with pytest.raises(ValueError, match=words):
            load_private_key(pem)


def test_repr_shows_neither_key_nor_its_id(rsa_key: rsa.RSAPrivateKey) -> None:
    assert repr(Signer("a-key-id", rsa_key)) == "Signer()"
