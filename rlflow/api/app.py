"""The HTTP application: every endpoint."""

from typing import Annotated

import attrs
import msgspec
import trio
from quart import Response, jsonify
from quart_schema import Info, QuartSchema, document_response, validate_querystring, validate_request
from quart_trio import QuartTrio

from rlflow import __version__
from rlflow.api.description import (
    METRICS_TYPE,
    ChangedAnswer,
    Description,
    FlushedAnswer,
    FollowedAnswer,
    HealthAnswer,
    MetricsAnswer,
    NoSnapshotAnswer,
    ReadyAnswer,
    RequestedAnswer,
    SnapshotAnswer,
    StatusAnswer,
)
from rlflow.api.health import judge, reasons_against
from rlflow.api.markets import MarketsBody, change_markets, markets_json
from rlflow.api.metrics_page import metrics_text
from rlflow.api.refusals import BODY_LIMIT_S, MAX_BODY_BYTES, Problem, Refusal, add_errors, add_guards
from rlflow.api.service import Figures, Service
from rlflow.api.snapshot import SnapshotQuery, snapshot_json
from rlflow.api.status import status_json
from rlflow.data.following.following import UnknownMarketError
from rlflow.errors import FeedLostError
from rlflow.orderbook import BookView

# A crossed book settles within this (design: it is judged after 250 ms), unless nothing more arrives.
SETTLE_S = 0.3
FLUSH_LIMIT_S = 10.0


class FlushBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing can be chosen."""


class ResnapshotBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which markets to ask the venue for anew."""

    markets: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    """Tickers; all markets if absent."""


def create_app(service: Service) -> QuartTrio:
    """Return the application; it owns no task and starts none."""
    app = QuartTrio("rlflow", static_folder=None)
    # The library's own answer to OPTIONS is an empty page; nobody of another site may ask first anyway.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_LIMIT_S
    QuartSchema(
        app,
        info=Info(title="rlflow", version=__version__, description="Health, status and live order books."),
        openapi_path="/rl/openapi.json",
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        convert_casing=False,
        openapi_provider_class=Description,
    )
    # The order in which an answer is written is the order in which it is best read.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    add_errors(app)
    add_guards(app, service.settings)
    _add_health(app, service)
    _add_books(app, service)
    _add_admin(app, service)
    return app


def _add_health(app: QuartTrio, service: Service) -> None:
    @app.get("/rl/health")
    @document_response(HealthAnswer, 200)
    @document_response(HealthAnswer, 503)
    async def health() -> tuple[Response, int]:
        """Whether the process is well; 503 only for what starting it again would cure."""
        found = judge(service, service.figures())
        return jsonify(found.as_json()), 503 if found.needs_restart else 200

    @app.get("/rl/ready")
    @document_response(ReadyAnswer, 200)
    @document_response(ReadyAnswer, 503)
    async def ready() -> tuple[Response, int]:
        """Whether the data can be trusted: 200, or 503 with every reason why not."""
        reasons = reasons_against(service, service.figures())
        return jsonify({"ready": not reasons, "reasons": reasons}), 503 if reasons else 200

    @app.get("/rl/status")
    @document_response(StatusAnswer, 200)
    async def status() -> Response:
        """Configuration, counters, rates, latencies, and the accounting of frames."""
        return jsonify(status_json(service))

    @app.get("/rl/metrics")
    @document_response(MetricsAnswer, 200)
    async def metrics() -> Response:
        """The figures for Prometheus."""

        def is_ready(figures: Figures) -> bool:
            return not reasons_against(service, figures)

        return Response(metrics_text(service.figures, is_ready), content_type=METRICS_TYPE)


def _add_books(app: QuartTrio, service: Service) -> None:
    @app.get("/rl/orderbook/snapshot")
    @validate_querystring(SnapshotQuery)
    @document_response(SnapshotAnswer, 200)
    @document_response(Problem, 404)
    @document_response(NoSnapshotAnswer, 503)
    async def snapshot(query_args: SnapshotQuery) -> Response:
        """A market's live book: prices in cents, sizes in contracts, best price first."""
        ticker = query_args.market or service.following.foremost()
        if ticker is None:
            raise Refusal(503, {"error": "no market is followed at the moment", "valid": False})
        view = await _settled(service, ticker)
        if view is None:
            _refuse_absent(service, ticker)
        elif not view.is_valid:
            raise Refusal(503, {"error": f"{ticker}: {view.cause}", "market_ticker": ticker, "valid": False})
        return jsonify(snapshot_json(view, service.wall_ns(), query_args.depth))  # type: ignore[arg-type]

    @app.get("/rl/markets")
    @document_response(FollowedAnswer, 200)
    async def followed() -> Response:
        """The markets that are followed now, what is known of their lives, and whether their books are valid."""
        return jsonify({"markets": markets_json(service)})


def _refuse_absent(service: Service, ticker: str) -> None:
    followed = service.following.followed()
    if ticker in followed:
        body = {"error": f"{ticker}: no snapshot has been received yet", "market_ticker": ticker, "valid": False}
        raise Refusal(503, body)
    known = ", ".join(followed[:10])
    raise Refusal(404, {"error": f"the market {ticker[:100]!r} is not followed; followed: {known}"})


async def _settled(service: Service, ticker: str) -> BookView | None:
    """Return the book, waiting a moment if it is crossed within one action; if it stays so, it is not valid."""
    with trio.move_on_after(SETTLE_S):
        while service.books.view(ticker) is not None:
            if (view := service.books.settled_view(ticker)) is not None:
                return view
            await trio.sleep(0.005)
    view = service.books.view(ticker)
    return view and attrs.evolve(view, is_valid=False, cause="crossed: the venue's action is not complete")


def _add_admin(app: QuartTrio, service: Service) -> None:
    @app.post("/rl/admin/flush")
    @validate_request(FlushBody)
    @document_response(FlushedAnswer, 200)
    @document_response(Problem, 503)
    async def flush(data: FlushBody) -> Response:  # noqa: ARG001 - an empty object, which was checked
        """Write everything received so far to the database, and say when it is there."""
        with trio.move_on_after(FLUSH_LIMIT_S) as limit:
            await service.writer.flush()
        if limit.cancelled_caught:
            reason = service.writer.statistics().last_error or "the database is slow"
            raise Refusal(503, {"error": f"not written within {FLUSH_LIMIT_S:.0f} s: {reason}; nothing is lost"})
        return jsonify({"flushed": True})

    @app.post("/rl/admin/resnapshot")
    @validate_request(ResnapshotBody)
    @document_response(RequestedAnswer, 202)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def resnapshot(data: ResnapshotBody) -> tuple[Response, int]:
        """Ask the venue for fresh snapshots; they arrive as ordinary data."""
        followed = service.following.followed()
        asked = None if data.markets is None else list(dict.fromkeys(data.markets))
        if unknown := [ticker for ticker in asked or () if ticker not in followed]:
            raise Refusal(404, {"error": f"not followed: {', '.join(unknown[:10])}"})
        try:
            service.feeds.resnapshot(asked)
        except FeedLostError as lost:
            raise Refusal(503, {"error": f"{lost}: the next connection brings snapshots by itself"}) from lost
        return jsonify({"requested": asked or list(followed)}), 202

    @app.post("/rl/admin/markets")
    @validate_request(MarketsBody)
    @document_response(ChangedAnswer, 200)
    @document_response(Problem, 404)
    async def markets(data: MarketsBody) -> Response:
        """Follow some markets from now on and others no more, until the process ends."""
        try:
            return jsonify(await change_markets(service, data))
        except ValueError as error:
            raise Refusal(400, {"error": str(error)}) from error
        except UnknownMarketError as error:
            raise Refusal(404, {"error": str(error)}) from error
