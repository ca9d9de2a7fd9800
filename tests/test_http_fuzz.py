"""Whatever is asked over HTTP, by our own description of it or against it: an answer of ours, never a failure."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rlflow.config import Settings
from rlflow.supervisor import http
from tests.test_api import World

# 200 and 202; refusals that say why; 503 for a book, or a connection, that is not there.
ANSWERS = {200, 202, 400, 403, 404, 405, 411, 413, 414, 415, 431, 503}
# Of HTTP itself, whatever the endpoint, or of no endpoint at all.
BELOW = {405, 411, 431}


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a server with all endpoints, in a thread of its own."""
    listener = http.bind(Settings.from_environ({"RL_PORT": "0"}))
    address = http.address(listener)
    stop, tokens = trio.Event(), list[trio.lowlevel.TrioToken]()

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        await http.serve_http(World().app(), listener, stop)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        httpx.get(f"{address}/rl/health", timeout=10)
        yield address
    finally:
        tokens[0].run_sync_soon(stop.set)
        thread.join()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """A client that keeps its connections."""
    with requests.Session() as made:
        yield made


@pytest.fixture(scope="module")
def operations(service: str) -> list[Any]:
    """What our own OpenAPI document describes."""
    schema = schemathesis.openapi.from_url(f"{service}/rl/openapi.json")
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(found) == 9
    return found


def assert_ours(answer: Any) -> None:
    """Assert that an answer was meant: its status, its form, and the headers that all have."""
    assert answer.status_code in ANSWERS, answer.text
    # One of the two clients gives a list for each name.
    headers = {name.lower(): str(value) for name, value in answer.headers.items()}
    kind = headers.get("content-type", "").strip("[']")
    if kind.startswith("application/json") and answer.text:
        body = json.loads(answer.text)
        assert answer.status_code < 400 or body.keys() & {"error", "reasons"}, body
    else:
        assert not answer.text or kind.startswith("text/plain; version=0.0.4")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "Traceback" not in answer.text


def assert_declared(case: Any, answer: Any) -> None:
    """Assert that our description has this answer: its status, its media type and its form."""
    if answer.status_code not in BELOW:
        case.validate_response(
            answer, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
        )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_our_own_description_allows_or_forbids_is_answered(
    service: str, session: requests.Session, operations: list[Any], data: st.DataObject
) -> None:
    operation = data.draw(st.sampled_from(operations))
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    answer = case.call(base_url=service, session=session)
    assert_ours(answer)
    assert_declared(case, answer)


ASKED: list[tuple[str, int, dict[str, Any]]] = [
    # First of all, since whoever asks at random may have removed it.
    ("post_markets", 200, {"body": {"add": ["A"]}}),
    ("get_snapshot", 200, {"query": {"market": "A", "depth": 1}}),
    ("get_snapshot", 404, {"query": {"market": "X"}}),
    ("get_health", 200, {}),
    ("get_status", 200, {}),
    ("get_metrics", 200, {}),
    ("get_followed", 200, {}),
    ("post_flush", 200, {"body": {}}),
    ("post_resnapshot", 202, {"body": {"markets": ["A"]}}),
]


def test_the_answers_to_good_questions_have_the_declared_forms(
    service: str, session: requests.Session, operations: list[Any]
) -> None:
    """Those questions that are hardly ever drawn at random."""
    by_name = {operation.definition.raw["operationId"]: operation for operation in operations}
    for name, status, question in ASKED:
        case = by_name[name].Case(**question, media_type="application/json" if "body" in question else None)
        answer = case.call(base_url=service, session=session)
        assert answer.status_code == status, (name, answer.text)
        assert_declared(case, answer)


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(["add", "markets"]), inner),
    max_leaves=12,
)
PATHS = st.sampled_from(
    ["health", "ready", "status", "metrics", "markets", "orderbook/snapshot", "openapi.json", "admin/resnapshot"]
)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"]),
        "path": PATHS | TEXT.map(quote) | st.just("admin/markets"),
        "params": st.dictionaries(TEXT | st.sampled_from(["market", "depth"]), TEXT | st.integers(), max_size=3),
        "data": st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()),
        "kind": st.sampled_from(["application/json", "application/json; charset=utf-7", "text/plain", "x", ""]),
    }
)


@settings(max_examples=150, deadline=None)
@given(request=REQUESTS)
def test_anything_at_all_is_answered(service: str, session: requests.Session, request: dict[str, Any]) -> None:
    address, kind = f"{service}/rl/{request.pop('path')}", request.pop("kind")
    answer = session.request(url=address, headers={"Content-Type": kind}, timeout=10, **request)
    assert_ours(answer)
