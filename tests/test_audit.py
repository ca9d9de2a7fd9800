"""The audit proves a sound store sound and names what does not fit in a damaged one."""

from collections.abc import Iterator
from datetime import date

import attrs
import msgspec
import pytest

from rlflow.data.database import Database
from rlflow.data.history.audit import AuditReport, audit
from rlflow.session.rows import Counts, RejectRow, Rows
from tests.rows_by_hand import (
    MARKET,
    NOON_NS,
    OPENED,
    closing,
    delta,
    first,
    following,
    gap,
    received,
    snapshot,
    trade,
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.connect(database_url, environment="sim", wall_ns=lambda: NOON_NS) as database:
        yield database


def audited(database: Database, *rows: Rows, market: str | None = None) -> AuditReport:
    database.commit(list(rows))
    return audit(database, market)


def tampered(database: Database, statement: str) -> AuditReport:
    """Change the tables behind everybody's back."""
    assert database.connection.execute(statement.encode()).rowcount == 1
    return audit(database)


def story() -> list[Rows]:
    """A capture with everything in it."""
    rows = first()
    behind = following(
        rows,
        delta(4, "yes", 4300, 70),
        snapshot(4, origin="checkpoint", yes_bids=((4300, 70), (4200, 200), (4100, 1200))),
        delta(5, "yes", 4300, -70, 70),
        delta(6, "no", 5400, -3, 10),
        trade(7),
        gap(8),
        delta(8, "yes", 4100, 5, None),
        snapshot(9, clock=95),
        delta(10, "yes", 4200, 50, None, clock=95),
        delta(11, "yes", 4200, 50, 350),
        snapshot(12, yes_bids=((4200, 400), (4100, 1200))),
        snapshot(13, yes_bids=(), no_bids=()),
        rejects=[RejectRow(14, received(14), "spoilt", b"{")],
    )
    counts = Counts(stored=10, rejected=1)
    behind = attrs.evolve(behind, upto_frame=14, counts=counts)
    return [rows, behind, closing(behind)]


def test_a_sound_store_is_clean(database: Database) -> None:
    report = audited(database, *story())
    assert report.findings == ()
    assert report.is_clean
    assert (report.captures, report.markets, report.deltas, report.snapshots, report.cleared) == (1, 1, 7, 5, 1)
    assert [(found.channel, found.frame_no, found.to_ns, found.rows) for found in report.gaps] == [
        ("orderbook_delta", 8, None, 1)
    ]
    assert report.notes == ()


def test_an_empty_store_is_clean(database: Database) -> None:
    assert audit(database).is_clean


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE rl_orderbook_deltas SET delta = 60, new_size = 60 WHERE frame_no = 4",
            "frame 4: KXTEST-26NOV22-A: checkpoint has 70 at yes 4300, the deltas lead to 6000",
        ),
        (
            "UPDATE rl_orderbook_deltas SET old_size = 1, new_size = 0.3, action = 'reduce' WHERE frame_no = 5",
            "delta -70 at yes 4300 leads from 70 to 0 (remove), stored is from 100 to 30 (reduce)",
        ),
        (
            "UPDATE rl_orderbook_deltas SET action = 'add' WHERE frame_no = 6",
            "frame 6: KXTEST-26NOV22-A: delta -3 at no 5400 leads from 10 to 7 (reduce), stored is from 10 to 7 (add)",
        ),
        (
            "UPDATE rl_orderbook_snapshots SET no_bids = '[[55.05, 20], [10, 1]]' WHERE frame_no = 12",
            "frame 12: KXTEST-26NOV22-A: snapshot of the venue has 100 at no 1000, the deltas lead to 0",
        ),
        (
            "DELETE FROM rl_orderbook_deltas WHERE frame_no = 8",
            "frame 15: 13 frames are counted as stored, there are 6 deltas, 2 trades and 4 snapshots",
        ),
        ("DELETE FROM rl_trades WHERE frame_no = 7", "frame 15: 13 frames are counted as stored, there are 7 deltas,"),
        ("DELETE FROM rl_rejected_frames", "frame 15: 1 frames are counted as rejected, 0 are there"),
        (
            "UPDATE rl_captures SET control = 1",
            "frame 15: 15 frames are counted, which leaves no number for its closing",
        ),
        (
            "UPDATE rl_orderbook_deltas SET frame_no = 10 WHERE frame_no = 11",
            "frame 10: more than one delta",
        ),
        (
            "UPDATE rl_feed_gaps SET frame_no = 20",
            "frame 8: KXTEST-26NOV22-A: delta 5 at yes 4100 leads from 1200 to 1205 (add), stored is from None to None",
        ),
    ],
)
def test_tampering_is_found(database: Database, statement: str, finding: str) -> None:
    assert audited(database, *story()).is_clean
    report = tampered(database, statement)
    assert not report.is_clean
    assert any(finding in found for found in report.findings), report.findings


def test_one_market_is_audited_alone(database: Database) -> None:
    rows = first()
    other = following(rows, snapshot(4, market_ticker="OTHER"), delta(5, "yes", 4200, -1, 999, market_ticker="OTHER"))
    assert audited(database, rows, other, market=MARKET).is_clean
    report = audit(database, "OTHER")
    assert (report.markets, report.deltas, report.findings_count) == (1, 1, 1)


def test_after_a_finding_a_book_is_looked_at_again_from_its_next_snapshot(database: Database) -> None:
    rows = first()
    wrong = [delta(number, "yes", 4200, 1, 1) for number in range(4, 8)]
    report = audited(
        database,
        rows,
        following(rows, *wrong, snapshot(8), delta(9, "yes", 4200, 1, 350), delta(10, "yes", 4200, 1, 7)),
    )
    assert ["frame 4:" in report.findings[0], "frame 10:" in report.findings[1]] == [True, True]
    assert report.findings_count == 2


def test_a_sampled_capture_is_counted_but_not_replayed(database: Database) -> None:
    rows = first(opened=msgspec.structs.replace(OPENED, sample_rate=2))
    report = audited(database, rows, following(rows, delta(4, "yes", 4200, 1, 1)))
    assert report.is_clean
    assert (report.deltas, report.snapshots) == (2, 0)
    assert "sampled" in report.notes[0]


def test_a_hole_in_a_partial_recording_is_a_note(database: Database) -> None:
    rows = first(opened=msgspec.structs.replace(OPENED, sparse_seq=True))
    report = audited(database, rows, following(rows, snapshot(4)))
    assert report.is_clean
    assert "the deltas lead to 200; a hole in this recording is not a gap" in report.notes[0]


def test_dropped_days_are_a_note(database: Database) -> None:
    rows = first()
    database.commit([rows, following(rows, delta(4, "yes", 4200, 1, 200, received_ns=received(4) + 86_400 * 10**9))])
    database.drop_days_before(date(2026, 11, 23))
    report = audit(database)
    assert report.is_clean
    assert "days were dropped" in report.notes[0]


def test_progress_is_told_and_ends_with_everything(database: Database) -> None:
    database.commit(story())
    told: list[tuple[int, int]] = []
    audit(database, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 13)
