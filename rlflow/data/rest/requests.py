"""Requests to the venue's REST interface: signed, throttled, bounded, and patient where patience helps.

What the venue may do better next time (429, 5xx, a broken line, an answer that cannot be read) is tried again with
back-off, `ATTEMPTS` times; a refusal is not.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.rest.limits import REQUEST_COST, TokenBucket
from rlflow.errors import AnswerRejectedError, RestRefusedError, SettingsError, VenueAwayError
from rlflow.kalshi.answers import BucketLimits, ErrorAnswer
from rlflow.units import Nanos

ATTEMPTS: Final = 6
ATTEMPT_S: Final = 15.0
"""For one attempt: connect, ask, and read the whole answer, however slowly its bytes come."""
MAX_ANSWER_BYTES: Final = 64 * 2**20
_CONNECTIONS = 4
_CLOSE_S = 2.0
# A signature that waited for its connection may be too old when it arrives; the next attempt has a new one.
_LATE = "header_timestamp_expired"

Headers: TypeAlias = Callable[[str, str], Iterable[tuple[str, str]]]
"""Method ("GET") and path from the root, without query, to the headers of one request made now; may raise SettingsError
if the key cannot be read, which is then tried again like all else."""
T = TypeVar("T")


@attrs.frozen
class RestStatistics:
    """How the venue's REST interface was asked, and how it answered."""

    requests: int = 0
    throttled: int = 0
    """Answers 429."""
    failures: int = 0
    """Other attempts without an answer of use."""
    refusals: int = 0
    unreadable: int = 0
    """Items of lists that could not be read and were left out."""
    last_answer_ns: Nanos | None = None
    """Wall clock of the last answer of use."""
    last_error: str | None = None


def patient() -> Backoff:
    """Return the waits between attempts: 8 s in all, or less."""
    return Backoff(first_s=0.25, cap_s=4.0)


class Requester:
    """Asks one venue; tasks may share it, and wait for each other only where the rate limit says so."""

    def __init__(
        self,
        api_url: str,
        headers: Headers,
        ssl_context: ssl.SSLContext,
        *,
        make_backoff: Callable[[], Backoff] = patient,
        attempt_s: float = ATTEMPT_S,
        wall_ns: Callable[[], Nanos] = time.time_ns,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._root = urlsplit(self._api_url).path
        self._headers = headers
        self._make_backoff = make_backoff
        self._attempt_s = attempt_s
        self._wall_ns = wall_ns
        self._http = httpx.AsyncClient(
            verify=ssl_context,
            timeout=attempt_s,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            # Neither a proxy nor somebody's ~/.netrc: the websocket goes straight too.
            trust_env=False,
            # Not compressed: unpacking a megabyte would hold up the loop for longer than receiving it takes.
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "rlflow"},
        )
        self._bucket: TokenBucket | None = None
        self._statistics = RestStatistics()

    async def aclose(self) -> None:
        """End the connections."""
        with trio.move_on_after(_CLOSE_S, shield=True):
            await self._http.aclose()

    def statistics(self) -> RestStatistics:
        """Return the figures so far."""
        return self._statistics

    def adopt(self, limits: BucketLimits) -> None:
        """Keep to the account's limits for reading from now on."""
        self._own_bucket().adopt(limits, trio.current_time())

    def note_unreadable(self, error: AnswerRejectedError) -> None:
        """Count an item of a list that was left out."""
        self._note(unreadable=1, last_error=str(error))

    async def ask(
        self, path: str, parameters: Mapping[str, str], read: Callable[[bytes], T], also: frozenset[int] = frozenset()
    ) -> T:
        """Return what `read` makes of the answer to a GET, asking again while that may help.

        Args:
            path: Behind the address's own, quoted.
            parameters: Of the query.
            read: Raises `AnswerRejectedError` for what is not the answer.
            also: Statuses whose answers count like a 200.

        Raises:
            RestRefusedError: a refusal that the same request would get again.
            VenueAwayError: no answer of use, however often asked.
            AnswerRejectedError: an answer of another form, however often asked.
        """
        backoff = self._make_backoff()
        for attempt in range(1, ATTEMPTS + 1):
            await trio.sleep(self._own_bucket().take(REQUEST_COST, trio.current_time()))
            self._note(requests=1)
            try:
                answer = read(await self._attempt(path, parameters, also))
            except (VenueAwayError, AnswerRejectedError) as error:
                self._note_failure(error)
                if attempt == ATTEMPTS:
                    raise
                await trio.sleep(backoff.after(0))
            else:
                self._note(last_answer_ns=self._wall_ns())
                return answer
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, path: str, parameters: Mapping[str, str], also: frozenset[int]) -> bytes:
        """Ask once and return the body of an answer that is no error."""
        headers = self._signed(path)
        try:
            with trio.fail_after(self._attempt_s):
                status, body = await self._exchange(path, parameters, headers)
        except trio.TooSlowError:
            raise VenueAwayError(f"GET {path}: no whole answer within {self._attempt_s:g} s") from None
        except httpx.RequestError as error:
            raise VenueAwayError(f"GET {path}: {_said(error)}") from error
        if 200 <= status < 300 or status in also:
            return body
        said = ErrorAnswer.from_body(body)
        if status == 429 or status >= 500 or said.code == _LATE:
            raise VenueAwayError(f"GET {path}: HTTP {status} {said.message}".rstrip(), status)
        self._note(refusals=1)
        raise RestRefusedError(status, said.code, said.message)

    def _signed(self, path: str) -> list[tuple[str, str]]:
        try:
            return list(self._headers("GET", self._root + path))
        except SettingsError as error:
            # A key that was good may be made good again, as for the websocket.
            raise VenueAwayError(f"GET {path}: no signature: {error}") from error

    async def _exchange(
        self, path: str, parameters: Mapping[str, str], headers: Sequence[tuple[str, str]]
    ) -> tuple[int, bytes]:
        """Send a request and return status and body."""
        body = bytearray()
        request = self._http.stream("GET", self._api_url + path, params=dict(parameters), headers=headers)
        async with request as response:
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    # Ends the iteration from inside: leaving it here would leave httpx's generators open.
                    await response.aclose()
        if response.headers.get("content-encoding", "identity") != "identity":
            raise VenueAwayError(f"GET {path}: an answer in an encoding that was not asked for")
        return response.status_code, bytes(body)

    def _own_bucket(self) -> TokenBucket:
        # Trio's clock can only be read once Trio runs.
        if self._bucket is None:
            self._bucket = TokenBucket(trio.current_time())
        return self._bucket

    def _note_failure(self, error: VenueAwayError | AnswerRejectedError) -> None:
        is_throttled = isinstance(error, VenueAwayError) and error.status == 429
        if is_throttled:
            self._own_bucket().drain(trio.current_time())
        self._note(throttled=int(is_throttled), failures=int(not is_throttled), last_error=str(error))

    def _note(self, *, last_answer_ns: Nanos | None = None, last_error: str | None = None, **more: int) -> None:
        """Add to the counters, and remember what was last."""
        old = self._statistics
        self._statistics = attrs.evolve(
            old,
            last_answer_ns=last_answer_ns or old.last_answer_ns,
            last_error=last_error or old.last_error,
            **{name: getattr(old, name) + number for name, number in more.items()},
        )


def _said(error: BaseException) -> str:
    """Return what an error says; the libraries put their own, without a word, around the one that says why."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if cause is None else str(cause)
