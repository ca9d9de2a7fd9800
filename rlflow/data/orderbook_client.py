"""A feed: connects to the venue, records a capture for each connection, and connects again until told to stop.

Of all tasks only this one and the database connection restart themselves. What ends a connection (a close by the peer,
a broken line, 25 s of silence, a commander that is at its wits' end) becomes the `Closed` record of its capture; then
the feed backs off and tries again.

Stopping has two speeds. Setting the `stop` event closes the connection properly: our close frame, then whatever the
venue sends before its own, which is data like any other, all within `close_s`; then `run` returns. Cancelling `run`
cuts the connection at once. Either way the capture gets its `Closed` record.
"""

import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias
from uuid import UUID

import attrs
import structlog
import trio

from rlflow.data.backoff import Backoff
from rlflow.data.feed.capture_log import Capture, CaptureLog
from rlflow.data.feed.connection import Connection, VenueAddress, run_connection
from rlflow.data.feed.conversation import Commander, Conversation
from rlflow.errors import FeedLostError, KeyRefusedError, SettingsError
from rlflow.kalshi.lifecycle import LIFECYCLE
from rlflow.kalshi.notices import BookValid, Notice
from rlflow.session.records import Closed, Opened

SILENT_S: Final = 25.0
"""The venue pings every 10 s and publishes no deadline; 25 s miss two pings (protocol 3.6)."""
CLOSE_S: Final = 3.0
"""For the closing handshake, one round trip; less than a fifth of the default stop deadline."""
_ABOUT_BOOKS: Final = b'"orderbook_'
_HEAD_BYTES: Final = 100
"""The venue writes a frame's type first."""

FeedState: TypeAlias = Literal["connecting", "connected", "closing", "waiting", "refused", "stopped"]
Headers: TypeAlias = Iterable[tuple[str, str]]

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Listener(Protocol):
    """What a feed needs of the books."""

    def listen(self, capture: UUID) -> trio.MemoryReceiveChannel[Notice]:
        """Return the notices of a capture that begins now; they end after its `Closed` record."""
        ...


@attrs.define
class Admission:
    """Whether the venue has ever accepted our key in this process; shared by all feeds."""

    is_admitted: bool = False


@attrs.frozen(kw_only=True)
class FeedStatus:
    """How a feed stands."""

    url: str
    state: FeedState
    capture: UUID | None
    """Of the connection that stands, None between connections."""
    connected_s: float | None
    silent_s: float | None
    """Since the last byte, pings included."""
    books_silent_s: float | None
    """Since the last snapshot or change of a book, or since it was opened."""
    connections: int
    """How many were opened so far."""
    failures: int
    """Attempts and connections that ended since one lasted 30 s."""
    last_cause: str | None
    """Why the last attempt or connection ended."""
    last_code: int | None
    is_plain_pipe: bool
    """Whether an unusual frame has made this connection take the slow way."""
    is_hearing_lifecycle: bool
    """Whether the venue has granted the lifecycle channel to this connection, and not ended it since."""

    @property
    def is_connected(self) -> bool:
        """Whether the websocket is open."""
        return self.state == "connected"


class OrderbookClient:
    """One feed. `run` is its task; the rest may be called from any task of the loop.

    Args:
        url: the websocket's, ws: or wss:.
        headers: makes the headers of one attempt, signed anew; may raise SettingsError if the key cannot be read.
        make_commander: makes the commander of one connection.
        capture_log: where everything goes that is received.
        books: where the notices come from.
        opened: makes the first record of a capture.
        ssl_context: needed for wss:, must verify.
        admission: shared among the feeds of a process.
        heard: is told of every notice, behind the commander.
        overfilled: is told how many markets the venue would not let a subscription hold.
        backoff: decides the waits between connections.
        silent_s: how long the venue may say nothing.
        close_s: how long the closing handshake may take.
    """

    def __init__(
        self,
        *,
        url: str,
        headers: Callable[[], Headers],
        make_commander: Callable[[], Commander],
        capture_log: CaptureLog,
        books: Listener,
        opened: Callable[[], Opened],
        ssl_context: ssl.SSLContext | None = None,
        admission: Admission | None = None,
        heard: Callable[[Notice], None] = lambda _: None,
        overfilled: Callable[[int], None] = lambda _: None,
        backoff: Backoff | None = None,
        silent_s: float = SILENT_S,
        close_s: float = CLOSE_S,
    ) -> None:
        self._url = url
        self._address = VenueAddress.from_url(url)
        if self._address.is_tls != (ssl_context is not None):
            raise ValueError("a TLS context belongs to wss: and to nothing else")
        self._headers = headers
        self._make_commander = make_commander
        self._capture_log = capture_log
        self._books = books
        self._opened = opened
        self._ssl_context = ssl_context
        self._admission = admission or Admission()
        self._heard = heard
        self._overfilled = overfilled
        self._backoff = backoff or Backoff()
        self._silent_s = silent_s
        self._close_s = close_s
        self._state: FeedState = "waiting"
        self._connections = 0
        self._last: Closed | None = None
        self._end: Closed | None = None
        self._capture: Capture | None = None
        self._connection: Connection | None = None
        self._conversation: Conversation | None = None
        self._last_book_at = -math.inf
        self._is_retiring = False

    def statistics(self) -> FeedStatus:
        """Return how the feed stands."""
        now, connection = trio.current_time(), self._connection
        return FeedStatus(
            url=self._url,
            state=self._state,
            capture=self._capture.id if self._capture else None,
            connected_s=now - connection.opened_at if connection else None,
            silent_s=now - connection.last_byte_at if connection else None,
            books_silent_s=now - max(self._last_book_at, connection.opened_at) if connection else None,
            connections=self._connections,
            failures=self._backoff.failures,
            last_cause=self._last.cause if self._last else None,
            last_code=self._last.code if self._last else None,
            is_plain_pipe=connection is not None and connection.is_plain_pipe,
            is_hearing_lifecycle=self._conversation is not None and self._conversation.has(LIFECYCLE),
        )

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        """Ask the venue for new snapshots of these books, None for all.

        Raises:
            FeedLostError: there is no connection; the next one brings snapshots by itself.
            ValueError: a market is not followed by this feed.
        """
        if self._conversation is None or self._state != "connected":
            raise FeedLostError("not connected")
        self._conversation.resnapshot(tickers)

    def follow(self, tickers: Sequence[str]) -> None:
        """Have the open connection follow these markets instead; a new one follows what its own commander says."""
        if self._conversation is not None and self._capture is not None:
            self._conversation.follow(tickers)
            self._capture.tickers = tuple(tickers)

    def retire(self) -> None:
        """Leave every market of the open connection, so that nothing of them is missing, and have `run` end then.

        Raises:
            FeedLostError: there is no connection; to stop is all there is to do.
        """
        if self._conversation is None or self._state != "connected":
            raise FeedLostError("not connected")
        self._is_retiring = True
        self._conversation.retire()

    def distrust(self, cause: str, tickers: Sequence[str] | None = None) -> None:
        """Write down that these books of the open connection (None: all) are not trusted until their next snapshot."""
        if self._capture is not None and self._state == "connected":
            self._capture.stale(self._capture.tickers if tickers is None else tuple(tickers), cause)

    async def run(self, stop: trio.Event) -> None:
        """Record until `stop` is set or the feed has retired (then close properly), or it is cancelled (then cut).

        Raises:
            BaseExceptionGroup: with a KeyRefusedError (unless the clock is at fault) or SettingsError, if no feed was
                ever admitted in this process; otherwise with an error that is not about the connection.
        """
        while not stop.is_set():
            self._state = "connecting"
            self._last = await _first_of(partial(self._connect, stop), partial(self._wait_stop_before_open, stop))
            lasted_s = self._forget_connection()
            is_over = stop.is_set() or self._is_retiring
            log = _log.info if is_over else _log.warning
            log("feed closed", url=self._url, cause=self._last.cause, code=self._last.code)
            if is_over:
                break
            with trio.move_on_after(self._backoff.after(lasted_s)):
                await stop.wait()
        self._state = "stopped"

    async def _connect(self, stop: trio.Event) -> Closed:
        """Make one connection and return how it ended; its capture is closed with that."""
        end = Closed("stopped at once")
        try:
            await run_connection(self._address, self._headers(), self._ssl_context, partial(self._talk, stop))
        except FeedLostError as lost:
            end = Closed(lost.cause, lost.code)
        except (KeyRefusedError, SettingsError) as refused:
            # A key that was good may be made good again: the headers are made anew each time. And a machine may start
            # before it knows the time.
            if not self._admission.is_admitted and not (isinstance(refused, KeyRefusedError) and refused.is_for_time):
                raise
            end = Closed(str(refused))
            self._state = "refused"
        finally:
            # What ended an open connection says more than what happened while it was being closed.
            end = self._end or end
            if self._capture:
                self._capture.closed(end.cause, end.code)
        return end

    async def _talk(self, stop: trio.Event, connection: Connection) -> None:
        """Record an open connection until something ends it, then close it."""
        self._admission.is_admitted = True
        self._capture = self._capture_log.begin(self._opened())
        with self._books.listen(self._capture.id) as notices:
            ear = _Ear(self._capture, self._heard, self._overfilled)
            self._conversation = Conversation(self._make_commander(), notices, connection.send, ear)
            self._connection = connection
            self._connections += 1
            self._state = "connected"
            connection.start(partial(self._take, self._capture))
            _log.info("feed connected", url=self._url, capture=str(self._capture.id))
            self._end = await _first_of(
                connection.wait_lost,
                partial(connection.wait_silent, self._silent_s),
                self._conversation.run,
                partial(_wait_stop, stop),
            )
            self._state = "closing"
            code = await connection.close(self._close_s)
            if self._end.code is None:
                self._end = Closed(self._end.cause, code)

    def _take(self, capture: Capture, frames: Sequence[bytes]) -> None:
        capture.frames(frames)
        # Read before anything is decoded, and only until the first that fits.
        if any(_ABOUT_BOOKS in frame[:_HEAD_BYTES] for frame in frames):
            self._last_book_at = trio.current_time()

    async def _wait_stop_before_open(self, stop: trio.Event) -> Closed:
        """Wait for a stop that comes before the connection is open; a later one is the open connection's business."""
        await stop.wait()
        if self._capture is not None:
            await trio.sleep_forever()
        return Closed("stopped")

    def _forget_connection(self) -> float:
        """Return how long the connection that has ended was alive, in seconds."""
        connection, self._connection = self._connection, None
        self._capture = self._conversation = self._end = None
        if self._state != "refused":
            self._state = "waiting"
        return connection.last_byte_at - connection.opened_at if connection else 0.0


@attrs.define
class _Ear:
    """Hears what one conversation comes to: writes down which books cannot be trusted, and passes the rest on."""

    capture: Capture
    pass_on: Callable[[Notice], None]
    overfilled: Callable[[int], None]
    _written: set[str] = attrs.field(factory=set, init=False)

    def heard(self, notice: Notice) -> None:
        if isinstance(notice, BookValid):
            self._written.discard(notice.ticker)
        self.pass_on(notice)

    def missed(self, tickers: tuple[str, ...]) -> None:
        # What the venue refuses over and over is missing since the first time.
        fresh = tuple(ticker for ticker in tickers if ticker not in self._written)
        if fresh:
            self._written.update(fresh)
            self.capture.stale(fresh, "the venue sends no snapshot")


async def _wait_stop(stop: trio.Event) -> Closed:
    await stop.wait()
    return Closed("stopped")


async def _first_of(*waits: Callable[[], Awaitable[Closed]]) -> Closed:
    """Return what the first of these returns, and cancel the others."""
    ends: list[Closed] = []

    async def wait_for(wait: Callable[[], Awaitable[Closed]]) -> None:
        ends.append(await wait())
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(wait_for, wait)
    return ends[0]
