"""TLS over any stream that decrypts all records of one socket read at once.

The venue sends one TLS record per message. `trio.SSLStream` returns one record per call, which makes each message a
turn of the event loop; this stream returns all that one read of the transport held, which is several times as fast.
"""

import ssl
from typing import Final

import trio

READ_BYTES: Final = 64 * 1024
# The longest plaintext of one record (RFC 8446, 5.1).
_RECORD_BYTES: Final = 16 * 1024


def verifying_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a client context that verifies the peer against the system's authorities, or those in `ca_file` (PEM).

    The environment variable `SSL_CERT_FILE` stands in for the system's authorities, as OpenSSL has it.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A new handshake in the middle (TLS 1.2 only) would make writing wait for reading.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


class TLSStream(trio.abc.Stream):
    """The client's end of TLS, verified always. Call `do_handshake` first.

    The end of the transport is the end of data, whether the peer said goodbye (`close_notify`) or not: the websocket
    inside has its own closing. For the same reason `aclose` says none. A send that fails or is cancelled may leave half
    a record behind: nothing more can be sent then, but still received.
    """

    def __init__(self, transport: trio.abc.Stream, context: ssl.SSLContext, server_hostname: str) -> None:
        """Prepare the stream over a connected transport, which it owns from now on.

        Raises:
            ValueError: the context does not verify certificate and host name.
        """
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise ValueError("the TLS context must verify the certificate and the host name")
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._send_lock = trio.StrictFIFOLock()
        self._plain = b""
        self._has_ended = False
        self._failure: ssl.SSLError | None = None
        self._is_send_broken = False

    async def do_handshake(self) -> None:
        """Agree on keys and verify the peer.

        Raises:
            trio.BrokenResourceError: it failed; the cause is the `ssl.SSLError`, if TLS was the reason.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                await self._flush()  # the alert that tells the peer why
                raise _broken(error) from error
            else:
                await self._flush()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what the next read of the transport decrypts to, up to `max_bytes`; b"" at the end of data.

        Raises:
            trio.BrokenResourceError: the transport or TLS failed.
        """
        await trio.lowlevel.checkpoint()
        while not self._plain and not self._has_ended:
            # First what came together with the end of the handshake.
            self._plain = self._decrypt()
            if self._outgoing.pending:
                await self._flush()  # the answer to a key update
            if not self._plain and not self._has_ended:
                await self._fill()
        size = len(self._plain) if max_bytes is None else max_bytes
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send. Calls that overlap go out whole, in the order of the calls.

        Raises:
            trio.BrokenResourceError: the transport or TLS failed, or an earlier send did not end.
        """
        if self._is_send_broken:
            raise trio.BrokenResourceError("an earlier send was cut short")
        try:
            if data:  # OpenSSL takes no empty write
                self._tls.write(data)
        except ssl.SSLError as error:
            raise _broken(error) from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport takes bytes."""
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()

    async def _fill(self) -> None:
        data = await self._transport.receive_some(READ_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what TLS has to send. Reading the BIO under the lock keeps records in order."""
        async with self._send_lock:
            data = self._outgoing.read()
            if not data:
                return
            try:
                await self._transport.send_all(data)
            except BaseException:
                self._is_send_broken = True
                raise

    def _decrypt(self) -> bytes:
        """Return the plaintext of all whole records that are here; a failure only when there is none before it."""
        parts: list[bytes] = []
        try:
            while self._failure is None and (part := self._tls.read(_RECORD_BYTES)):
                parts.append(part)
            self._has_ended = self._failure is None
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            self._has_ended = True
        except ssl.SSLError as error:
            self._failure = error
        if self._failure is not None and not parts:
            raise _broken(self._failure) from self._failure
        return b"".join(parts)


def _broken(error: ssl.SSLError) -> trio.BrokenResourceError:
    return trio.BrokenResourceError(f"TLS: {getattr(error, 'verify_message', None) or error.reason or error}")
