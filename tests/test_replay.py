"""What was stored comes back as what it was: live rows, in their order, from any moment, out of any captures."""

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlflow.data.database import Database
from rlflow.data.history.rebuild import book_at
from rlflow.data.history.replay import NOTHING_RECORDED, Replayed, replay
from rlflow.data.history.replayed_book import ReplayedBook
from rlflow.data.history.stored_rows import Selection, StoredRow, stored_rows
from rlflow.session.books import Limits
from rlflow.session.rows import DeltaRow, GapRow, RemovedState, Rows, SnapshotRow, TradeRow
from rlflow.session.session import Session
from tests.rows_by_hand import (
    MARKET,
    MS,
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
    trade,
)
from tests.session_strategies import Stream, any_streams

# So low that nearly every drawn capture has checkpoints.
LIMITS = Limits(checkpoint_deltas=3)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


def rows_of(database: Database, capture: UUID, **which: object) -> list[StoredRow]:
    record = database.capture(capture)
    assert record is not None
    with database.connection.transaction():
        return list(stored_rows(database.connection, Selection(record.key, **which)))  # type: ignore[arg-type]


# -- one capture -------------------------------------------------------------------------------------------------------


def live(database: Database, stream: Stream) -> Rows:
    """Feed a capture as the service would, store it, and return all its rows."""
    capture = uuid4()
    session = Session(capture, LIMITS)
    parts = [session.feed(attrs.evolve(batch, capture=capture)) for batch in stream.batches]
    whole = parts[0].copy()
    for part in parts[1:]:
        whole.absorb(part)
    database.commit([whole])
    return whole


def in_order(rows: Rows) -> list[StoredRow]:
    """The live rows in the order in which they were made, gaps with the ends that came later."""
    placed: list[tuple[int, int, StoredRow]] = [(row.frame_no, 0, _ended(row, rows)) for row in rows.gaps]
    placed += [(row.frame_no, 1 if row.origin == "venue" else 3, row) for row in rows.snapshots]
    placed += [(row.frame_no, 2, row) for row in rows.deltas]
    placed += [(row.frame_no, 2, row) for row in rows.trades]
    return [row for *_, row in sorted(placed, key=lambda item: item[:2])]


def _ended(row: GapRow, rows: Rows) -> GapRow:
    ends = [
        end.received_ns
        for end in rows.gap_ends
        if (end.channel, end.market_ticker) == (row.channel, row.market_ticker) and end.frame_no >= row.frame_no
    ]
    to_ns = row.to_ns if row.to_ns is not None else next(iter(ends), None)
    return msgspec.structs.replace(row, to_ns=None if to_ns is None else max(to_ns, row.from_ns))


def is_of(row: StoredRow, market: str) -> bool:
    return row.market_ticker in (market, None)


@given(stream=any_streams())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rows_of_a_capture_come_back_exactly_as_they_were_made(database: Database, stream: Stream) -> None:
    made = live(database, stream)
    expected = in_order(made)
    assert rows_of(database, made.capture) == expected
    for market in {row.market_ticker for row in expected if row.market_ticker is not None}:
        assert rows_of(database, made.capture, market=market) == [row for row in expected if is_of(row, market)]


@given(stream=any_streams(), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_replay_from_any_moment_leads_to_the_books_that_were_live(
    database: Database, stream: Stream, data: st.DataObject
) -> None:
    database.connection.execute("TRUNCATE rl_captures, rl_orderbook_snapshots, rl_orderbook_deltas, rl_trades CASCADE")
    made = live(database, stream)
    known = [row for row in in_order(made) if isinstance(row, SnapshotRow)]
    if not known:
        return
    market = data.draw(st.sampled_from(sorted({row.market_ticker for row in known})))
    own = [row for row in in_order(made) if is_of(row, market)]
    whole = [one.row for one in replay(database, market)]
    begin = next(number for number, row in enumerate(own) if isinstance(row, SnapshotRow))
    assert whole == own[begin:]
    start_ns = data.draw(st.sampled_from([row.received_ns for row in whole])) + data.draw(st.sampled_from((0, 1)))
    part = [one.row for one in replay(database, market, start_ns=start_ns)]
    behind = [row for row in whole if row.received_ns >= start_ns]
    if part and part[0] not in whole:
        # The book at the start is none of the stored rows, so it stands before them.
        assert isinstance(part[0], SnapshotRow)
        assert (part[0].origin, part[0].received_ns < start_ns) == ("checkpoint", True)
        assert part[1:] == behind
    else:
        assert part == behind[len(behind) - len(part) :]
    if part:
        assert book_after(part) == book_after(whole)
        view = book_at(database, market)
        assert view is not None
        if view.is_valid and book_after(whole)[0]:
            assert book_after(whole)[1:] == (view.yes_bids, view.no_bids)


def book_after(rows: Iterable[StoredRow]) -> tuple[object, ...]:
    """Whether the book is known after these rows, and if so, the book."""
    replayed = ReplayedBook()
    for row in rows:
        replayed.take(row)
    if not replayed.is_known:
        return (False,)
    return True, replayed.book.bids("yes"), replayed.book.bids("no")


def test_the_book_at_the_start_stands_before_the_first_row(database: Database) -> None:
    rows = first()
    database.commit([rows, following(rows, delta(4, "yes", 4300, 70), trade(5), delta(6, "no", 5400, 1, 10))])
    found = list(replay(database, MARKET, start_ns=received(5), end_ns=received(6) + 1))
    assert found[0] == (
        rows.capture,
        SnapshotRow(
            market_ticker=MARKET,
            frame_no=4,
            received_ns=received(4),
            sending_ts_ms=None,
            sid=1,
            sequence_number=4,
            clock=None,
            origin="checkpoint",
            yes_bids=((4300, 70), (4200, 200), (4100, 1200)),
            no_bids=((5505, 2000), (5400, 10)),
        ),
    )
    assert [one.row for one in found[1:]] == [trade(5), delta(6, "no", 5400, 1, 10)]
    assert [one.row for one in replay(database, MARKET, end_ns=received(3))] == [*rows.snapshots, *rows.deltas]
    assert list(replay(database, MARKET, end_ns=received(1))) == []
    assert list(replay(database, "OTHER")) == []


def test_what_comes_behind_a_gap_does_not_change_the_book_before_it() -> None:
    """Rows that were lost on their way may leave deltas between a gap and the next snapshot that know their sizes."""
    replayed = ReplayedBook()
    for row in (snapshot(1), gap(3), delta(4, "yes", 4200, -5000, 9000), delta(5, "yes", 4300, 1)):
        replayed.take(row)
    assert (replayed.is_known, replayed.book.bids("yes")) == (False, YES_BIDS)
    assert replayed.take(snapshot(6, origin="checkpoint"))
    assert replayed.take(delta(7, "yes", 4300, 1))
    assert replayed.book.bids("yes") == ((4300, 1), *YES_BIDS)


# -- several captures --------------------------------------------------------------------------------------------------


def frames(found: Iterable[Replayed], names: dict[UUID, str]) -> list[str]:
    """What came, as the capture's letter, the kind of row, and its frame."""
    kinds = {SnapshotRow: "snapshot", DeltaRow: "delta", TradeRow: "trade", GapRow: "gap"}
    return [
        f"{names[one.capture] if one.capture else 'REST'} {kinds[type(one.row)]} {one.row.frame_no}" for one in found
    ]


def later(rows: Rows, shift_ns: int) -> Rows:
    """The same capture, received so much later."""
    lists = {
        name: [msgspec.structs.replace(row, received_ns=row.received_ns + shift_ns) for row in getattr(rows, name)]
        for name in ("snapshots", "deltas", "trades")
    }
    return attrs.evolve(
        rows,
        received_ns=rows.received_ns + shift_ns,
        first_received_ns=rows.first_received_ns + shift_ns,
        **lists,  # type: ignore[arg-type]
    )


def two(database: Database, shift_ns: int = 1) -> tuple[Rows, Rows, dict[UUID, str]]:
    """Two captures of the same market, the second a little later."""
    older, newer = first(), later(first(), shift_ns)
    newer.trades[:] = []
    database.commit([older, newer])
    return older, newer, {older.capture: "A", newer.capture: "B"}


def test_of_two_sound_captures_the_older_is_replayed(database: Database) -> None:
    older, newer, names = two(database)
    database.commit(
        [following(newer, delta(4, "yes", 4100, 1, 1200)), following(older, delta(4, "yes", 4100, 1, 1200))]
    )
    assert frames(replay(database, MARKET), names) == ["A snapshot 1", "A delta 2", "A trade 3", "A delta 4"]


def test_a_sampled_capture_is_followed_only_where_its_book_is_known(database: Database) -> None:
    """Its snapshot is the older one, and better than nothing; behind it the exact one knows more."""
    sampled, exact = first(opened=msgspec.structs.replace(OPENED, sample_rate=2)), later(first(), MS // 2)
    exact.trades[:] = []
    database.commit([sampled])
    names = {sampled.capture: "S", exact.capture: "E"}
    alone = list(replay(database, MARKET))
    assert frames(alone, names) == ["S snapshot 1", "S gap 2", "S delta 2", "S trade 3"]
    assert book_after(one.row for one in alone) == (False,)
    assert list(replay(database, MARKET, start_ns=received(2))) == []
    database.commit([exact])
    assert frames(replay(database, MARKET), names) == [
        "S snapshot 1",
        "S gap 2",
        "E snapshot 1",
        "E delta 2",
        "S trade 3",
    ]


def test_a_gap_of_one_capture_is_filled_by_the_other_and_not_told(database: Database) -> None:
    older, newer, names = two(database)
    lost = following(
        older,
        gap(8, from_frame=4, from_ns=received(4)),
        delta(4, "yes", 4300, 70),
        delta(8, "yes", 4100, 1, None),
        snapshot(10),
        gap_end(10),
        delta(11, "yes", 4200, 1, 350),
    )
    whole = following(newer, *(delta(number, "yes", 4300, 70, (number - 4) * 70) for number in range(4, 12)))
    database.commit([lost, whole])
    found = list(replay(database, MARKET))
    assert frames(found, names) == [
        *("A snapshot 1", "A delta 2", "A trade 3", "A delta 4"),
        *("B snapshot 4", "B delta 5", "B delta 6", "B delta 7", "B delta 8", "B delta 9"),
        *("A snapshot 10", "A delta 11"),
    ]
    taken_over = found[4].row
    assert isinstance(taken_over, SnapshotRow)
    assert (taken_over.origin, taken_over.yes_bids[0]) == ("checkpoint", (4300, 70))


def test_a_gap_of_all_captures_is_told_though_it_was_noticed_late(database: Database) -> None:
    """Both connections went dead at once; the other one's loss was noticed only when the first was back."""
    older, newer, names = two(database)
    both = [
        following(older, gap(20, from_frame=3, from_ns=received(3)), snapshot(25), gap_end(25)),
        following(newer, delta(6, "yes", 4300, 70), gap(30, from_frame=6, from_ns=received(6))),
    ]
    database.commit(both)
    assert frames(replay(database, MARKET), names) == [
        *("A snapshot 1", "A delta 2", "A trade 3"),
        *("B snapshot 2", "B delta 6", "B gap 30"),
        "A snapshot 25",
    ]


def test_a_capture_that_ends_without_a_loss_is_not_bridged_to_the_next(database: Database) -> None:
    older = first()
    newer = later(first(), 3_600 * 10**9)
    newer.trades[:] = [trade(3, trade_id="another", received_ns=received(3) + 3_600 * 10**9)]
    database.commit([older, closing(older, is_complete=True), newer])
    found = list(replay(database, MARKET))
    told = found[3].row
    assert isinstance(told, GapRow)
    assert (told.cause, told.from_ns, told.to_ns) == (NOTHING_RECORDED, received(4), received(1) + 3_600 * 10**9)
    assert frames(found, {older.capture: "A", newer.capture: "B"}) == [
        *("A snapshot 1", "A delta 2", "A trade 3", "A gap 4"),
        *("B snapshot 1", "B delta 2", "B trade 3"),
    ]


def test_a_market_taken_out_of_its_subscription_is_followed_on_the_other_capture(database: Database) -> None:
    older, newer, names = two(database)
    removed = (RemovedState("orderbook_delta", MARKET, 5, received(5)),)
    left = following(older, delta(4, "yes", 4300, 70))
    gone = following(left, resume=msgspec.structs.replace(left.resume, removed=removed))
    database.commit([left, gone, following(newer, delta(9, "yes", 4300, 70))])
    assert frames(replay(database, MARKET), names)[-3:] == ["A delta 4", "B snapshot 2", "B delta 9"]


def test_a_replay_from_the_middle_is_the_end_of_the_whole_one(database: Database) -> None:
    older, newer, _ = two(database)
    lost = following(older, gap(5, from_ns=received(4)), snapshot(8), gap_end(8), delta(9, "yes", 4200, 1, 350))
    database.commit([lost, following(newer, *(delta(number, "yes", 4200, 1, 199 + number) for number in range(4, 12)))])
    whole = [one.row for one in replay(database, MARKET)]
    for start_ns in range(received(1), received(11) + 1, MS // 2):
        part = [one.row for one in replay(database, MARKET, start_ns=start_ns)]
        assert book_after(part) == book_after(whole)
        behind = [row for row in whole if row.received_ns >= start_ns]
        assert part[len(part) - len(behind) :] == behind
        assert len(part) - len(behind) <= 1


# -- a wall clock that is set back -------------------------------------------------------------------------------------

SECOND = 10**9


@given(stream=any_streams(), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_replay_leaves_out_no_frame_though_the_clock_is_set_back(
    database: Database, stream: Stream, data: st.DataObject
) -> None:
    database.connection.execute("TRUNCATE rl_captures, rl_orderbook_snapshots, rl_orderbook_deltas, rl_trades CASCADE")
    cut = data.draw(st.integers(0, len(stream.batches)))
    back_ns = data.draw(st.sampled_from((1, MS, 100 * MS, 5 * SECOND, 86_400 * SECOND)))
    batches = [
        attrs.evolve(batch, received_ns=batch.received_ns - (back_ns if number >= cut else 0))
        for number, batch in enumerate(stream.batches)
    ]
    made = live(database, attrs.evolve(stream, batches=tuple(batches)))
    known = [row for row in in_order(made) if isinstance(row, SnapshotRow)]
    if not known:
        return
    market = data.draw(st.sampled_from(sorted({row.market_ticker for row in known})))
    own = [row for row in in_order(made) if is_of(row, market)]
    whole = [one.row for one in replay(database, market)]
    assert whole == own[next(number for number, row in enumerate(own) if isinstance(row, SnapshotRow)) :]
    at_ns = data.draw(st.sampled_from([row.received_ns for row in whole]))
    part = [one.row for one in replay(database, market, start_ns=at_ns)]
    behind = [row for row in part if row in whole]
    assert behind == whole[len(whole) - len(behind) :]
    assert part in (behind, [*part[:1], *behind])
    assert not part or book_after(part) == book_after(whole)
    head = [one.row for one in replay(database, market, end_ns=at_ns)]
    assert head == whole[: len(head)]


def test_a_set_back_clock_hides_no_delta_behind_the_snapshot_nor_before_the_end(database: Database) -> None:
    """Received "before" the first snapshot, and "after" the end of a capture that another one follows."""
    older, newer = first(), later(first(), 4 * SECOND)
    newer.trades[:] = []
    behind = following(
        older,
        delta(4, "yes", 4300, 70, received_ns=received(4) - 5 * SECOND),
        delta(5, "yes", 4300, 1, 70, received_ns=received(5) + 9 * SECOND),
        delta(6, "yes", 4300, 1, 71),
        gap(7, from_frame=6, from_ns=received(6), cause="peer closed"),
    )
    database.commit([older, behind, newer])
    names = {older.capture: "A", newer.capture: "B"}
    assert frames(replay(database, MARKET), names) == [
        *("A snapshot 1", "A delta 2", "A trade 3", "A delta 4", "A delta 5", "A delta 6", "A gap 7"),
        *("B snapshot 1", "B delta 2"),
    ]


def test_of_a_book_found_again_under_a_set_back_clock_nothing_before_is_left_out(database: Database) -> None:
    rows = first()
    behind = following(
        rows,
        gap(8, from_frame=3, from_ns=received(3)),
        snapshot(9, received_ns=received(9) - 5 * SECOND),
        gap_end(9),
        delta(10, "yes", 4200, 1, 350, received_ns=received(10) - 5 * SECOND),
    )
    database.commit([rows, behind])
    assert frames(replay(database, MARKET), {rows.capture: "A"}) == [
        *("A snapshot 1", "A delta 2", "A trade 3", "A gap 8", "A snapshot 9", "A delta 10"),
    ]


# -- trades ------------------------------------------------------------------------------------------------------------


def trades(found: Iterable[Replayed]) -> list[str]:
    return [one.row.trade_id for one in found if isinstance(one.row, TradeRow)]


def test_a_trade_that_several_captures_have_comes_once(database: Database) -> None:
    older, newer, names = two(database)
    # Around the change from one capture to the other: heard before it by one and after it by the other, and reversed.
    lost: list[GapRow | TradeRow] = [
        gap(6, from_frame=5, from_ns=received(5)),
        trade(4, trade_id="both"),
        trade(5, trade_id="early in A"),
        trade(6, trade_id="late in A"),
    ]
    whole: list[DeltaRow | TradeRow] = [
        trade(4, trade_id="late in A", received_ns=received(4) + 5),
        trade(5, trade_id="both", received_ns=received(4) + 9),
        trade(7, trade_id="early in A"),
        trade(8, trade_id="only in B"),
        delta(9, "yes", 4300, 70),
    ]
    database.commit([following(older, *lost), following(newer, *whole)])
    found = list(replay(database, MARKET))
    assert trades(found) == ["trade-3", "both", "late in A", "early in A", "only in B"]
    assert frames(found, names)[-3:] == ["B snapshot 2", "B trade 8", "B delta 9"]


def test_a_trade_that_only_another_capture_has_comes_at_its_time(database: Database) -> None:
    older, newer, names = two(database)
    database.commit([following(older, delta(4, "yes", 4300, 1), delta(8, "yes", 4300, 1, 1))])
    database.commit([following(newer, trade(6, trade_id="elsewhere"))])
    assert frames(replay(database, MARKET), names)[3:] == ["A delta 4", "B trade 6", "A delta 8"]


HOUR_NS = 3_600 * 10**9


def trade_gap(market: str | None = None, **times: int | None) -> GapRow:
    """Trades that a capture missed for a millisecond, an hour after its beginning."""
    values = {"from_ns": HOUR_NS + received(3), "received_ns": HOUR_NS + received(4), "to_ns": HOUR_NS + received(4)}
    return gap(4, channel="trade", market_ticker=market, sid=2, **values | times)


def with_trades(rows: Rows, market: str = MARKET) -> Rows:
    """The beginning of a capture that is subscribed to trades and to the book of a market."""
    books = msgspec.structs.replace(rows.resume.sids[0], tickers=(market,))
    trades = msgspec.structs.replace(books, sid=2, channel="trade", tickers=())
    resume = msgspec.structs.replace(rows.resume, sids=(books, trades))
    moved = [msgspec.structs.replace(row, market_ticker=market) for row in rows.snapshots]
    return attrs.evolve(rows, snapshots=moved, deltas=[], trades=[], resume=resume, first_received_ns=received(0) + 1)


def gaps_told(database: Database, older: Rows, lost: GapRow, newer: Rows, *made: DeltaRow | GapRow) -> list[GapRow]:
    """Store both captures, of which one lost trades and the other made some rows, and replay the market."""
    later_ns = 2 * HOUR_NS + received(9)
    database.commit([older, following(older, lost, received_ns=later_ns)])
    database.commit([newer])
    database.commit([following(newer, *made, received_ns=later_ns)])
    return [one.row for one in replay(database, MARKET) if isinstance(one.row, GapRow) and one.row.channel == "trade"]


def test_a_gap_of_trades_is_not_told_if_another_capture_heard_them(database: Database) -> None:
    assert gaps_told(database, first(), trade_gap(), with_trades(first()), delta(4, "yes", 4300, 1)) == []


@pytest.mark.parametrize("market", [None, MARKET])
def test_a_gap_of_trades_is_told_if_the_other_capture_had_none(database: Database, market: str | None) -> None:
    lost = trade_gap(market)
    assert gaps_told(database, first(), lost, first(), delta(4, "yes", 4300, 1)) == [lost]


def test_a_gap_of_trades_is_told_if_the_other_capture_had_trades_of_another_market(database: Database) -> None:
    lost = trade_gap()
    other = delta(4, "yes", 4300, 1, market_ticker="OTHER")
    assert gaps_told(database, first(), lost, with_trades(first(), "OTHER"), other) == [lost]


def test_a_gap_of_trades_is_told_if_the_other_capture_did_not_have_the_market_then(database: Database) -> None:
    lost = trade_gap()
    over = gap(4, from_ns=HOUR_NS, received_ns=HOUR_NS + received(3))
    assert gaps_told(database, first(), lost, with_trades(first()), over) == [lost]


def test_a_gap_of_trades_is_told_if_the_other_capture_had_none_any_more(database: Database) -> None:
    """Its subscription to trades had died some time before, and its books went on."""
    lost = trade_gap()
    dead = trade_gap(from_ns=received(4), received_ns=received(4), to_ns=None)
    assert gaps_told(database, first(), lost, with_trades(first()), dead) == [lost]


def test_a_gap_of_trades_without_an_end_is_told_if_the_other_capture_ends_before(database: Database) -> None:
    lost = trade_gap(to_ns=None)
    older, newer = first(), with_trades(first())
    database.commit([older, following(older, lost, received_ns=2 * HOUR_NS + received(9))])
    database.commit([newer, following(newer, delta(4, "yes", 4300, 1), received_ns=HOUR_NS + received(5))])
    assert lost in [one.row for one in replay(database, MARKET)]


def test_trades_that_were_fetched_later_come_at_the_venues_time_and_close_their_gap(database: Database) -> None:
    rows = first()
    lost = gap(6, channel="trade", market_ticker=None, sid=2, from_ns=received(4), to_ns=received(6))
    behind = following(rows, delta(4, "yes", 4300, 1), lost, delta(6, "yes", 4300, 1, 1), delta(9, "yes", 4300, 1, 2))
    database.commit([rows, behind])
    assert [one.row for one in replay(database, MARKET)][4] == lost
    database.connection.execute("UPDATE rl_feed_gaps SET filled_ns = 1, filled_trades = 1")
    database.connection.execute(
        """INSERT INTO rl_trades (market_ticker, timestamp_ms, trade_id, count, taker_side, is_block_trade,
                                  received_ns, yes_price_e4, origin)
           VALUES (%s, %s, 'late', 2.5, 'no', false, %s, 4100, 'rest')""",
        (MARKET, received(5) // MS, received(5) + 3_600 * 10**9),
    )
    found = list(replay(database, MARKET))
    assert frames(found, {rows.capture: "A"})[3:] == ["A delta 4", "REST trade 0", "A delta 6", "A delta 9"]
    fetched = found[4].row
    assert isinstance(fetched, TradeRow)
    assert (fetched.received_ns, fetched.count, fetched.trade_id) == (received(5), 250, "late")


def test_many_rows_stream_in_portions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.data.history.stored_rows._ROWS_PER_FETCH", 7)
    rows = first()
    deltas = [delta(number, "yes", 4300, 1, number - 4) for number in range(4, 60)]
    database.commit([rows, following(rows, *deltas)])
    expected: Sequence[StoredRow] = [*rows.snapshots, *rows.deltas, *rows.trades, *deltas]
    assert [one.row for one in replay(database, MARKET)] == list(expected)
