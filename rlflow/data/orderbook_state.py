"""The live books: one actor that turns batches into books, notices for the feeds, and rows for the writer.

It owns a `Session` per open capture and a cursor in the journal. Batches that did not fit into its channel are read
back from the journal, so the feeds never wait for it; rows that do not fit into the writer's channel are left to the
writer, which reads the same journal. Readers of books get conflated views: the newest, never a queue of old ones.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol
from uuid import UUID

import attrs
import trio

from rlflow.data.books.book_listeners import BookSubscription, Listener
from rlflow.data.books.gap_log import GapLog, GapStatistics
from rlflow.data.books.shown_books import ShownBooks
from rlflow.data.books.silences import Silence, silences
from rlflow.data.books.storage_loss import Loss, level
from rlflow.kalshi.notices import Notice
from rlflow.metrics import Histogram, Latency
from rlflow.orderbook import BookView
from rlflow.session.records import Batch, Kind
from rlflow.session.rows import Rows
from rlflow.session.session import Session
from rlflow.units import Nanos

# Catching up shares the loop with the feeds: nothing between two awaits may take much longer than this.
SLICE_S = 0.002
# A feed takes its notices within a loop turn; a snapshot storm of a thousand markets gives a thousand.
NOTICES = 4_096


class JournalReader(Protocol):
    """What the actor needs of the journal."""

    @property
    def end(self) -> int:
        """The offset up to which everything can be read."""
        ...

    def read(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches between two offsets."""
        ...


@attrs.frozen
class BooksStatistics:
    """What the actor has done so far."""

    cursor: int
    """The journal offset up to which everything is applied."""
    messages: int
    """Frames applied, whether they changed a book or not."""
    markets: int
    valid: int
    lapses: int
    """How often a market's book was valid in one capture at least, and then in none."""
    unsettled: int
    """Books that are crossed within a group of changes that is not complete."""
    read_back: int
    """Batches that came by the journal because the channel was full."""
    left_to_journal: int
    """Row batches that the writer will read from the journal because its channel was full."""
    dropped: int
    """Frames that the books saw, but neither the journal nor the writer's channel could take."""
    latency: Latency
    """From the return of the socket read to the visible book."""
    channel_peak: int
    gaps: GapStatistics


class OrderbookState:
    """The books of all open captures. `run` is the actor; everything else may be called from any task of the loop."""

    def __init__(
        self, journal: JournalReader, *, flush_interval_s: float, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._journal = journal
        self._flush_interval_s = flush_interval_s
        self._clock_ns = clock_ns
        self._cursor = journal.end
        self._sessions: dict[UUID, Session] = {}
        self._shown = ShownBooks(self._sessions, clock_ns)
        self._listeners: dict[UUID, Listener] = {}
        self._losses: dict[UUID, Loss] = {}
        self._unlevel: set[UUID] = set()
        self._latency = Histogram()
        self._gaps = GapLog()
        self._messages = self._read_back = self._left_to_journal = self._dropped = self._channel_peak = 0

    @property
    def cursor(self) -> int:
        """The journal offset up to which everything is applied, and its rows handed over or left to the journal."""
        return self._cursor

    def listen(self, capture: UUID) -> trio.MemoryReceiveChannel[Notice]:
        """Return the notices of a capture that is about to be opened; they end after its closing record."""
        send, receive = trio.open_memory_channel[Notice](NOTICES)
        self._listeners[capture] = Listener(send)
        return receive

    def subscribe(self) -> BookSubscription:
        """Return a new subscription to all books."""
        return self._shown.subscribe()

    def tickers(self) -> tuple[str, ...]:
        """Return every market that has a book, or had one and is retained, in order of appearance."""
        return self._shown.tickers()

    def view(self, ticker: str) -> BookView | None:
        """Return the market's book as it is now, valid or not; None if there is none."""
        return self._shown.view(ticker)

    def settled_view(self, ticker: str) -> BookView | None:
        """Return the market's book, None while it is crossed within a group of changes that is not complete."""
        return self._shown.settled_view(ticker)

    def is_valid(self, ticker: str) -> bool:
        """Return whether the market's book can be trusted now. O(1)."""
        return self._shown.is_valid(ticker)

    def silences(self, capture: UUID | None, tickers: Iterable[str], now_ns: Nanos) -> list[Silence]:
        """Return for how long nothing was heard, in one capture, of each of these markets whose book is valid there."""
        session = None if capture is None else self._sessions.get(capture)
        return [] if session is None else silences(session, tickers, now_ns)

    def retain(self, tickers: Iterable[str]) -> None:
        """Forget the last views of all other markets."""
        self._shown.retain(tickers)

    def last_frame(self, capture: UUID) -> int | None:
        """Return the last frame, or record, that went into the books of a capture; None if it has ended."""
        session = self._sessions.get(capture)
        return None if session is None else session.upto_frame

    def statistics(self) -> BooksStatistics:
        """Return the figures so far."""
        return BooksStatistics(
            cursor=self._cursor,
            messages=self._messages,
            markets=len(self.tickers()),
            valid=self._shown.valid,
            lapses=self._shown.lapses,
            unsettled=self._shown.unsettled(),
            read_back=self._read_back,
            left_to_journal=self._left_to_journal,
            dropped=self._dropped + sum(loss.frames for loss in self._losses.values()),
            latency=self._latency.statistics(),
            channel_peak=self._channel_peak,
            gaps=self._gaps.statistics(),
        )

    async def run(self, batches: trio.MemoryReceiveChannel[Batch], rows: trio.MemorySendChannel[Rows]) -> None:
        """Apply batches until their channel ends and the journal is read up; closes `rows` then."""
        async with batches, rows:
            try:
                while True:
                    await self._wait(batches, rows)
                    await self._drain(batches, rows)
                    self._tell_losses(rows)
            except trio.EndOfChannel:
                await self._read_journal(self._journal.end, rows)
                self._tell_losses(rows)

    async def _wait(self, batches: trio.MemoryReceiveChannel[Batch], rows: trio.MemorySendChannel[Rows]) -> None:
        """Take the next batch; whenever none comes for a flush interval, do what nothing else may have caused."""
        while True:
            batch: Batch | None = None
            with trio.move_on_after(self._flush_interval_s):
                batch = await batches.receive()
            if batch is not None:
                self._channel_peak = max(self._channel_peak, batches.statistics().current_buffer_used + 1)
                await self._take(batch, rows)
                return
            for listener in self._listeners.values():
                listener.tell([])
            if batches.statistics().current_buffer_used:
                # It came in the moment in which the wait ended. What the journal could not take goes in its order.
                continue
            await self._read_journal(self._journal.end, rows)
            self._tell_losses(rows)
            self._shown.overtake()

    async def _drain(self, batches: trio.MemoryReceiveChannel[Batch], rows: trio.MemorySendChannel[Rows]) -> None:
        """Take what is there already, for one slice: without a turn of the loop for each batch, as waiting costs."""
        slice_ends = trio.current_time() + SLICE_S
        try:
            while trio.current_time() < slice_ends:
                await self._take(batches.receive_nowait(), rows)
        except trio.WouldBlock:
            pass

    async def _take(self, batch: Batch, rows: trio.MemorySendChannel[Rows]) -> None:
        if not batch.is_protected:
            # What stood in the journal when it came, comes before it.
            await self._read_journal(batch.end, rows)
            self._apply(batch, rows)
            return
        if batch.start > self._cursor:
            await self._read_journal(batch.start, rows)
        if batch.start == self._cursor:
            self._apply(batch, rows)
            self._cursor = batch.end

    async def _read_journal(self, stop: int, rows: trio.MemorySendChannel[Rows]) -> None:
        """Apply what stands in the journal between the cursor and `stop`."""
        slice_ends = trio.current_time() + SLICE_S
        for batch in self._journal.read(self._cursor, stop) if stop > self._cursor else ():
            self._read_back += 1
            self._apply(batch, rows)
            self._cursor = batch.end
            if trio.current_time() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = trio.current_time() + SLICE_S

    def _apply(self, batch: Batch, rows: trio.MemorySendChannel[Rows]) -> None:
        session = self._sessions.get(batch.capture)
        if session is None:
            session = self._sessions[batch.capture] = Session(batch.capture)
        made = session.feed(batch)
        self._messages += len(batch.frames) if batch.kind is Kind.FRAMES else 0
        if made.gaps:
            self._gaps.note(batch.capture, made.gaps)
        self._publish(session)
        if batch.arrived_ns:
            self._latency.record(self._clock_ns() - batch.arrived_ns, len(batch.frames))
        if batch.is_protected:
            made.start, made.end = batch.start, batch.end
        else:
            # Behind all that stood in the journal when it came: the writer brings that to the database first.
            made.start = made.end = batch.end
        self._hand_over(session, made, rows, is_protected=batch.is_protected)
        if batch.kind is Kind.CLOSED:
            self._retire(batch.capture)

    def _publish(self, session: Session) -> None:
        """Tell the readers which books changed for them, and the feed what it must react to."""
        self._shown.publish(session, session.take_changed())
        if (listener := self._listeners.get(session.capture)) is not None:
            listener.tell(session.take_notices())

    def _hand_over(
        self, session: Session, made: Rows, rows: trio.MemorySendChannel[Rows], *, is_protected: bool
    ) -> None:
        """Give rows to the writer, or leave them to the journal, or remember that they are lost."""
        capture, loss = session.capture, self._losses.get(session.capture)
        if _has_room(rows):
            if loss is not None:
                self._losses.pop(capture).bridge(made)
                self._dropped += loss.frames
            elif capture in self._unlevel:
                level(session, made)
            self._unlevel.discard(capture)
            rows.send_nowait(made)
        elif not is_protected:
            self._losses[capture] = Loss.of(session, made) if loss is None else loss.and_of(made)
        else:
            self._left_to_journal += 1
            if loss is not None:
                # The writer finds the hole in the journal, says so, and takes no book for valid behind it.
                self._dropped += self._losses.pop(capture).frames
                self._unlevel.add(capture)

    def _tell_losses(self, rows: trio.MemorySendChannel[Rows]) -> None:
        """Tell the writer of what was lost, without waiting for more of the same capture."""
        for capture, loss in list(self._losses.items()):
            if not _has_room(rows):
                return
            upto, resume = loss.session.upto_frame, loss.session.resume_state()
            made = Rows(capture, upto, upto, resume.last_received_ns, start=self._cursor, end=self._cursor)
            made.resume = resume
            self._hand_over(loss.session, made, rows, is_protected=False)

    def _retire(self, capture: UUID) -> None:
        """Forget a closed capture, but keep the last view of each of its books, invalid now."""
        session = self._sessions.pop(capture)
        self._unlevel.discard(capture)
        listener = self._listeners.pop(capture, None)
        if listener is not None:
            listener.send.close()
        self._shown.retire(session)


def _has_room(rows: trio.MemorySendChannel[Rows]) -> bool:
    """Return whether the channel takes one more without waiting."""
    statistics = rows.statistics()
    return statistics.current_buffer_used < statistics.max_buffer_size or statistics.tasks_waiting_receive > 0
