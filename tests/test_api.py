"""The endpoints, asked over HTTP as a program would ask them, with a service whose parts stand still."""

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from quart import typing as quart_typing
from quart_trio import QuartTrio

from rlflow.api.app import create_app
from rlflow.api.service import Service
from rlflow.config import Settings
from rlflow.data.feed.capture_log import CaptureLogStatistics
from rlflow.data.following.following import Following, MarketLists
from rlflow.data.following.lanes import FeedsStatus
from rlflow.data.orderbook_state import BooksStatistics
from rlflow.data.writer.protocols import WriterStatistics
from rlflow.errors import FeedLostError
from rlflow.kalshi.roster import Roster
from rlflow.orderbook import BookView
from tests.service_figures import CAPTURE, FIGURES, NOW_NS, SECOND, lane

VIEW = BookView(
    market_ticker="A",
    capture=CAPTURE,
    frame_no=7,
    sequence_number=3,
    received_ns=NOW_NS - SECOND // 4,
    timestamp_ms=1_795_305_599_750,
    is_valid=True,
    cause=None,
    yes_bids=((4510, 12_000), (4500, 350)),
    no_bids=((5400, 2000),),
)


@attrs.define
class StillBooks:
    views: dict[str, BookView]

    def tickers(self) -> tuple[str, ...]:
        return tuple(self.views)

    def view(self, ticker: str) -> BookView | None:
        return self.views.get(ticker)

    def settled_view(self, ticker: str) -> BookView | None:
        view = self.views.get(ticker)
        return view if view is not None and view.is_settled else None

    def is_valid(self, ticker: str) -> bool:
        return ticker in self.views and self.views[ticker].is_valid

    def statistics(self) -> BooksStatistics:
        return FIGURES.books


BOTH = StillBooks({"A": VIEW, "B": attrs.evolve(VIEW, market_ticker="B")})


@attrs.define
class StillFeeds:
    asked: list[Sequence[str] | None] = attrs.Factory(list)
    is_connected: bool = True

    def statistics(self) -> FeedsStatus:
        return attrs.evolve(FIGURES.feeds, feeds=(lane(state="connected" if self.is_connected else "waiting"),))

    def lanes_of(self) -> dict[str, tuple[str, ...]]:
        return {"A": ("feed 1",)}

    def resnapshot(self, tickers: Sequence[str] | None = None) -> None:
        if not self.is_connected:
            raise FeedLostError("not connected")
        self.asked.append(tickers)


@attrs.define
class StillWriter:
    figures: WriterStatistics = FIGURES.writer
    is_stuck: bool = False

    def statistics(self) -> WriterStatistics:
        return self.figures

    async def flush(self) -> None:
        if self.is_stuck:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()


@attrs.define
class World:
    books: StillBooks = attrs.Factory(lambda: StillBooks({"A": VIEW}))
    feeds: StillFeeds = attrs.Factory(StillFeeds)
    rest: MarketLists | None = None
    writer: StillWriter = attrs.Factory(StillWriter)
    captures: CaptureLogStatistics = FIGURES.captures
    environ: dict[str, str] = attrs.Factory(lambda: {"RL_MARKET_TICKER": "A,B"})
    clock: list[float] = attrs.Factory(lambda: [1000.0])
    following: Following = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        settings = Settings.from_environ(self.environ)
        roster = Roster(settings.tickers, settings.series_tickers)
        self.following = Following(roster, self.rest, wall_ns=lambda: NOW_NS)

    def client(self) -> quart_typing.TestClientProtocol:
        return self.app().test_client()

    def app(self) -> QuartTrio:
        class Still:
            worst_lag_s = 0.0

        settings = Settings.from_environ(self.environ)
        service = Service(
            settings=settings,
            books=self.books,
            feeds=self.feeds,
            following=self.following,
            writer=self.writer,
            captures=lambda: self.captures,
            journal=lambda: FIGURES.journal,
            self_check=lambda: FIGURES.self_check,
            stored_counts=lambda: FIGURES.stored,
            loop=Still(),
            started_ns=FIGURES.started_ns,
            wall_ns=lambda: NOW_NS,
            clock=lambda: self.clock[0],
        )
        return create_app(service)


async def get(world: World, path: str, status: int = 200) -> Any:
    response = await world.client().get(path)
    assert response.status_code == status, await response.get_data(as_text=True)
    return await response.get_json()


async def post(world: World, path: str, status: int, *, json: object = None, **headers: str) -> Any:
    response = await world.client().post(path, json=json, headers=headers)
    assert response.status_code == status, await response.get_data(as_text=True)
    return await response.get_json()


async def test_health_has_the_promised_form() -> None:
    answer = await get(World(books=BOTH), "/rl/health")
    assert list(answer.items())[:2] == [("status", "healthy"), ("service", "rlflow")]
    components = answer["components"]
    assert components["database"]["status"] == "healthy"
    assert (components["write_queue"]["status"], components["write_queue"]["messages_enqueued"]) == ("healthy", 97)
    assert (components["orderbook_client"]["status"], components["orderbook_client"]["connected"]) == ("healthy", True)


async def test_health_is_503_only_for_what_a_restart_cures() -> None:
    away = attrs.evolve(FIGURES.writer, is_connected=False, last_error="refused")
    assert (await get(World(writer=StillWriter(away)), "/rl/health"))["status"] == "degraded"
    hanging = attrs.evolve(FIGURES.writer, backlog_bytes=1, stalled_s=400.0)
    assert (await get(World(writer=StillWriter(hanging)), "/rl/health", 503))["status"] == "unhealthy"


async def test_ready_says_why_not() -> None:
    assert await get(World(), "/rl/ready", 503) == {
        "ready": False,
        "reasons": ["orderbook_state: no valid book of B"],
    }
    assert await get(World(books=BOTH), "/rl/ready") == {"ready": True, "reasons": []}


async def test_health_says_since_when() -> None:
    world = World()
    app = world.app().test_client()

    async def components() -> Any:
        return (await (await app.get("/rl/health")).get_json())["components"]

    assert (await components())["orderbook_state"]["since_s"] == 0
    world.clock[0] += 40
    world.writer.figures = attrs.evolve(FIGURES.writer, is_connected=False, last_error="refused")
    found = await components()
    assert (found["orderbook_state"]["since_s"], found["orderbook_state"]["reason"]) == (40, "no valid book of B")
    assert found["database"] == {"status": "degraded", "since_s": 0, "reason": "refused"}
    world.books.views = BOTH.views
    world.clock[0] += 2
    found = await components()
    assert found["orderbook_state"] == {"status": "healthy", "markets": 1, "valid": 1, "since_s": 0}
    assert found["database"]["since_s"] == 2


async def test_rates_are_those_of_the_last_minute() -> None:
    world = World()
    app = world.app().test_client()

    async def rate() -> Any:
        return (await (await app.get("/rl/status")).get_json())["rates"]

    await rate()
    for _ in range(120):
        world.clock[0] += 1
        world.writer.figures = attrs.evolve(world.writer.figures, rows_written=world.writer.figures.rows_written + 10)
        await rate()
    assert await rate() == {"messages_per_s": 0.0, "rows_per_s": 10.0}
    for _ in range(60):
        world.clock[0] += 1
        await rate()
    assert (await rate())["rows_per_s"] == 0.0


async def test_a_snapshot_is_in_cents_and_contracts_best_first() -> None:
    answer = await get(World(), "/rl/orderbook/snapshot")
    assert answer["market_ticker"] == "A"
    assert (answer["valid"], answer["sequence_number"], answer["age_ms"]) == (True, 3, 250)
    assert answer["yes_bids"] == [[45.1, 120], [45, 3.5]]
    assert answer["yes_asks"] == [[46, 20]]
    assert answer["no_bids"] == [[54, 20]]
    assert answer["no_asks"] == [[54.9, 120], [55, 3.5]]
    assert (answer["yes_spread"], answer["no_spread"]) == (0.9, 0.9)
    assert (answer["yes_mid_price"], answer["no_mid_price"]) == (45.55, 54.45)


async def test_depth_cuts_every_side() -> None:
    answer = await get(World(), "/rl/orderbook/snapshot?market=A&depth=1")
    assert [len(answer[side]) for side in ("yes_bids", "yes_asks", "no_bids", "no_asks")] == [1, 1, 1, 1]


async def test_an_empty_side_has_neither_spread_nor_mid() -> None:
    world = World(books=StillBooks({"A": attrs.evolve(VIEW, no_bids=())}))
    answer = await get(world, "/rl/orderbook/snapshot")
    assert answer["yes_asks"] == []
    assert answer["yes_spread"] is None
    assert answer["yes_mid_price"] is None


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("market=NOPE", 404, "not followed"),
        ("market=B", 503, "no snapshot"),
        ("depth=0", 400, "depth"),
        ("depth=10001", 400, "from 1 to 10000 levels"),
        ("depth=many", 400, "depth=many"),
        ("market_ticker=A", 400, "the query takes market"),
        ("market=A&market=B", 400, "each once"),
        ("colour=red", 400, "colour"),
    ],
)
async def test_a_bad_question_gets_a_reason(query: str, status: int, word: str) -> None:
    assert word in (await get(World(), f"/rl/orderbook/snapshot?{query}", status))["error"]


async def test_a_book_that_cannot_be_trusted_is_503_with_the_cause() -> None:
    world = World(books=StillBooks({"A": attrs.evolve(VIEW, is_valid=False, cause="sequence gap")}))
    answer = await get(world, "/rl/orderbook/snapshot", 503)
    assert answer == {"error": "A: sequence gap", "market_ticker": "A", "valid": False}


async def test_a_book_that_stays_crossed_is_not_shown() -> None:
    world = World(books=StillBooks({"A": attrs.evolve(VIEW, is_settled=False)}))
    assert "crossed" in (await get(world, "/rl/orderbook/snapshot", 503))["error"]


async def test_status_shows_settings_masked_and_frames_that_balance() -> None:
    world = World(environ={"DATABASE_URL": "postgresql://u:hunter2@h/d", "RL_MARKET_TICKER": "A"})
    answer = await get(world, "/rl/status")
    assert answer["settings"]["DATABASE_URL"] == "postgresql://u:***@h/d"
    assert answer["accounting"]["received"] == 100
    assert answer["accounting"]["pending"] == 3
    assert answer["accounting"]["balances"] is True
    assert [(feed["name"], feed["state"], feed["connections"]) for feed in answer["feeds"]] == [
        ("feed 1", "connected", 1)
    ]
    assert answer["tasks"] >= 1
    assert answer["latency_us"]["p50"] == pytest.approx(50, rel=0.07)
    assert "hunter2" not in str(answer)


async def test_status_shows_the_last_gaps_with_their_cause() -> None:
    gaps = (await get(World(), "/rl/status"))["gaps"]
    assert gaps["rows"] == 4
    assert [(gap["cause"], gap["markets"], gap["frame_no"]) for gap in gaps["recent"]] == [
        ("2 frames are missing", 3, 17)
    ]


async def test_frames_that_do_not_balance_are_seen() -> None:
    world = World(captures=attrs.evolve(FIGURES.captures, frames=101))
    assert (await get(world, "/rl/status"))["accounting"]["balances"] is False


async def test_metrics_are_prometheus_text_without_market_labels() -> None:
    response = await World().client().get("/rl/metrics")
    text = await response.get_data(as_text=True)
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert "rlflow_frames_received_total 100.0" in text
    assert 'rlflow_frames_committed_total{outcome="stored"} 95.0' in text
    assert "market=" not in text
    assert '"A"' not in text
    assert 'rlflow_feed_connected{feed="feed 1"} 1.0' in text
    assert "rlflow_ready 0.0" in text


async def test_flush_waits_for_the_database() -> None:
    assert await post(World(), "/rl/admin/flush", 200, json={}) == {"flushed": True}


async def test_flush_gives_up_with_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    world = World(writer=StillWriter(attrs.evolve(FIGURES.writer, last_error="away"), is_stuck=True))
    assert "away" in (await post(world, "/rl/admin/flush", 503, json={}))["error"]


async def test_resnapshot_asks_the_feed() -> None:
    world = World()
    assert await post(world, "/rl/admin/resnapshot", 202, json={"markets": ["B"]}) == {"requested": ["B"]}
    await post(world, "/rl/admin/resnapshot", 202, json={})
    assert world.feeds.asked == [["B"], None]
    assert await post(world, "/rl/admin/resnapshot", 202, json={"markets": ["B", "A", "B"]}) == {
        "requested": ["B", "A"]
    }
    assert "not followed" in (await post(world, "/rl/admin/resnapshot", 404, json={"markets": ["X"]}))["error"]
    world.feeds.is_connected = False
    assert "not connected" in (await post(world, "/rl/admin/resnapshot", 503, json={}))["error"]


async def test_a_foreign_page_may_change_nothing() -> None:
    world = World()
    await post(world, "/rl/admin/flush", 403, json={}, Origin="http://evil.example")
    await post(world, "/rl/admin/flush", 403, json={}, Host="evil.example")
    await post(world, "/rl/admin/flush", 200, json={}, Origin="http://localhost:8001", Host="127.0.0.1:8001")
    response = await world.client().post("/rl/admin/flush", data="x", headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


@pytest.mark.parametrize("path", ["/rl/health", "/rl/status", "/rl/orderbook/snapshot", "/rl/openapi.json", "/nothing"])
async def test_a_name_that_was_rebound_to_this_address_sees_nothing(path: str) -> None:
    client = World().client()
    for host in ("evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"):
        response = await client.get(path, headers={"Host": host})
        assert response.status_code == 403
        assert (await response.get_json()).keys() == {"error"}
    for host in ("localhost:1", "LOCALHOST", "127.0.0.1:8001", "[::1]:8001"):
        assert (await client.get("/rl/health", headers={"Host": host})).status_code == 200


async def test_a_service_on_an_address_of_its_own_goes_by_that_and_by_no_other_name() -> None:
    environ = {"RL_HOST": "Recorder.lan", "RL_ADMIN_TOKEN": "secret-of-sixteen", "RL_MARKET_TICKER": "A"}
    client = World(environ=environ).client()
    assert (await client.get("/rl/health", headers={"Host": "recorder.lan:8001"})).status_code == 200
    assert (await client.get("/rl/health", headers={"Host": "evil.example"})).status_code == 403


async def test_a_query_without_end_is_refused() -> None:
    assert "2048" in (await get(World(), f"/rl/orderbook/snapshot?market={'x' * 3000}", 414))["error"]


@pytest.mark.parametrize("origin", ["null", "", "http://[", "http://localhost.evil.example"])
async def test_an_origin_that_is_no_address_of_ours_is_foreign(origin: str) -> None:
    await post(World(), "/rl/admin/flush", 403, json={}, Origin=origin)


async def test_listening_everywhere_it_goes_by_any_name_but_only_with_the_token() -> None:
    world = World(environ={"RL_HOST": "0.0.0.0", "RL_ADMIN_TOKEN": "secret-of-sixteen", "RL_MARKET_TICKER": "A"})
    token = {"Host": "recorder.example:8001", "Authorization": "Bearer secret-of-sixteen"}
    await post(world, "/rl/admin/flush", 200, json={}, **token)
    await post(world, "/rl/admin/flush", 200, json={}, **token, Origin="http://recorder.example:8001")
    await post(world, "/rl/admin/flush", 403, json={}, **token, Origin="http://evil.example")
    await post(world, "/rl/admin/flush", 401, json={}, Host="recorder.example:8001")


async def test_a_configured_token_is_needed() -> None:
    world = World(environ={"RL_ADMIN_TOKEN": "secret-of-sixteen", "RL_MARKET_TICKER": "A"})
    await post(world, "/rl/admin/flush", 401, json={})
    await post(world, "/rl/admin/flush", 401, json={}, Authorization="Bearer wrong")
    await post(world, "/rl/admin/flush", 401, json={}, Authorization="secret-of-sixteen")
    await post(world, "/rl/admin/flush", 401, json={}, Authorization="Basic secret-of-sixteen")
    await post(world, "/rl/admin/flush", 401, json={}, Authorization="Bearer sécret")
    for path in ("/rl/admin/flush", "/rl/admin/resnapshot", "/rl/admin/markets", "/nothing"):
        refused = await world.client().post(path, data="{", headers={"Content-Type": "text/plain"})
        assert refused.status_code == 401, "whoever has no token learns nothing else"
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    await post(world, "/rl/admin/flush", 200, json={}, Authorization="bearer secret-of-sixteen")
    await post(world, "/rl/admin/flush", 200, json={}, Authorization="Bearer secret-of-sixteen")


async def test_unknown_paths_and_methods_are_json_errors() -> None:
    assert "/rl/openapi.json" in (await get(World(), "/nothing", 404))["error"]
    assert "POST" in (await get(World(), "/rl/admin/flush", 405))["error"]
    response = await World().client().get("/rl/admin/flush")
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/rl/health", "GET"),
        ("DELETE", "/rl/markets", "GET"),
        ("PUT", "/rl/admin/markets", "POST"),
        ("OPTIONS", "/rl/health", "GET"),
        ("OPTIONS", "/rl/openapi.json", "GET"),
        ("OPTIONS", "/rl/admin/flush", "POST"),
    ],
)
async def test_a_wrong_method_is_called_that_whatever_else_is_wrong(method: str, path: str, allowed: str) -> None:
    response = await getattr(World().client(), method.lower())(path)
    assert (response.status_code, response.mimetype) == (405, "application/json")
    assert f"{method} is not possible here; use {allowed}" in (await response.get_json())["error"]


async def test_a_path_that_is_not_there_is_called_that_before_the_form_of_the_request_is_looked_at() -> None:
    response = await World().client().post("/nothing", data="x")
    assert response.status_code == 404


@pytest.mark.parametrize(
    "path", ["/rl/health", "/rl/ready", "/rl/status", "/rl/metrics", "/rl/markets", "/rl/openapi.json"]
)
async def test_what_takes_no_query_says_so(path: str) -> None:
    assert (await get(World(), f"{path}?status=open", 400))["error"] == f"{path} takes no query"


async def test_an_admin_request_takes_no_query_either() -> None:
    world = World()
    assert "takes no query" in (await post(world, "/rl/admin/resnapshot?markets=A", 400, json={}))["error"]
    assert world.feeds.asked == []


@pytest.mark.parametrize("name", ["flush", "resnapshot", "markets"])
async def test_a_body_that_is_no_json_or_too_large_is_refused(name: str) -> None:
    client = World().client()
    headers = {"Content-Type": "application/json"}
    for body in ("", "{", "[]", '{"x": 1}', '{"markets": []}', '{"markets": [1]}', "[" * 50_000, b"\x80"):
        refused = await client.post(f"/rl/admin/{name}", data=body, headers=headers)
        assert refused.status_code == 400, body[:20]
        assert "browser" not in (await refused.get_json())["error"]
    assert (await client.post(f"/rl/admin/{name}", data="x" * 70_000, headers=headers)).status_code == 413


async def test_openapi_describes_every_endpoint() -> None:
    paths = (await get(World(), "/rl/openapi.json"))["paths"]
    assert set(paths) == {
        "/rl/health",
        "/rl/ready",
        "/rl/status",
        "/rl/admin/markets",
        "/rl/markets",
        "/rl/metrics",
        "/rl/orderbook/snapshot",
        "/rl/admin/flush",
        "/rl/admin/resnapshot",
    }


async def test_openapi_declares_every_answer() -> None:
    document = await get(World(), "/rl/openapi.json")
    declared = {
        path: set(operation["responses"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    shared = {"400", "403", "408", "413", "414"}
    admin = shared | {"401", "415"}
    assert declared == {
        "/rl/health": shared | {"200", "503"},
        "/rl/ready": shared | {"200", "503"},
        "/rl/status": shared | {"200"},
        "/rl/metrics": shared | {"200"},
        "/rl/markets": shared | {"200"},
        "/rl/orderbook/snapshot": shared | {"200", "404", "503"},
        "/rl/admin/flush": admin | {"200", "503"},
        "/rl/admin/resnapshot": admin | {"202", "404", "503"},
        "/rl/admin/markets": admin | {"200", "404"},
    }
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named == set(document["components"]["schemas"])
