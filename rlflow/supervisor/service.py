"""The running service: every channel and every long-lived task, in the order of the data's flow."""

import secrets
import socket
import time
from contextlib import closing
from functools import partial

import attrs
import structlog
import trio

from rlflow.api.app import create_app
from rlflow.api.health import judge
from rlflow.api.service import Service
from rlflow.api.watch import watch_service
from rlflow.config import Settings
from rlflow.data.feed.capture_log import CaptureLog
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.raw import RawStore
from rlflow.data.lock import DirectoryLock
from rlflow.data.orderbook_state import OrderbookState
from rlflow.data.stores import Stores
from rlflow.data.upkeep.retention_task import Retention
from rlflow.data.upkeep.self_check import SelfCheck
from rlflow.data.write_queue import WriteQueue
from rlflow.errors import JournalFullError, Problem, SettingsError, meant_for_people
from rlflow.session.records import Batch, Closed, local_batch
from rlflow.session.rows import Rows
from rlflow.supervisor.following import FollowingParts, venue_client
from rlflow.supervisor.http import address, bind, serve_http
from rlflow.supervisor.loop_watch import LoopWatch
from rlflow.supervisor.stopping import Deadline, watch_signals
from rlflow.supervisor.venue import open_venue

# One socket read each, at most 64 KiB: half a second of a burst of 5,000 reads; 16 MiB at 4 KiB a read. What does not
# fit is read from the journal.
BATCHES = 4_096
# One batch's rows each; as many as the books make while one slow commit lasts.
ROWS = 4_096
# Of the time for a stop, what the writer may use for what is left; the rest is for the step that it is in, for HTTP and
# for an embedded database. What it does not write is in the journal.
DRAIN_SHARE = 0.5

_log = structlog.get_logger(__name__)


@attrs.frozen
class _Parts:
    """Everything that lives as long as the service."""

    settings: Settings
    journal: Journal
    captures: CaptureLog
    books: OrderbookState
    writer: WriteQueue
    self_check: SelfCheck
    retention: Retention
    stores: Stores
    loop: LoopWatch
    send_batches: trio.MemorySendChannel[Batch]
    receive_batches: trio.MemoryReceiveChannel[Batch]


async def run_service(settings: Settings) -> int:
    """Run until a signal stops it; return the exit code: 0, or 1 when a second signal cut the stop short.

    Raises:
        SettingsError: something must be set otherwise before it can run.
        KeyRefusedError: the venue has never accepted the key.
        StoreError: the database or the journal is not ours to write to.
    """
    stop, at_once = trio.Event(), trio.CancelScope()
    with DirectoryLock.acquire(settings.data_dir), Deadline() as deadline:
        try:
            # Listened for from before the first file is opened until the last is closed.
            async with trio.open_nursery() as outermost:
                watch = partial(watch_signals, stop, at_once, deadline, settings.stop_deadline_s)
                await outermost.start(watch, name="signals")
                await _run_parts(settings, stop, at_once)
                outermost.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise meant_for_people(group) from None
        _log.info("stopped", at_once=at_once.cancelled_caught)
        return 1 if at_once.cancelled_caught else 0


async def _run_parts(settings: Settings, stop: trio.Event, at_once: trio.CancelScope) -> None:
    """Make the parts, run them until `stop` is set or `at_once` cancelled, and close them."""
    with closing(bind(settings)) as listener:
        try:
            parts = _build(settings)
        except OSError as error:
            reason = f"{error.filename or settings.data_dir} cannot be used: {error.strerror}"
            raise SettingsError([Problem("RL_DATA_DIR", reason)]) from error
        try:
            with at_once:
                await _run_tasks(parts, listener, stop)
        finally:
            parts.journal.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(parts.stores.close)


def _build(settings: Settings) -> _Parts:
    """Make the parts; nothing runs yet."""
    raw = RawStore(settings.data_dir / "raw", keep_days=settings.raw_keep_days) if settings.raw_keep_days else None
    journal = Journal.open(settings.data_dir / "journal", max_bytes=settings.journal_max_bytes, raw=raw)
    close_leftovers(journal)
    send_batches, receive_batches = trio.open_memory_channel[Batch](BATCHES)
    stores = Stores(settings)
    connect = partial(stores.connect, settings.environment)
    books = OrderbookState(journal, flush_interval_s=settings.flush_interval_s)
    writer = WriteQueue(
        journal,
        connect,
        lambda: books.cursor,
        environment=settings.environment,
        batch_size=settings.batch_size,
        flush_interval_s=settings.flush_interval_s,
        recorder=secrets.randbits(31),
    )
    return _Parts(
        settings=settings,
        journal=journal,
        captures=CaptureLog(journal, send_batches),
        books=books,
        writer=writer,
        self_check=SelfCheck(books, writer, connect),
        retention=Retention(connect, settings.retention_days),
        stores=stores,
        loop=LoopWatch(),
        send_batches=send_batches,
        receive_batches=receive_batches,
    )


def close_leftovers(journal: Journal) -> None:
    """Close the captures that a killed process left open, so that their gaps begin where their frames end.

    What the disk has no room for waits for the next start.
    """
    record = Closed("the recording process ended without closing the connection")
    for capture, last in journal.open_captures.items():
        try:
            journal.append(local_batch(record, capture, last + 1, time.time_ns()))
        except JournalFullError as error:
            _log.error("capture not closed", capture=str(capture), reason=str(error))


async def _run_tasks(parts: _Parts, listener: socket.socket, stop: trio.Event) -> None:
    pipeline_done, http_done = trio.Event(), trio.Event()
    settings = parts.settings
    async with trio.open_nursery() as root:
        root.start_soon(parts.loop.run, name="loop watch")
        venue = await open_venue(settings, root)
        async with venue_client(venue) as client:
            connect = partial(parts.stores.connect, settings.environment)
            follow = FollowingParts.build(
                settings,
                venue,
                client=client,
                captures=parts.captures,
                books=parts.books,
                connect=connect,
                flush=parts.writer.flush,
            )
            _log.info(
                "serving",
                url=address(listener),
                environment=settings.environment,
                markets=len(settings.tickers),
                series=len(settings.series_tickers),
            )
            service = _describe(parts, follow)
            app = create_app(service)

            async def run_http() -> None:
                await serve_http(app, listener, pipeline_done)
                http_done.set()

            root.start_soon(run_http, name="http")
            root.start_soon(watch_service, lambda: judge(service, service.figures()), name="health watch")
            await _run_pipeline(parts, follow, stop)
        pipeline_done.set()
        await http_done.wait()
        # What is left never ends by itself: the watch, and the simulated exchange.
        root.cancel_scope.cancel()


async def _run_pipeline(parts: _Parts, follow: FollowingParts, stop: trio.Event) -> None:
    """Run feeds, books and writer; each ends when the one before it has ended and its channel is empty."""
    send_rows, receive_rows = trio.open_memory_channel[Rows](ROWS)
    books_done, drain = trio.Event(), trio.CancelScope()

    async def run_books() -> None:
        await parts.books.run(parts.receive_batches, send_rows)
        books_done.set()
        drain.deadline = trio.current_time() + parts.settings.stop_deadline_s * DRAIN_SHARE

    async def run_writer() -> None:
        with drain:
            await parts.writer.run(receive_rows, books_done)
        if drain.cancelled_caught:
            _log.warning("left to the journal", bytes=parts.writer.statistics().backlog_bytes)

    async def run_feeds() -> None:
        async with parts.send_batches:
            await follow.feeds.run(stop)

    async with trio.open_nursery() as background:
        background.start_soon(_sync_journal, parts.journal, parts.settings.flush_interval_s, name="journal sync")
        if parts.settings.sample_rate == 1:
            background.start_soon(parts.self_check.run, name="self check")
        background.start_soon(parts.retention.run, name="retention")
        for name, run in follow.background.items():
            background.start_soon(run, name=name)
        async with trio.open_nursery() as pipeline:
            pipeline.start_soon(run_writer, name="writer")
            pipeline.start_soon(run_books, name="books")
            pipeline.start_soon(run_feeds, name="feeds")
        background.cancel_scope.cancel()


async def _sync_journal(journal: Journal, interval_s: float) -> None:
    """Bring the journal to disk once per flush interval, until cancelled: a power cut costs at most one."""
    while True:
        await trio.sleep(interval_s)
        await trio.to_thread.run_sync(journal.sync)


def _describe(parts: _Parts, follow: FollowingParts) -> Service:
    started_ns = time.time_ns()
    return Service(
        settings=parts.settings,
        books=parts.books,
        feeds=follow.feeds,
        following=follow.following,
        writer=parts.writer,
        captures=parts.captures.statistics,
        journal=parts.journal.statistics,
        self_check=parts.self_check.statistics,
        stored_counts=parts.writer.stored_counts,
        loop=parts.loop,
        started_ns=started_ns,
        others={**follow.figures, "retention": parts.retention.statistics},
    )
