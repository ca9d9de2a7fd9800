"""A websocket server on loopback whose every byte behind the handshake a test decides, and a certificate authority."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Request

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


def frame(payload: bytes, first: int = TEXT, *, mask_bit: int = 0) -> bytes:
    """Return a server's frame with the shortest length field that will do."""
    size = len(payload)
    if size < 126:
        return bytes((first, size | mask_bit)) + payload
    if size < 2**16:
        return bytes((first, 126 | mask_bit)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127 | mask_bit)) + size.to_bytes(8, "big") + payload


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    return frame(code.to_bytes(2, "big") + reason.encode(), CLOSE)


@attrs.frozen
class Authority:
    """Contexts of a server at 127.0.0.1 (also "localhost") and of a client that trusts its authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    ca_pem: str
    chain_pem: bytes
    """The server's key and certificate."""


CA_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@cache
def loopback_authority(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Authority:
    """Return contexts of which the server speaks up to this version of TLS."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            # Python 3.13 verifies strictly, and wants to be told whose key signed.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(CA_KEY_USAGE, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_pem = ca.public_bytes(pem).decode()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.maximum_version = version
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_pem = private + certificate.public_bytes(pem)
    with TemporaryDirectory() as directory:
        chain = Path(directory) / "chain.pem"
        chain.write_bytes(chain_pem)
        server.load_cert_chain(chain)
    return Authority(server, ssl.create_default_context(cadata=ca_pem), ca_pem, chain_pem)


@attrs.define
class Peer:
    """The server's end of one connection, after the handshake."""

    stream: trio.abc.Stream
    request: Request
    _protocol: WSConnection
    _events: list[Event] = attrs.Factory(list)

    async def send(self, *raw: bytes) -> None:
        await self.stream.send_all(b"".join(raw))

    async def receive(self) -> Event | None:
        """Return what the client says next; None when it has closed the line."""
        while not self._events:
            data = bytes(await self.stream.receive_some(65_536))
            if not data:
                return None
            self._protocol.receive_data(data)
            self._events.extend(self._protocol.events())
        return self._events.pop(0)


async def accept(stream: trio.abc.Stream, behind: bytes = b"") -> Peer:
    """Make the server's side of the handshake; `behind` is sent in the same write."""
    protocol = WSConnection(ConnectionType.SERVER)
    while True:
        data: bytes = bytes(await stream.receive_some(65_536))
        protocol.receive_data(data)
        for event in protocol.events():
            assert isinstance(event, Request)
            await stream.send_all(protocol.send(AcceptConnection()) + behind)
            return Peer(stream, event, protocol)


@asynccontextmanager
async def raw_venue(
    serve: Callable[[trio.abc.Stream], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve each connection with `serve` and yield the URL; connections end with `serve`."""

    async def serve_one(stream: trio.abc.Stream) -> None:
        try:
            await serve(stream)
        except trio.BrokenResourceError:
            pass  # the client cut the line; tests look at the client's side
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        if tls is None:
            listeners = await nursery.start(trio.serve_tcp, serve_one, 0)
            port = listeners[0].socket.getsockname()[1]
        else:
            listeners = await nursery.start(trio.serve_ssl_over_tcp, serve_one, 0, tls)
            port = listeners[0].transport_listener.socket.getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://localhost:{port}/trade-api/ws/v2"
        nursery.cancel_scope.cancel()
