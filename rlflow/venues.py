"""The venue's own addresses, and what another address leads to."""

import ipaddress
import socket
from urllib.parse import urlsplit

# Protocol section 1: the recommended hosts, read 2026-11-22.
WS_URLS = {
    "prod": "wss://external-api-ws.kalshi.com/trade-api/ws/v2",
    "demo": "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
}
API_URLS = {
    "prod": "https://external-api.kalshi.com/trade-api/v2",
    "demo": "https://external-api.demo.kalshi.co/trade-api/v2",
}
# Names that /etc/hosts has for this machine where nobody has changed it.
_LOCAL_NAMES = {"localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}


def venue_of(url: str) -> str | None:
    """Return the environment whose host is in a URL, None if it is not the venue's."""
    host = urlsplit(url).hostname or ""
    if host.endswith(".kalshi.com"):
        return "prod"
    return "demo" if host.endswith(".kalshi.co") else None


def is_local(url: str) -> bool:
    """Return whether a URL leads to this machine, as far as can be said without asking for its name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    address = _address(host)
    if address is None:
        return host in _LOCAL_NAMES or host.endswith(".localhost")
    # Connecting to "any address" is connecting to this machine.
    return address.is_loopback or address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, None if it is a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _old_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _old_address(host: str) -> ipaddress.IPv4Address | None:
    """Return what is written as 127.1, 0 or 2130706433, as connecting understands it."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None
