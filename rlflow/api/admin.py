"""Who may change things: only a program of the same machine, or one that bears the token.

A page of another site that makes a browser send a request here is stopped three times: it cannot send JSON without
asking first, its Origin is foreign, and a name that was rebound to this address shows in Host.
"""

import hmac
from urllib.parse import urlsplit

from quart import Request, abort

from rlflow.config import Settings

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Listening everywhere, we are known by names that we cannot know; the token, which is needed then, decides alone.
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  compared with, not listened on


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_own_host(request: Request, settings: Settings) -> bool:
    return settings.host in EVERYWHERE or _host_of(f"//{request.host}") in LOOPBACK | {settings.host}


def _is_own_origin(origin: str, request: Request, settings: Settings) -> bool:
    is_same = settings.host in EVERYWHERE and origin.partition("//")[2] == request.host
    return is_same or _host_of(origin) in LOOPBACK | {settings.host}


def refuse_foreign(request: Request, settings: Settings) -> None:
    """Abort with 401, 403 or 415 unless the request may change things."""
    if not _is_own_host(request, settings):
        abort(403, f"the Host {request.host[:100]!r} is not this service's")
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own_origin(origin, request, settings):
        abort(403, "a page of another site may not do this")
    if request.mimetype != "application/json":
        abort(415, "send the header Content-Type: application/json")
    if settings.admin_token is not None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), settings.admin_token.encode()):
            abort(401, "the admin token is missing or wrong")
