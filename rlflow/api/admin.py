"""Who may look and who may change things: only a program of the same machine, or one that bears the token, the latter.

A page of another site that makes a browser send a request here is stopped three times: it cannot send JSON without
asking first, its Origin is foreign, and a name that was rebound to this address shows in Host. Reading, by a websocket
too, is stopped by the last two.
"""

import hmac
from urllib.parse import urlsplit

from quart import Request, Websocket, abort
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from rlflow.config import Settings

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Listening everywhere, we are known by names that we cannot know; the token, which is needed then, decides alone.
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  compared with, not listened on
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
MAX_QUERY_BYTES = 2_048


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_own_host(request: Request | Websocket, settings: Settings) -> bool:
    return settings.host in EVERYWHERE or _host_of(f"//{request.host}") in LOOPBACK | {settings.host.lower()}


def _is_own_origin(origin: str, request: Request | Websocket, settings: Settings) -> bool:
    is_same = settings.host in EVERYWHERE and origin.partition("//")[2] == request.host
    return is_same or _host_of(origin) in LOOPBACK | {settings.host.lower()}


def refuse_rebound(request: Request | Websocket, settings: Settings) -> None:
    """Abort with 403 or 414 unless the request is for this service by a name that it knows, and of a sane length."""
    if not _is_own_host(request, settings):
        abort(403, f"the Host {request.host[:100]!r} is not this service's")
    if len(request.query_string) > MAX_QUERY_BYTES:
        abort(414, f"the query is longer than {MAX_QUERY_BYTES} bytes")


def refuse_foreign_page(request: Request | Websocket, settings: Settings) -> None:
    """Abort with 403 if a page of another site is behind the request."""
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own_origin(origin, request, settings):
        abort(403, "a page of another site may not do this")


def refuse_stranger(request: Request, settings: Settings) -> None:
    """Abort with 401 or 403 unless the request may change things."""
    refuse_foreign_page(request, settings)
    if settings.admin_token is not None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_known = hmac.compare_digest(given.strip().encode(), settings.admin_token.encode())
        if scheme.lower() != "bearer" or not is_known:
            raise Unauthorized("the admin token is missing or wrong", www_authenticate=WWWAuthenticate("bearer"))
