"""Books rebuilt from the tables are the live ones, and a session resumed from them goes on as if never stopped."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlflow.data.database import Database
from rlflow.data.history.audit import audit
from rlflow.data.history.rebuild import book_at
from rlflow.data.store.removals import NOT_SUBSCRIBED
from rlflow.errors import CommandError
from rlflow.orderbook import BookView
from rlflow.session.books import Limits
from rlflow.session.records import Batch, Closed, Kind, Stale, local_batch
from rlflow.session.rows import RemovedState, Rows
from rlflow.session.session import Session
from tests.rows_by_hand import (
    MARKET,
    NO_BIDS,
    NOON_NS,
    OPENED,
    YES_BIDS,
    closing,
    delta,
    first,
    following,
    gap,
    gap_end,
    received,
    snapshot,
)
from tests.strategies import connections

# So low that nearly every drawn capture has checkpoints.
LIMITS = Limits(checkpoint_deltas=3)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


# -- by hand -----------------------------------------------------------------------------------------------------------


def stored(database: Database, *rows: Rows) -> UUID:
    database.commit(list(rows))
    return rows[0].capture


def view_at(database: Database, rows: Rows, frame: int) -> BookView:
    view = book_at(database, MARKET, capture=rows.capture, frame=frame)
    assert view is not None
    return view


def test_a_book_is_its_snapshot_plus_the_deltas_behind_it(database: Database) -> None:
    rows = first()
    behind = following(
        rows,
        delta(4, "yes", 4300, 70),
        delta(5, "yes", 4200, -200, 200),
        delta(6, "no", 5505, 5, 2000, sequence_number=99),
    )
    stored(database, rows, behind)
    view = view_at(database, rows, 6)
    assert view == BookView(
        market_ticker=MARKET,
        capture=rows.capture,
        frame_no=6,
        sequence_number=99,
        received_ns=received(6),
        timestamp_ms=received(6) // 10**6 - 11,
        is_valid=True,
        cause=None,
        yes_bids=((4300, 70), (4100, 1200)),
        no_bids=((5505, 2005), (5400, 10)),
    )
    assert view_at(database, rows, 4).yes_bids == ((4300, 70), (4200, 200), (4100, 1200))
    assert view_at(database, rows, 3).frame_no == 2
    assert view_at(database, rows, 1).yes_bids == YES_BIDS
    assert book_at(database, MARKET, capture=rows.capture, frame=0) is None
    assert book_at(database, MARKET, capture=rows.capture, frame=7) is None
    assert book_at(database, "OTHER", capture=rows.capture, frame=6) is None


def test_a_delta_that_the_snapshot_already_has_by_its_clock_is_not_added(database: Database) -> None:
    rows = first()
    included = delta(6, "yes", 4200, 50, None, clock=100)
    behind = following(rows, snapshot(5, clock=100), included, delta(7, "yes", 4200, 1, 350, clock=101))
    stored(database, rows, behind, following(behind, delta(8, "yes", 4200, 1, 351, clock=None)))
    assert view_at(database, rows, 7).yes_bids[0] == (4200, 351)
    assert view_at(database, rows, 8).yes_bids[0] == (4200, 352)


def test_a_checkpoint_contains_the_delta_of_its_own_frame_and_has_no_clock(database: Database) -> None:
    rows = first()
    checkpoint = snapshot(4, origin="checkpoint", yes_bids=((4300, 70),), clock=1000)
    behind = following(rows, delta(4, "yes", 4300, 70), checkpoint, delta(5, "yes", 4300, 1, 70, clock=50))
    stored(database, rows, behind)
    assert view_at(database, rows, 4).yes_bids == ((4300, 70),)
    assert view_at(database, rows, 4).timestamp_ms == received(4) // 10**6 - 11
    assert view_at(database, rows, 5).yes_bids == ((4300, 71),)


def test_a_gap_invalidates_until_the_next_snapshot_and_keeps_the_last_good_levels(database: Database) -> None:
    rows = first()
    behind = following(
        rows,
        gap(4, cause="first"),
        delta(4, "yes", 4100, 7, None),
        gap(5, cause="second"),
        gap(6, cause="noticed by the snapshot"),
        snapshot(6),
        gap_end(6),
        gap(7, market_ticker="OTHER"),
        delta(8, "yes", 4200, -350, 350),
        gap(9, market_ticker=None, cause="everything"),
    )
    stored(database, rows, behind)
    lost = view_at(database, rows, 5)
    assert (lost.is_valid, lost.cause, lost.yes_bids) == (False, "second", ((4200, 200), (4100, 1200)))
    assert view_at(database, rows, 6).is_valid
    assert view_at(database, rows, 8).yes_bids == ((4100, 1200),)
    assert view_at(database, rows, 8).is_valid
    assert view_at(database, rows, 9).cause == "everything"


def test_a_book_of_a_sampled_capture_is_called_inexact(database: Database) -> None:
    rows = first(opened=msgspec.structs.replace(OPENED, sample_rate=5))
    stored(database, rows)
    assert view_at(database, rows, 1).is_valid
    assert view_at(database, rows, 3).cause == "sampled: only 1 in 5 deltas is stored"
    point = database.resume_point(rows.capture)
    assert point is not None
    assert point.books == ()


def test_deltas_that_lead_below_nothing_make_the_book_invalid(database: Database) -> None:
    rows = first()
    stored(database, rows, following(rows, delta(4, "yes", 4100, -2000, None)))
    view = view_at(database, rows, 4)
    assert (view.is_valid, view.yes_bids) == (False, ((4200, 200),))


def test_a_book_at_a_time_is_what_had_been_received_by_then(database: Database) -> None:
    rows = first()
    stored(database, rows, following(rows, delta(4, "yes", 4300, 70), snapshot(8), delta(9, "yes", 4300, 10)))

    def frame_at(at_ns: int) -> int | None:
        view = book_at(database, MARKET, at_ns=at_ns)
        return None if view is None else view.frame_no

    assert [frame_at(received(number)) for number in (0, 1, 2, 3, 4, 7, 8, 9, 99)] == [None, 1, 2, 2, 4, 4, 8, 9, 9]
    assert frame_at(received(4) - 1) == 2
    assert book_at(database, "OTHER") is None


def test_a_book_at_a_time_is_the_last_that_was_known_then_though_the_clock_was_set_back(database: Database) -> None:
    """The clock goes from frame 6 back to that of frame 3: behind it come a snapshot and a delta."""
    rows = first()
    back = 3 * 10**6
    behind = following(
        rows,
        snapshot(5, origin="checkpoint"),
        gap(6, from_frame=5, from_ns=received(5) - back),
        snapshot(7, received_ns=received(7) - back),
        gap_end(7, received_ns=received(7) - back),
        delta(8, "yes", 4300, 10, received_ns=received(8) - back),
    )
    stored(database, rows, behind)
    view = book_at(database, MARKET, at_ns=received(8) - back)
    assert view is not None
    assert (view.is_valid, view.frame_no, view.yes_bids[0]) == (True, 8, (4300, 10))


@pytest.mark.parametrize("noticed_by_a_snapshot", [False, True])
def test_a_book_is_not_known_at_a_time_inside_a_gap_that_was_noticed_later(
    database: Database, *, noticed_by_a_snapshot: bool
) -> None:
    """A process was killed and started again hours later, say: the gap is written then, but begins before."""
    rows = first()
    late = gap(9, from_frame=3, from_ns=received(3), cause="killed")
    noticed = following(rows, late, snapshot(9), gap_end(9)) if noticed_by_a_snapshot else following(rows, late)
    stored(database, rows, noticed)
    for capture in (None, rows.capture):
        inside = book_at(database, MARKET, at_ns=received(6), capture=capture)
        assert inside is not None
        assert (inside.is_valid, inside.cause, inside.frame_no) == (False, "killed", 2)
        before = book_at(database, MARKET, at_ns=received(3), capture=capture)
        assert before is not None
        assert before.is_valid
        behind = book_at(database, MARKET, at_ns=received(9), capture=capture)
        assert behind is not None
        assert behind.is_valid == noticed_by_a_snapshot


def test_where_captures_overlap_the_valid_one_counts_then_the_older(database: Database) -> None:
    older, newer = first(), first()
    newer = attrs.evolve(newer, first_received_ns=received(0) + 1)
    stored(database, older, newer)
    assert captures_at(database, received(3)) == older.capture
    database.commit([following(older, gap(4), delta(20, "yes", 4100, 1, None))])
    assert captures_at(database, received(3)) == older.capture
    assert captures_at(database, received(4)) == newer.capture
    database.commit([following(newer, delta(30, "yes", 4100, 1, 1200))])
    assert captures_at(database, None) == newer.capture


def captures_at(database: Database, at_ns: int | None) -> UUID:
    view = book_at(database, MARKET, at_ns=at_ns)
    assert view is not None
    return view.capture


def test_a_market_that_went_over_to_another_connection_is_not_looked_up_in_the_old_one(database: Database) -> None:
    older, newer = first(), first()
    newer = attrs.evolve(newer, first_received_ns=received(0) + 1)
    removed = (RemovedState("orderbook_delta", MARKET, 6, received(6)),)
    changed = following(older, delta(5, "yes", 4300, 70))
    gone = following(changed)
    gone = attrs.evolve(gone, resume=msgspec.structs.replace(gone.resume, removed=removed))
    stored(database, older, changed, gone)
    view = book_at(database, MARKET, at_ns=received(7))
    assert view is not None
    assert (view.is_valid, view.cause) == (False, NOT_SUBSCRIBED)
    stored(database, newer)
    assert captures_at(database, received(6)) == older.capture
    assert captures_at(database, received(7)) == newer.capture
    assert captures_at(database, None) == newer.capture
    assert view_at(database, older, 5).is_valid
    assert not view_at(database, older, 6).is_valid


def test_an_ended_capture_is_left_for_one_that_goes_on(database: Database) -> None:
    ended, later = first(), first()
    last = closing(ended, is_complete=True)
    moved = 3_600 * 10**9
    later = attrs.evolve(
        later,
        received_ns=received(3) + moved,
        first_received_ns=received(0) + moved,
        snapshots=[snapshot(1, received_ns=received(1) + moved)],
        deltas=[],
        trades=[],
    )
    stored(database, ended, last)
    stored(database, later)
    assert captures_at(database, received(2)) == ended.capture
    assert captures_at(database, received(4) + 5) == ended.capture
    assert captures_at(database, received(2) + moved) == later.capture
    assert captures_at(database, None) == later.capture


def test_an_unknown_capture_is_an_error_of_the_one_who_asks(database: Database) -> None:
    with pytest.raises(CommandError, match="no capture"):
        book_at(database, MARKET, capture=uuid4())


def test_a_resume_point_has_the_valid_books_of_the_subscriptions(database: Database) -> None:
    rows = first()
    other = snapshot(4, market_ticker="OTHER", clock=None)
    gone = snapshot(5, market_ticker="GONE")
    lost = snapshot(6, market_ticker="LOST")
    state = msgspec.structs.replace(rows.resume.sids[0], tickers=(MARKET, "OTHER", "LOST", "NEVER"))
    resume = msgspec.structs.replace(rows.resume, sids=(state,))
    stored(database, rows, following(rows, other, gone, lost, gap(7, market_ticker="LOST"), resume=resume))
    point = database.resume_point(rows.capture)
    assert point is not None
    books = {book.ticker: book for book in point.books}
    assert books.keys() == {MARKET, "OTHER"}
    book = books[MARKET]
    assert (book.yes_bids, book.no_bids) == (((4200, 200), (4100, 1200)), NO_BIDS)
    assert (book.base_clock, book.last_clock, book.last_seq, book.deltas_since) == (10, 20, 2, 1)
    assert (book.snapshot_ns, book.last_frame_no, book.last_received_ns) == (received(1), 2, received(2))
    assert (books["OTHER"].base_clock, books["OTHER"].deltas_since, books["OTHER"].last_frame_no) == (None, 0, 4)


# -- with the session --------------------------------------------------------------------------------------------------


@st.composite
def captures(draw: st.DrawFn) -> list[Batch]:
    """Draw a capture in batches, some frames of which are lost, repeated or spoilt."""
    frames: list[bytes] = []
    for frame in draw(connections(max_frames=30)):
        fate = draw(st.sampled_from(("whole",) * 12 + ("lost", "twice", "spoilt")))
        frames += {"whole": [frame], "lost": [], "twice": [frame, frame], "spoilt": [frame[:-1]]}[fate]
    capture = uuid4()
    batches = [local_batch(OPENED, capture, 0, NOON_NS)]

    def time_and_number() -> tuple[int, int]:
        number = batches[-1].last_frame_no + 1
        return number, NOON_NS + number * 10**6

    while frames:
        number, received_ns = time_and_number()
        size = draw(st.integers(1, 6))
        batches.append(Batch(Kind.FRAMES, capture, number, received_ns, tuple(frames[:size])))
        frames = frames[size:]
        if draw(st.integers(0, 9)) == 0:
            batches.append(local_batch(Stale((MARKET,), "a reason"), capture, *time_and_number()))
    if draw(st.booleans()):
        batches.append(local_batch(Closed("peer closed", 1000), capture, *time_and_number()))
    return batches


def fed(session: Session, batches: list[Batch]) -> list[Rows]:
    return [session.feed(batch) for batch in batches]


def merged(rows: list[Rows]) -> Rows:
    whole = rows[0].copy()
    for part in rows[1:]:
        whole.absorb(part)
    return whole


@given(batches=captures(), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_session_resumed_from_the_store_goes_on_as_the_live_one(
    database: Database, batches: list[Batch], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(batches)))
    live = Session(batches[0].capture, LIMITS)
    database.commit([merged(fed(live, batches[:cut]))])
    record = database.capture(live.capture)
    assert record is not None
    assert (record.opened_ns, record.last_received_ns) == (NOON_NS, batches[cut - 1].received_ns)
    point = database.resume_point(live.capture)
    assert point is not None
    resumed = Session.resume(point, LIMITS)
    valid = {ticker for ticker, book in live.books.items() if book.is_valid}
    assert {ticker for ticker, book in resumed.books.items() if book.is_valid} == valid
    assert {ticker: resumed.view(ticker) for ticker in valid} == {ticker: live.view(ticker) for ticker in valid}
    assert fed(resumed, batches[cut:]) == fed(live, batches[cut:])


@given(batches=captures())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_live_book_stands_in_the_tables_at_every_batch(database: Database, batches: list[Batch]) -> None:
    live = Session(batches[0].capture, LIMITS)
    views: list[tuple[int, BookView]] = []
    for batch in batches:
        database.commit([live.feed(batch)])
        views += [(live.upto_frame, live.view(ticker)) for ticker in live.books]
    for frame, view in views:
        found = book_at(database, view.market_ticker, capture=live.capture, frame=frame)
        if view.is_valid:
            assert found == attrs.evolve(view, is_settled=True)
        else:
            assert found is None or not found.is_valid
    report = audit(database)
    assert report.findings == ()
    assert report.is_clean


def test_rows_lost_on_their_way_are_bridged_by_checkpoints(database: Database) -> None:
    rows = first()
    dropped = gap(3, from_frame=3, to_ns=received(9), cause="dropped")
    checkpoint = snapshot(9, origin="checkpoint", yes_bids=((4100, 5),), no_bids=())
    bridge = following(rows, dropped, delta(9, "yes", 4100, -3, 8), checkpoint)
    stored(database, rows, bridge, following(bridge, delta(10, "yes", 4100, 1, 5)))
    assert view_at(database, rows, 10).yes_bids == ((4100, 6),)
    assert view_at(database, rows, 10).is_valid
