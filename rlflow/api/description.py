"""What `/rl/openapi.json` says of the answers: a form for each, and the refusals that all endpoints share.

A form names what a program can rely on; an answer may say more. Nothing is checked against them while serving:
`tests/test_http_fuzz.py` holds every answer against its form.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec.json import schema_components
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing.rules import Rule

from rlflow.api.refusals import Problem

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus' own text."""
_REFUSALS: Final = {
    400: "The query or the body is not understood.",
    403: "Asked for by a foreign name, or by a page of another site.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    414: "The query is too long.",
}
_ADMIN_REFUSALS: Final = {401: "The admin token is missing or wrong.", 415: "The body is not said to be JSON."}


class ComponentAnswer(msgspec.Struct):
    """One part of the service."""

    status: Literal["healthy", "degraded", "unhealthy"]
    since_s: float
    reason: str | msgspec.UnsetType = msgspec.UNSET
    """Why it is not healthy."""


class HealthAnswer(msgspec.Struct):
    """How the process is, and each of its parts."""

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    components: dict[str, ComponentAnswer]


class ReadyAnswer(msgspec.Struct):
    """Whether the data can be trusted, with every reason why not."""

    ready: bool
    reasons: list[str]


class StatusAnswer(msgspec.Struct):
    """Everything about the running service."""

    service: str
    version: str
    status: Literal["healthy", "degraded", "unhealthy"]
    environment: str
    simulated: bool
    sampled: bool
    uptime_s: float
    settings: dict[str, Any]
    markets: list[str]
    rates: dict[str, float]
    accounting: dict[str, int | bool]
    latency_us: dict[str, float | None]
    feeds: list[dict[str, Any]]
    gaps: dict[str, Any]


class MetricsAnswer(msgspec.Struct):
    """The figures, as Prometheus reads them."""


class SnapshotAnswer(msgspec.Struct):
    """A book that can be trusted; a level is its price in cents and its size in contracts."""

    market_ticker: str
    valid: bool
    capture_id: str
    frame_no: int
    sequence_number: int | None
    timestamp_ms: int | None
    received_ns: int
    age_ms: int
    yes_bids: list[list[float]]
    yes_asks: list[list[float]]
    no_bids: list[list[float]]
    no_asks: list[list[float]]
    yes_spread: float | None
    no_spread: float | None
    yes_mid_price: float | None
    no_mid_price: float | None


class NoSnapshotAnswer(Problem):
    """A book that cannot be trusted now, and why; no ticker where none is followed."""

    valid: bool
    market_ticker: str | msgspec.UnsetType = msgspec.UNSET


class FollowedMarket(msgspec.Struct):
    """A market that is followed; times as the venue writes them."""

    market_ticker: str
    series_ticker: str | None
    status: str
    open_time: str | None
    close_time: str | None
    feeds: list[str]
    connected: bool
    valid: bool


class FollowedAnswer(msgspec.Struct):
    """The followed markets, the configured ones first."""

    markets: list[FollowedMarket]


class FlushedAnswer(msgspec.Struct):
    """Everything that had been received is in the database."""

    flushed: bool


class RequestedAnswer(msgspec.Struct):
    """The markets whose snapshots were asked for."""

    requested: list[str]


class ChangedAnswer(msgspec.Struct):
    """What is followed that was not, what was followed already, and what is no more."""

    added: list[str]
    kept: list[str]
    removed: list[str]
    markets: int
    """How many are followed now."""
    lasts: str
    """For how long."""


class Description(OpenAPIProvider):
    """The library's description with nested forms, text, and the shared refusals."""

    def build_response_object(
        self,
        model: type[Any],
        headers_model: type[Any] | None,  # noqa: ARG002 - no answer has headers of its own
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return how an answer looks, and the forms that it refers to."""
        if model is MetricsAnswer:
            content: dict[str, Any] = {METRICS_TYPE: {"schema": {"type": "string"}}}
            return {"description": model.__doc__, "content": content}, {}
        (schema,), forms = schema_components([model], ref_template="#/components/schemas/{name}")
        return {"description": model.__doc__, "content": {"application/json": {"schema": schema}}}, forms

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return how a path is asked and answers."""
        paths, forms = super().build_paths(rule)
        problem, problem_forms = self.build_response_object(Problem, None)
        for operations in paths.values():
            for method, operation in operations.items():
                shared = _REFUSALS | (_ADMIN_REFUSALS if method == "post" else {})
                refused = {status: problem | {"description": why} for status, why in shared.items()}
                operation["responses"] = {**refused, **operation["responses"]}
        return paths, {**forms, **problem_forms}
