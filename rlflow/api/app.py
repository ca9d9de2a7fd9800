"""The HTTP application: every endpoint, and errors as JSON that helps."""

from typing import Annotated

import attrs
import msgspec
import trio
from quart import Response, has_request_context, jsonify, request, websocket
from quart_schema import (
    Info,
    QuartSchema,
    RequestSchemaValidationError,
    document_response,
    validate_querystring,
    validate_request,
)
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from rlflow import __version__
from rlflow.api.admin import SAFE_METHODS, refuse_foreign_page, refuse_rebound, refuse_stranger
from rlflow.api.health import judge, reasons_against
from rlflow.api.markets import MarketsBody, change_markets, markets_json
from rlflow.api.metrics_page import metrics_text
from rlflow.api.service import Figures, Service
from rlflow.api.snapshot import snapshot_json
from rlflow.api.status import status_json
from rlflow.config import Settings
from rlflow.data.following.following import UnknownMarketError
from rlflow.errors import FeedLostError
from rlflow.orderbook import BookView

# A crossed book settles within this (design: it is judged after 250 ms), unless nothing more arrives.
SETTLE_S = 0.3
FLUSH_LIMIT_S = 10.0
MAX_BODY_BYTES = 65_536
BODY_LIMIT_S = 10.0


class SnapshotQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which book, and how much of it."""

    market: str | None = None
    """The market's ticker; if absent the first configured one, for a series the open one that closes next."""
    depth: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """How many levels of each side; all if absent."""


class ResnapshotBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which markets to ask the venue for anew."""

    markets: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    """Tickers; all markets if absent."""


class Problem(msgspec.Struct):
    """An error, for people."""

    error: str


@attrs.frozen
class _Answer(Exception):  # noqa: N818 - it carries an answer, it does not name an error
    status: int
    body: dict[str, object]


def create_app(service: Service) -> QuartTrio:
    """Return the application; it owns no task and starts none."""
    app = QuartTrio("rlflow")
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
    )
    # The order in which an answer is written is the order in which it is best read.
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_errors(app)
    _add_guards(app, service.settings)
    _add_health(app, service)
    _add_books(app, service)
    _add_admin(app, service)
    return app


def _add_errors(app: QuartTrio) -> None:
    @app.errorhandler(RequestSchemaValidationError)
    async def invalid(error: RequestSchemaValidationError) -> tuple[Response, int]:
        return jsonify({"error": str(error.validation_error)}), 400

    @app.errorhandler(RecursionError)
    async def nested(_error: RecursionError) -> tuple[Response, int]:
        return jsonify({"error": "the JSON is nested too deeply"}), 400

    @app.errorhandler(UnicodeDecodeError)
    async def illegible(_error: UnicodeDecodeError) -> tuple[Response, int]:
        return jsonify({"error": "the body must be JSON in UTF-8"}), 400

    @app.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> tuple[Response, int]:
        answer = jsonify({"error": _explain(error)})
        shown = ("Allow", "WWW-Authenticate")
        answer.headers.extend([header for header in error.get_headers() if header[0] in shown])
        return answer, error.code or 500

    @app.errorhandler(_Answer)
    async def answered(answer: _Answer) -> tuple[Response, int]:
        return jsonify(answer.body), answer.status


def _explain(error: HTTPException) -> str:
    """Return what is wrong with the request; the library's own texts speak of browsers and URLs typed by hand."""
    if error.description != type(error).description:
        return error.description or error.name
    if not has_request_context():
        return f"there is no websocket at {websocket.path[:100]!r}"
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not possible here; use {', '.join(sorted(error.valid_methods or ()))}"
    return {
        400: "the body must be JSON, such as {}",
        404: f"there is nothing at {request.path[:100]!r}; /rl/openapi.json lists what there is",
        408: f"the body did not arrive within {BODY_LIMIT_S:g} s",
        413: f"the body is larger than {MAX_BODY_BYTES} bytes",
    }.get(error.code or 500, error.description or error.name)


def _add_guards(app: QuartTrio, settings: Settings) -> None:
    @app.before_request
    async def guard() -> None:
        # Read to its end whatever the answer will be: a connection with an unread body can only be closed.
        await request.get_data()
        refuse_rebound(request, settings)
        if request.method not in SAFE_METHODS:
            refuse_stranger(request, settings)

    @app.before_websocket
    async def guard_websocket() -> None:
        refuse_rebound(websocket, settings)
        refuse_foreign_page(websocket, settings)


def _add_health(app: QuartTrio, service: Service) -> None:
    @app.get("/rl/health")
    async def health() -> tuple[Response, int]:
        """Whether the process is well; 503 only for what starting it again would cure."""
        found = judge(service, service.figures())
        return jsonify(found.as_json()), 503 if found.needs_restart else 200

    @app.get("/rl/ready")
    async def ready() -> tuple[Response, int]:
        """Whether the data can be trusted: 200, or 503 with every reason why not."""
        reasons = reasons_against(service, service.figures())
        return jsonify({"ready": not reasons, "reasons": reasons}), 503 if reasons else 200

    @app.get("/rl/status")
    async def status() -> Response:
        """Configuration, counters, rates, latencies, and the accounting of frames."""
        return jsonify(status_json(service))

    @app.get("/rl/metrics")
    async def metrics() -> Response:
        """The figures for Prometheus."""

        def is_ready(figures: Figures) -> bool:
            return not reasons_against(service, figures)

        return Response(
            metrics_text(service.figures, is_ready), content_type="text/plain; version=0.0.4; charset=utf-8"
        )


def _add_books(app: QuartTrio, service: Service) -> None:
    @app.get("/rl/orderbook/snapshot")
    @validate_querystring(SnapshotQuery)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def snapshot(query_args: SnapshotQuery) -> Response:
        """A market's live book: prices in cents, sizes in contracts, best price first."""
        ticker = query_args.market or service.following.foremost()
        if ticker is None:
            raise _Answer(503, {"error": "no market is followed at the moment", "valid": False})
        view = await _settled(service, ticker)
        if view is None:
            _refuse_absent(service, ticker)
        elif not view.is_valid:
            raise _Answer(503, {"error": f"{ticker}: {view.cause}", "market_ticker": ticker, "valid": False})
        return jsonify(snapshot_json(view, service.wall_ns(), query_args.depth))  # type: ignore[arg-type]

    @app.get("/rl/markets")
    async def followed() -> Response:
        """The markets that are followed now, what is known of their lives, and whether their books are valid."""
        return jsonify({"markets": markets_json(service)})


def _refuse_absent(service: Service, ticker: str) -> None:
    followed = service.following.followed()
    if ticker in followed:
        body = {"error": f"{ticker}: no snapshot has been received yet", "market_ticker": ticker, "valid": False}
        raise _Answer(503, body)
    known = ", ".join(followed[:10])
    raise _Answer(404, {"error": f"the market {ticker[:100]!r} is not followed; followed: {known}"})


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
    async def flush() -> Response:
        """Write everything received so far to the database, and say when it is there."""
        with trio.move_on_after(FLUSH_LIMIT_S) as limit:
            await service.writer.flush()
        if limit.cancelled_caught:
            reason = service.writer.statistics().last_error or "the database is slow"
            raise _Answer(503, {"error": f"not written within {FLUSH_LIMIT_S:.0f} s: {reason}; nothing is lost"})
        return jsonify({"flushed": True})

    @app.post("/rl/admin/resnapshot")
    @validate_request(ResnapshotBody)
    async def resnapshot(data: ResnapshotBody) -> tuple[Response, int]:
        """Ask the venue for fresh snapshots; they arrive as ordinary data."""
        followed = service.following.followed()
        unknown = [ticker for ticker in data.markets or () if ticker not in followed]
        if unknown:
            raise _Answer(404, {"error": f"not followed: {', '.join(unknown[:10])}"})
        try:
            service.feeds.resnapshot(data.markets)
        except FeedLostError as lost:
            raise _Answer(503, {"error": f"{lost}: the next connection brings snapshots by itself"}) from lost
        return jsonify({"requested": data.markets or list(followed)}), 202

    @app.post("/rl/admin/markets")
    @validate_request(MarketsBody)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    async def markets(data: MarketsBody) -> Response:
        """Follow some markets from now on and others no more, until the process ends."""
        try:
            return jsonify(await change_markets(service, data))
        except ValueError as error:
            raise _Answer(400, {"error": str(error)}) from error
        except UnknownMarketError as error:
            raise _Answer(404, {"error": str(error)}) from error
