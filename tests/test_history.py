"""Frames for notebooks say what the rows say."""

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from rlflow import history
from rlflow.data.database import Database
from rlflow.data.history.rebuild import book_at
from rlflow.data.imports.importer import import_files
from rlflow.errors import CommandError
from tests.recordings import make
from tests.rows_by_hand import MARKET, MS, NOON_NS, delta, first, following, gap, gap_end, received, snapshot, trade
from tests.session_line import OPENED, Line, subscribed
from tests.session_line import delta as change
from tests.session_line import snapshot as book_of


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Mapping[str, str]:
    return {"DATABASE_URL": database_url, "RL_DATA_DIR": str(tmp_path)}


def open_store(settings: Mapping[str, str], environment: str) -> Database:
    return Database.connect(
        settings["DATABASE_URL"],
        db_schema=f"rlflow_{environment}",
        environment=environment,
        wall_ns=lambda: NOON_NS,
    )


@pytest.fixture
def story(settings: Mapping[str, str]) -> Mapping[str, str]:
    """The settings of a store with one market: a book, a crossed moment, a gap, and a book again."""
    rows = first()
    behind = following(
        rows,
        delta(4, "yes", 4300, 70),
        # Crossed until the action's second change.
        delta(5, "yes", 4600, 100),
        delta(6, "no", 5505, -2000, 2000),
        gap(8, from_frame=6, from_ns=received(6)),
        snapshot(10, yes_bids=((4200, 350),), no_bids=()),
        gap_end(10),
        trade(11),
        delta(12, "yes", 4200, 50, 350),
    )
    with open_store(settings, "sim") as database:
        database.commit([rows, behind])
    return settings


def at(frame: int) -> datetime:
    return datetime.fromtimestamp(received(frame) / 10**9, UTC)


def test_the_best_of_the_book_is_there_whenever_it_changes(story: Mapping[str, str]) -> None:
    top = history.load(MARKET, settings=story).top
    assert top["received"].to_list() == [at(frame) for frame in (1, 2, 4, 6, 8, 10, 12)]
    assert top["known"].to_list() == [True, True, True, True, False, True, True]
    assert top["bid"].to_list() == [0.42, 0.42, 0.43, 0.46, None, 0.42, 0.42]
    assert top["bid_size"].to_list() == [3.5, 2, 0.7, 1, None, 3.5, 4]
    assert top["ask"].to_list() == [0.4495, 0.4495, 0.4495, 0.46, None, None, None]
    assert top["spread"].to_list()[:3] == [0.0295, 0.0295, 0.0195]
    assert top["mid"].to_list()[:2] == [0.43475, 0.43475]


def test_a_grid_has_the_book_at_each_moment(story: Mapping[str, str]) -> None:
    top = history.load(MARKET, settings=story, grid="2ms").top
    assert top["received"].to_list() == [at(frame) for frame in (2, 4, 6, 8, 10, 12)]
    assert top["bid"].to_list() == [0.42, 0.43, 0.46, None, 0.42, 0.42]
    assert top["bid_size"].to_list() == [2, 0.7, 1, None, 3.5, 4]
    assert top["known"].to_list() == [True, True, True, False, True, True]
    later = history.load(MARKET, settings=story, grid=timedelta(milliseconds=2), start=received(3)).top
    assert later["received"].to_list() == [at(frame) for frame in (4, 6, 8, 10, 12)]
    assert later["bid"].to_list() == top["bid"].to_list()[1:]


def test_deltas_trades_gaps_and_markets_are_frames_too(story: Mapping[str, str]) -> None:
    found = history.load(MARKET, settings=story)
    assert found.deltas.row(0, named=True) == {
        "market_ticker": MARKET,
        "received": at(2),
        "timestamp": datetime.fromtimestamp((received(2) // MS - 11) / 1000, UTC),
        "side": "yes",
        "price": 0.42,
        "delta": -1.5,
        "action": "reduce",
        "size": 2.0,
        "clock": 20,
        "frame_no": 2,
    }
    assert found.deltas.height == 5
    assert found.trades.select("trade_id", "yes_price", "count").rows() == [
        ("trade-3", 0.425, 1.5),
        ("trade-11", 0.425, 1.5),
    ]
    assert found.gaps.select("channel", "start", "noticed", "end", "cause").rows() == [
        ("orderbook_delta", at(6), at(8), at(10), "a hole in seq")
    ]
    assert found.markets["market_ticker"].to_list() == [MARKET]
    assert found.markets["status"].to_list() == [None]


@pytest.mark.parametrize(("settled_at", "gaps"), [(5, 0), (6, 0), (7, 1)])
def test_gaps_from_a_markets_settlement_on_are_left_out(story: Mapping[str, str], settled_at: int, gaps: int) -> None:
    with open_store(story, "sim") as database:
        database.connection.execute(
            """INSERT INTO rl_markets (market_ticker, event_ticker, status, settled_ts_ms, sheet, fetched_ns)
               VALUES (%s, 'E', 'finalized', %s, '{}', 0)""",
            (MARKET, received(settled_at) // MS),
        )
    loaded = history.load(MARKET, settings=story)
    assert len(loaded.gaps) == gaps
    assert not loaded.top["known"].all()


def test_the_book_of_a_sampled_capture_is_known_at_its_snapshots_alone(settings: Mapping[str, str]) -> None:
    line = Line(msgspec.structs.replace(OPENED, sample_rate=2))
    line.receive(subscribed(1, "orderbook_delta"))
    line.receive(book_of(1))
    # The first one is not stored; the second one leads below nothing without it.
    line.receive(change(2, "90.00"))
    line.receive(change(3, "-50.00"))
    line.receive(book_of(4))
    line.receive(change(5, "2.00"))
    with open_store(settings, "sim") as database:
        database.commit([line.all])
    found = history.load("A", settings=settings)
    assert found.top.select("known", "bid_size").rows() == [(True, 5), (False, None)] * 2
    assert found.deltas.select("delta", "size").rows() == [(-50, 45), (2, 7)]
    at_ns = found.top["received"].cast(int).to_list()
    assert found.gaps.select("start", "end", "cause").cast({"start": int, "end": int}).rows() == [
        (at_ns[0], at_ns[2], "sampled: only 1 in 2 deltas is stored"),
        (at_ns[2], None, "sampled: only 1 in 2 deltas is stored"),
    ]
    assert not history.load("A", settings=settings, grid="1ms").top["known"].any()


@pytest.mark.parametrize("library", ["polars", "pandas", "arrow"])
def test_a_history_shows_how_much_there_is_and_not_all_of_it(
    story: Mapping[str, str], library: history.Library
) -> None:
    assert repr(history.load(MARKET, settings=story, library=library)) == (
        "History(markets 1, top 7, deltas 5, trades 2, gaps 1; 2026-11-22 12:00:00 to 2026-11-22 12:00:00 UTC)"
    )
    nothing = history.load(MARKET, start="2027-01-01", settings=story, library=library)
    assert repr(nothing) == "History(markets 1, top 0, deltas 0, trades 0, gaps 0)"


def test_times_may_be_given_in_any_way(story: Mapping[str, str]) -> None:
    whole = history.load(MARKET, settings=story)
    for start in (
        date(2026, 11, 22),
        "2026-11-22",
        "2026-11-22T00:00:00Z",
        datetime(2026, 11, 22, tzinfo=UTC),
        NOON_NS,
    ):
        assert_frame_equal(history.load([MARKET], start=start, settings=story).top, whole.top)
    part = history.load(MARKET, start=at(5), end=at(9).replace(tzinfo=None), settings=story)
    assert part.deltas["received"].to_list() == [at(5), at(6)]
    assert part.top["received"].to_list() == [at(5), at(6), at(8)]


def test_all_libraries_say_the_same(story: Mapping[str, str]) -> None:
    as_polars = history.load(MARKET, settings=story)
    as_arrow = history.load(MARKET, settings=story, library="arrow")
    as_pandas = history.load(MARKET, settings=story, library="pandas")
    for name in ("top", "deltas", "trades", "gaps"):
        assert_frame_equal(pl.DataFrame(pl.from_arrow(getattr(as_arrow, name))), getattr(as_polars, name))
        assert list(getattr(as_pandas, name).columns) == getattr(as_polars, name).columns
        assert len(getattr(as_pandas, name)) == getattr(as_polars, name).height


def test_a_series_is_loaded_market_by_market(settings: Mapping[str, str], tmp_path: Path) -> None:
    path = make.write(tmp_path / "scene.jsonl", make.wrapped(make.Scene(random.Random(1)).play(300)))
    with open_store(settings, "recordings") as database:
        import_files(database, [path])
        found = history.load(series="KXSIM", settings=settings)
        assert found.top["market_ticker"].unique(maintain_order=True).to_list() == list(make.MARKETS)
        for market in make.MARKETS:
            last = found.top.filter(pl.col("market_ticker") == market).row(-1, named=True)
            view = book_at(database, market)
            assert view is not None
            bid, ask = view.best_bid("yes"), view.best_ask("yes")
            assert (last["bid"], last["ask"]) == (bid and bid[0] / 10_000, ask and ask[0] / 10_000)
    assert found.deltas.height == 300


def test_tables_of_many_rows_are_packed_in_portions(story: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = history.load(MARKET, settings=story)
    monkeypatch.setattr("rlflow.data.history.tables._ROWS_PER_CHUNK", 2)
    packed = history.load(MARKET, settings=story)
    assert_frame_equal(packed.top, whole.top)
    assert_frame_equal(packed.deltas, whole.deltas)


def test_what_makes_no_sense_is_refused(story: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="polars, pandas or arrow"):
        history.load("A", library="numpy", settings=story)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="market or series"):
        history.load(settings=story)
    with pytest.raises(ValueError, match="market or series"):
        history.load(MARKET, series="KXTEST", settings=story)
    for grid in ("x", "0s", "1", "1w"):
        with pytest.raises(ValueError, match="grid"):
            history.load(MARKET, grid=grid, settings=story)
    with pytest.raises(CommandError, match="nothing is stored of series"):
        history.load(series="NOPE", settings=story)
    with pytest.raises(CommandError, match="nothing is stored for prod"):
        history.load(MARKET, env="prod", settings=story)
    with pytest.raises(ValueError, match="prod, demo, sim, replay, recordings"):
        history.load(MARKET, env="moon", settings=story)
    with pytest.raises(ValueError, match="at least one market"):
        history.load([], settings=story)


@pytest.mark.parametrize("market", ["NOPE", "", [MARKET, "NOPE"]])
def test_a_market_of_which_nothing_is_stored_is_named(story: Mapping[str, str], market: str | list[str]) -> None:
    with pytest.raises(CommandError, match=r"nothing is stored of (NOPE|a market without a name)$"):
        history.load(market, settings=story)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("grid", 5, "5 is no grid"),
        ("grid", "s", "'s' is no grid"),
        ("start", 1.5, "1.5 is no time"),
        ("start", "2027", "'2027' is no time"),
        ("end", "soon", "'soon' is no time"),
        ("end", NOON_NS, "start must be before end"),
    ],
)
def test_a_time_or_a_grid_that_is_none_is_shown_with_a_right_one(
    story: Mapping[str, str], name: str, given: object, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        history.load(MARKET, settings=story, **{"start": NOON_NS, name: given})  # type: ignore[arg-type]


def test_a_library_that_is_not_there_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlflow.history.find_spec", lambda _name: None)
    with pytest.raises(ImportError, match="pip install polars"):
        history.load("KXA", settings={})
