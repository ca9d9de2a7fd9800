"""Who may open a websocket: the checks of the upgrade request and the answers to those who may not (protocol 2)."""

from collections.abc import Iterable, Mapping

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

    def body(self) -> bytes:
        """Return the JSON body in the venue's flat shape (protocol 6.0)."""
        fields = {"code": self.code, "message": self.message, "details": self.details}
        return msgspec.json.encode({name: value for name, value in fields.items() if value})


def check_upgrade(
    headers: Iterable[tuple[bytes, bytes]],
    target: str,
    *,
    keys: Mapping[str, PublicKey],
    now_ms: int,
    max_skew_ms: int,
) -> Refusal | None:
    """Return why a connection is refused, None if it is welcome.

    Args:
        headers: Of the upgrade request, names in any case.
        target: The request's path, perhaps with a query, which is not signed.
        keys: The public keys by key id.
        now_ms: The exchange's clock.
        max_skew_ms: How far the signed time may lie from it, in either direction.
    """
    path = target.partition("?")[0]
    if path != WEBSOCKET_PATH:
        return Refusal(404, "not_found", f"there is nothing at {path[:80]!r}; the websocket is at {WEBSOCKET_PATH}")
    named = {name.decode("latin-1").upper(): value.decode("latin-1").strip() for name, value in headers}
    given = [named.get(name, "") for name in (HEADER_KEY, HEADER_TIMESTAMP, HEADER_SIGNATURE)]
    if not all(given):
        return Refusal(401, "signature_is_missing_from_headers", "authentication headers are missing")
    key_id, timestamp, signature = given
    if not _is_fresh(timestamp, now_ms, max_skew_ms):
        return Refusal(401, "header_timestamp_expired", "timestamp outside the allowed window")
    key = keys.get(key_id)
    if key is None:
        return Refusal(401, "authentication_error", "authentication failed", "NOT_FOUND")
    if not verify(key, signature, "GET", path, timestamp):
        return Refusal(401, "authentication_error", "authentication failed", "INCORRECT_API_KEY_SIGNATURE")
    return None


def _is_fresh(timestamp: str, now_ms: int, max_skew_ms: int) -> bool:
    if not (timestamp.isascii() and timestamp.isdecimal()) or len(timestamp) > _LONGEST_TIMESTAMP:
        return False
    return abs(int(timestamp) - now_ms) <= max_skew_ms
