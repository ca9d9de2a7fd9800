"""Who may ask and who may open a websocket, and the answers to those who may not (protocol 2)."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs
import msgspec

from rlflow.kalshi.auth import HEADER_KEY, HEADER_SIGNATURE, HEADER_TIMESTAMP, PublicKey, verify

WEBSOCKET_PATH = "/trade-api/ws/v2"
REST_PATH = "/trade-api/v2"

# Milliseconds have 13 digits until the year 2286; more digits would only make int() slow.
_LONGEST_TIMESTAMP = 20


@attrs.frozen
class Refusal:
    """An HTTP answer in place of the upgrade."""

    status: int
    code: str
    message: str
    details: str = ""

    def fields(self) -> dict[str, str]:
        """Return what the body says, without what is empty."""
        fields = {"code": self.code, "message": self.message, "details": self.details}
        return {name: value for name, value in fields.items() if value}

    def body(self) -> bytes:
        """Return the JSON body in the venue's flat shape (protocol 6.0)."""
        return msgspec.json.encode(self.fields())


FOREIGN = Refusal(403, "foreign_origin", "a page of another site may not do this")


@attrs.frozen
class Verifier:
    """Finds out who signed a request: the same for REST and for the upgrade (protocol 2)."""

    keys: Mapping[str, PublicKey] = attrs.field(repr=False)
    """The public keys by key id."""
    max_skew_ms: int
    """How far the signed time may lie from the exchange's clock, in either direction."""

    def signer(self, headers: Iterable[tuple[bytes, bytes]], method: str, path: str, now_ms: int) -> str | Refusal:
        """Return the key id whose signature the request has, or why it is refused.

        Args:
            headers: Of the request, names in any case.
            method: Of the request.
            path: From the root, as it was sent, without its query, which is not signed.
            now_ms: The exchange's clock.
        """
        named = {name.decode("latin-1").upper(): value.decode("latin-1").strip() for name, value in headers}
        given = [named.get(name, "") for name in (HEADER_KEY, HEADER_TIMESTAMP, HEADER_SIGNATURE)]
        if not all(given):
            return Refusal(401, "signature_is_missing_from_headers", "authentication headers are missing")
        key_id, timestamp, signature = given
        if not _is_fresh(timestamp, now_ms, self.max_skew_ms):
            return Refusal(401, "header_timestamp_expired", "timestamp outside the allowed window")
        key = self.keys.get(key_id)
        if key is None:
            return Refusal(401, "authentication_error", "authentication failed", "NOT_FOUND")
        if not verify(key, signature, method, path, timestamp):
            return Refusal(401, "authentication_error", "authentication failed", "INCORRECT_API_KEY_SIGNATURE")
        return key_id


def is_foreign_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a browser asks for a page that is not of this very address: only browsers send an Origin.

    A name can be rebound to any address, so the only origins are loopback and plain addresses, as they stand in Host.
    """
    named = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in headers}
    origin = named.get("origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        is_address = host == "localhost" or bool(ip_address(host))
    except ValueError:
        return True
    return not is_address or parts.netloc != named.get("host", "")


def check_upgrade(
    headers: Iterable[tuple[bytes, bytes]], target: str, *, verifier: Verifier, now_ms: int
) -> str | Refusal:
    """Return the key id that opens a connection, or why it is refused.

    Args:
        headers: Of the upgrade request, names in any case.
        target: The request's path, perhaps with a query.
        verifier: Judges the signature.
        now_ms: The exchange's clock.
    """
    path = target.partition("?")[0]
    if path != WEBSOCKET_PATH:
        return Refusal(404, "not_found", f"there is nothing at {path[:80]!r}; the websocket is at {WEBSOCKET_PATH}")
    return verifier.signer(headers, "GET", path, now_ms)


def _is_fresh(timestamp: str, now_ms: int, max_skew_ms: int) -> bool:
    if not (timestamp.isascii() and timestamp.isdecimal()) or len(timestamp) > _LONGEST_TIMESTAMP:
        return False
    return abs(int(timestamp) - now_ms) <= max_skew_ms
