"""Refusals: errors as JSON that helps, and the guards that every request passes before its endpoint."""

import attrs
import msgspec
from quart import Response, abort, has_request_context, jsonify, request, websocket
from quart_schema import RequestSchemaValidationError
from quart_schema.validation import QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, QuerystringValidationError
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from rlflow.api.admin import SAFE_METHODS, refuse_foreign_page, refuse_rebound, refuse_stranger
from rlflow.api.snapshot import QUERY_FORM
from rlflow.config import Settings

MAX_BODY_BYTES = 65_536
BODY_LIMIT_S = 10.0


class Problem(msgspec.Struct):
    """An error, for people."""

    error: str


@attrs.frozen
class Refusal(Exception):  # noqa: N818 - it carries an answer, it does not name an error
    """Ends a request with a status and a body."""

    status: int
    body: dict[str, object]


def add_errors(app: QuartTrio) -> None:
    """Answer every error as JSON."""

    @app.errorhandler(QuerystringValidationError)
    async def illegible_query(_error: QuerystringValidationError) -> tuple[Response, int]:
        return jsonify({"error": f"{request.query_string.decode(errors='replace')[:100]!r}: {QUERY_FORM}"}), 400

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

    @app.errorhandler(Refusal)
    async def answered(answer: Refusal) -> tuple[Response, int]:
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


def add_guards(app: QuartTrio, settings: Settings) -> None:
    """Refuse, before an endpoint sees it, whoever may not ask, and what it would only ignore."""

    @app.before_request
    async def guard() -> None:
        # Read to its end whatever the answer will be: a connection with an unread body can only be closed.
        await request.get_data()
        refuse_rebound(request, settings)
        if request.method not in SAFE_METHODS:
            refuse_stranger(request, settings)
        # A path or method that is not there is said to be, whatever else is wrong.
        if request.routing_exception is None:
            _refuse_form(app)

    @app.before_websocket
    async def guard_websocket() -> None:
        refuse_rebound(websocket, settings)
        refuse_foreign_page(websocket, settings)


def _refuse_form(app: QuartTrio) -> None:
    """Abort with 400 or 415 where an endpoint is asked in a form that it does not know."""
    if request.method not in SAFE_METHODS and request.mimetype != "application/json":
        abort(415, "send the header Content-Type: application/json")
    view = app.view_functions[request.endpoint or ""]
    if request.query_string and not hasattr(view, QUART_SCHEMA_QUERYSTRING_ATTRIBUTE):
        abort(400, f"{request.path} takes no query")
