"""Rows made anew from kept frames are those of a decoding without the bug, and nothing else changes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.history.stored_rows import Selection, StoredRow, stored_rows
from rlflow.data.imports.reimport import Reimported, reimport
from rlflow.data.journal.journal import Journal
from rlflow.data.journal.kept_frames import KeptFrames
from rlflow.data.journal.raw import RawStore
from rlflow.errors import CommandError
from rlflow.session import session as session_module
from rlflow.session.reading import read_trade
from rlflow.session.records import Batch, Closed, Kind, local_batch
from rlflow.session.rows import TradeRow
from rlflow.session.session import Session
from tests.rows_by_hand import OPENED
from tests.session_strategies import Stream, any_streams
from tests.strategies import START_MS, Market, Wire

A, B = Market("KXTEST-26NOV22-A"), Market("KXTEST-26NOV22-B")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim") as database:
        yield database


def capture_of(frames: list[bytes], capture: UUID, *, is_closed: bool = True) -> list[Batch]:
    """A capture of one frame a batch."""
    batches = [local_batch(OPENED, capture, 0, START_MS * 10**6)]
    batches += [
        Batch(Kind.FRAMES, capture, number, (START_MS + number) * 10**6, (frame,))
        for number, frame in enumerate(frames, start=1)
    ]
    if is_closed:
        number = len(batches)
        batches.append(local_batch(Closed("peer closed", 1006), capture, number, (START_MS + number) * 10**6))
    return batches


def some_frames() -> list[bytes]:
    """Snapshots, deltas, trades, and a frame that makes no sense."""
    line = Wire()
    frames = [line.subscribed("orderbook_delta", 1), line.subscribed("trade", 2)]
    for market in (A, B):
        line._book(market.ticker)["yes"][4200] = 500
        frames.append(line.snapshot(market.ticker))
    for number in range(10):
        frames.append(line.delta(A.ticker, "yes", 4100 - 100 * number, 100 + number))
        frames.append(line.trade(B.ticker, "no", 4200, 100))
    frames.append(line.delta(A.ticker, "yes", 5000, 1).replace(b"price_dollars", b"price_roubles"))
    return [*frames, line.snapshot(A.ticker), line.delta(A.ticker, "no", 1000, 5)]


@attrs.define
class Recorder:
    """What a service leaves behind: rows in the store, frames in journal and raw."""

    database: Database
    data_dir: Path

    def record(self, batches: list[Batch], *, segment_bytes: int = 1_000) -> UUID:
        raw = RawStore(self.data_dir / "raw", keep_days=3)
        journal = Journal.open(
            self.data_dir / "journal", max_bytes=10**6, segment_bytes=segment_bytes, min_free_bytes=0, raw=raw
        )
        session = Session(batches[0].capture)
        for batch in batches:
            journal.append(batch)
            self.database.commit([session.feed(batch)])
        journal.retire(journal.end)
        journal.close()
        return batches[0].capture

    def rows(self, capture: UUID) -> list[StoredRow]:
        record = self.database.capture(capture)
        assert record is not None
        with self.database.connection.transaction():
            return list(stored_rows(self.database.connection, Selection(record.key)))

    def reimport(self, capture: UUID, *, dry_run: bool = False) -> Reimported:
        return reimport(self.database, KeptFrames(self.data_dir), capture, dry_run=dry_run)

    def counts(self, capture: UUID) -> object:
        return self.database.connection.execute(
            """SELECT committed_frame, last_received_ns, resume_state::text, stored, control, rejected, rows_from_ns,
                      rows_to_ns, closed_ns FROM rl_captures WHERE capture_id = %s""",
            (capture,),
        ).fetchone()


@pytest.fixture
def recorder(database: Database, tmp_path: Path) -> Recorder:
    return Recorder(database, tmp_path)


def test_what_is_right_does_not_change(recorder: Recorder) -> None:
    capture = recorder.record(capture_of(some_frames(), uuid4()))
    assert len(list((recorder.data_dir / "raw").iterdir())) > 2
    before = recorder.rows(capture)
    found = recorder.reimport(capture)
    assert (found.frames, found.has_changed, found.changes.examples) == (len(some_frames()), False, [])
    assert found.changes.before == found.changes.after == {"snapshot": 3, "delta": 11, "trade": 10}
    assert recorder.rows(capture) == before


def test_a_bug_in_the_decoding_is_cured(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_bug(*arguments: object) -> TradeRow:
        row = read_trade(*arguments)  # type: ignore[arg-type]
        return msgspec.structs.replace(row, count=row.count * 100)

    right = recorder.record(capture_of(some_frames(), uuid4()))
    with monkeypatch.context() as wrong:
        wrong.setattr(session_module, "read_trade", with_a_bug)
        capture = recorder.record(capture_of(some_frames(), uuid4()))
    untouched = recorder.rows(right)
    tried = recorder.reimport(capture, dry_run=True)
    assert (tried.has_changed, tried.changes.frames, len(tried.changes.examples)) == (True, 10, 5)
    assert "count=10000" in tried.changes.examples[0]
    assert recorder.rows(capture) != untouched
    recorder.reimport(capture)
    assert recorder.rows(capture) == recorder.rows(right) == untouched
    assert not recorder.reimport(capture).has_changed
    assert audit(recorder.database).is_clean


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM rl_orderbook_deltas WHERE frame_no = 7",
        "UPDATE rl_orderbook_deltas SET price_e4 = 77 WHERE frame_no = 7",
        "DELETE FROM rl_orderbook_snapshots WHERE frame_no = 3",
        "UPDATE rl_trades SET taker_side = 'yes' WHERE frame_no = 6",
        "DELETE FROM rl_feed_gaps WHERE frame_no = 25",
        "UPDATE rl_feed_gaps SET cause = 'another' WHERE frame_no = 25",
        "DELETE FROM rl_rejected_frames",
        "UPDATE rl_captures SET stored = 3, resume_state = '{}', rows_to_ns = rows_to_ns + 1",
    ],
)
def test_whatever_is_wrong_in_the_tables_becomes_right(recorder: Recorder, damage: str) -> None:
    capture = recorder.record(capture_of(some_frames(), uuid4()))
    rows, counts = recorder.rows(capture), recorder.counts(capture)
    assert recorder.database.connection.execute(damage.encode()).rowcount > 0
    assert recorder.reimport(capture).has_changed
    assert (recorder.rows(capture), recorder.counts(capture)) == (rows, counts)
    assert audit(recorder.database).is_clean


@given(stream=any_streams())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_make_the_same_rows_again(recorder: Recorder, stream: Stream) -> None:
    capture = uuid4()
    batches = [attrs.evolve(batch, capture=capture) for batch in stream.batches]
    if batches[-1].kind is not Kind.CLOSED:
        last = batches[-1]
        batches.append(local_batch(Closed("end", is_complete=True), capture, last.last_frame_no + 1, last.received_ns))
    recorder.record(batches)
    before = recorder.rows(capture)
    found = recorder.reimport(capture)
    assert (found.has_changed, found.gaps_added, found.gaps_removed) == (False, 0, 0)
    recorder.database.connection.execute(
        "UPDATE rl_captures SET control = control + 1 WHERE capture_id = %s", (capture,)
    )
    assert recorder.reimport(capture).has_changed
    assert recorder.rows(capture) == before


def test_the_end_that_another_capture_gave_a_gap_stays(recorder: Recorder) -> None:
    first = recorder.record(capture_of(some_frames(), uuid4()))
    later = capture_of(some_frames(), uuid4())
    shifted = [attrs.evolve(batch, received_ns=batch.received_ns + 10**12) for batch in later]
    recorder.record(shifted)
    before = recorder.rows(first)
    assert not recorder.reimport(first).has_changed
    recorder.database.connection.execute(
        "DELETE FROM rl_feed_gaps WHERE capture = (SELECT capture FROM rl_captures WHERE capture_id = %s)", (first,)
    )
    assert recorder.reimport(first).gaps_added > 0
    books = [row for row in recorder.rows(first) if row.market_ticker is not None]
    assert books == [row for row in before if row.market_ticker is not None]


@pytest.mark.parametrize(("by_ns", "has_changed"), [(-1, False), (1, True)])
def test_a_gap_may_have_ended_before_its_captures_own_snapshot_but_not_behind_it(
    recorder: Recorder, by_ns: int, *, has_changed: bool
) -> None:
    """The snapshot of another capture ends it as well, if that came first."""
    capture = recorder.record(capture_of(some_frames(), uuid4()))
    moved = "UPDATE rl_feed_gaps SET to_ns = to_ns + %s WHERE frame_no = 25"
    assert recorder.database.connection.execute(moved, (by_ns,)).rowcount > 0
    assert recorder.reimport(capture, dry_run=True).has_changed is has_changed


def test_what_is_not_there_whole_is_refused(recorder: Recorder) -> None:
    capture = recorder.record(capture_of(some_frames(), uuid4()))
    before = recorder.rows(capture)
    segments = sorted((recorder.data_dir / "raw").iterdir())
    for missing in (segments[0], segments[2]):
        kept = missing.read_bytes()
        missing.unlink()
        with pytest.raises(CommandError, match="are neither in raw nor in the journal"):
            recorder.reimport(capture)
        missing.write_bytes(kept)
    for path in (recorder.data_dir / "journal").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match=r"its frames \d+ to 28 are neither"):
        recorder.reimport(capture)
    assert recorder.rows(capture) == before


def test_only_a_closed_capture_that_is_whole_in_the_tables_can_be_made_anew(recorder: Recorder) -> None:
    still_open = recorder.record(capture_of(some_frames(), uuid4(), is_closed=False))
    with pytest.raises(CommandError, match=r"still open.*the next start of the service closes it"):
        recorder.reimport(still_open)
    with pytest.raises(CommandError, match="no capture"):
        recorder.reimport(uuid4())
    closed = recorder.record(capture_of(some_frames(), uuid4()))
    recorder.database.drop_days_before(datetime.fromtimestamp(START_MS / 1000, UTC).date() + timedelta(days=1))
    with pytest.raises(CommandError, match="were dropped"):
        recorder.reimport(closed)
