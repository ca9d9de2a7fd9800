"""What `doctor` asks the venue: is it there, do the clocks agree, is the key accepted, does the websocket open."""

import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from rlflow.cli.findings import Finding, note, ok, problem, warning
from rlflow.config import Settings
from rlflow.data.feed.connection import Connection, VenueAddress, run_connection
from rlflow.data.tls import verifying_context
from rlflow.errors import FeedLostError, KeyRefusedError, SettingsError
from rlflow.kalshi.auth import Signer
from rlflow.supervisor.venue import key_file

LIMIT_S = 10.0
# The venue refuses signatures some 10 to 30 s off (protocol section 2); below 5 s nothing can go wrong.
SKEW_S = 5.0
# A question each, of the 20 a second that everybody may ask.
_MOST_TICKERS = 8
_CLOCK_CURE = "let the machine keep time by NTP (timedatectl set-ntp true)"
_NET_CURE = "look at the network, a proxy, or KALSHI_API_URL and KALSHI_WS_URL"
_KEY_CURES = {
    "header_timestamp_expired": _CLOCK_CURE,
    "NOT_FOUND": "KALSHI_API_KEY_ID is unknown there: a demo key is no key of production, and the reverse",
    "INCORRECT_API_KEY_SIGNATURE": "the key file does not belong to KALSHI_API_KEY_ID",
}


@attrs.frozen
class _Answer:
    status: int
    text: str
    date: str | None
    asked_at: float
    answered_at: float


def venue_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is found, each as soon as it is known; blocks, each question for at most 10 s."""
    if settings.is_simulated:
        yield note("venue", "the simulated exchange, made in the process; no KALSHI_ variable is set")
        return
    try:
        with httpx.Client(timeout=LIMIT_S, verify=verifying_context()) as client:
            yield from _ask_rest(client, settings)
    except ssl.SSLError as error:
        yield problem("venue", f"TLS: {error}", "install the system's certificates (ca-certificates)")
    try:
        signer = key_file(settings).signer()
    except SettingsError:
        return  # the key file has its own line
    yield trio.run(_check_websocket, settings, signer)


def _ask_rest(client: httpx.Client, settings: Settings) -> Iterator[Finding]:
    try:
        answer = _get(client, settings.api_url, "/exchange/status", ())
    except httpx.HTTPError as error:
        yield problem("venue", f"{settings.api_url} does not answer: {str(error) or type(error).__name__}", _NET_CURE)
        return
    yield _judge_status(settings, answer)
    yield judge_clock(answer.date, answer.asked_at, answer.answered_at)
    if answer.status == 200:
        yield from _check_markets(client, settings)
    try:
        signer = key_file(settings).signer()
        path = urlsplit(settings.api_url).path + "/account/limits"
        headers = signer.headers("GET", path, time.time_ns() // 1_000_000)
        answer = _get(client, settings.api_url, "/account/limits", headers)
        yield judge_key(answer.status, answer.text)
    except SettingsError:
        return
    except httpx.HTTPError as error:
        yield problem("key", f"no answer to a signed request: {str(error) or type(error).__name__}", _NET_CURE)


def _check_markets(client: httpx.Client, settings: Settings) -> Iterator[Finding]:
    """Look whether the venue lists what is to be recorded; it lets anybody subscribe to anything."""
    try:
        paths = {ticker: f"/markets/{ticker}" for ticker in settings.tickers[:_MOST_TICKERS]}
        paths |= {ticker: f"/series/{ticker}" for ticker in settings.series_tickers[:_MOST_TICKERS]}
        missing = [ticker for ticker, path in paths.items() if _get(client, settings.api_url, path, ()).status == 404]
    except httpx.HTTPError as error:
        yield problem("markets", f"no answer: {str(error) or type(error).__name__}", _NET_CURE)
        return
    if missing:
        yield problem("markets", f"the venue has no {', '.join(missing)}", "`rlflow markets` lists those that it has")
    else:
        yield ok("markets", f"the venue has {', '.join([*paths][:3])}{' and the others' if len(paths) > 3 else ''}")


def _get(client: httpx.Client, base: str, path: str, headers: tuple[tuple[str, str], ...]) -> _Answer:
    asked_at = time.time()
    answer = client.get(base + path, headers=dict(headers))
    return _Answer(answer.status_code, answer.text, answer.headers.get("Date"), asked_at, time.time())


def _judge_status(settings: Settings, answer: _Answer) -> Finding:
    took_ms = (answer.answered_at - answer.asked_at) * 1000
    host = urlsplit(settings.api_url).netloc
    if answer.status in (503, 504):
        return note("venue", f"{host} is in maintenance (HTTP {answer.status}); recording begins when it ends")
    if answer.status != 200:
        return problem("venue", f"{host} answered HTTP {answer.status}", _NET_CURE)
    if '"trading_active":true' not in answer.text.replace(" ", ""):
        return note("venue", f"{host} answers in {took_ms:.0f} ms; trading is paused there")
    return ok("venue", f"{settings.environment}, {host} answers in {took_ms:.0f} ms")


def judge_clock(date: str | None, asked_at: float, answered_at: float) -> Finding:
    """Compare the answer's Date with our clock; whole seconds, so half a second either way is nothing.

    Args:
        date: The header as it came, None if there was none.
        asked_at: Our wall clock before the question, in seconds.
        answered_at: And after the answer.
    """
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5
    except (TypeError, ValueError):
        return note("clock", "the venue did not say what time it is")
    skew = (asked_at + answered_at) / 2 - theirs
    # What the way took, and the cut-off fraction, may be all of it.
    doubt = (answered_at - asked_at) / 2 + 0.5
    if abs(skew) - doubt > SKEW_S:
        word = "ahead of" if skew > 0 else "behind"
        return problem("clock", f"{abs(skew):.1f} s {word} the venue's, which refuses keys for that", _CLOCK_CURE)
    return ok("clock", f"agrees with the venue's within {abs(skew) + doubt:.1f} s")


def judge_key(status: int, text: str) -> Finding:
    """Say what the answer to a signed request shows about the key and its scopes."""
    if status == 200:
        return ok("key", "the signature is accepted, the key may read")
    if status == 401:
        cure = next((cure for code, cure in _KEY_CURES.items() if code in text), "make a new key on the venue's site")
        return problem("key", f"refused: {text.strip()[:200]}", cure)
    if status == 403:
        return problem("key", f"lacks the scope to read: {text.strip()[:200]}", "give the key the scope read")
    return warning("key", f"not known: HTTP {status} for /account/limits", "try again later")


async def _check_websocket(settings: Settings, signer: Signer) -> Finding:
    """Open the websocket as a feed would, and close it."""
    began = trio.current_time()
    address = VenueAddress.from_url(settings.ws_url)
    headers = signer.headers("GET", urlsplit(settings.ws_url).path, time.time_ns() // 1_000_000)

    async def goodbye(connection: Connection) -> None:
        connection.start(lambda _frames: None)
        await connection.close(3.0)

    try:
        await run_connection(address, headers, verifying_context() if address.is_tls else None, goodbye)
    except KeyRefusedError as refused:
        return attrs.evolve(judge_key(refused.status, refused.detail), name="websocket")
    except FeedLostError as lost:
        return problem("websocket", f"{address.host}: {lost}", _NET_CURE)
    return ok("websocket", f"{address.host} opened and closed in {(trio.current_time() - began) * 1000:.0f} ms")
