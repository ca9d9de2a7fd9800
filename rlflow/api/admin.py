"""Who may change things: only a program of the same machine, or one that bears the token.

A page of another site that makes a browser send a request here is stopped three times: it cannot send JSON without
asking first, its Origin is foreign, and a name that was rebound to this address shows in Host.
"""

import hmac
from urllib.parse import urlsplit

from quart import Request, abort

from rlflow.config import Settings

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _is_known(host: str | None, settings: Settings) -> bool:
    return host in LOOPBACK or host == settings.host


def refuse_foreign(request: Request, settings: Settings) -> None:
    """Abort with 401, 403 or 415 unless the request may change things."""
    if not _is_known(urlsplit(f"//{request.host}").hostname, settings):
        abort(403, f"the Host {request.host!r} is not this service's")
    origin = request.headers.get("Origin")
    if origin is not None and not _is_known(urlsplit(origin).hostname, settings):
        abort(403, "a page of another site may not do this")
    if request.mimetype != "application/json":
        abort(415, "send the header Content-Type: application/json")
    if settings.admin_token is not None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), settings.admin_token.encode()):
            abort(401, "the admin token is missing or wrong")
