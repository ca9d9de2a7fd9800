"""Orders: placed, amended, made smaller, canceled, one by one and in batches (protocol 6.3)."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from rlflow.exchange.handshake import Refusal
from rlflow.exchange.markets.account_publications import money_text
from rlflow.exchange.matching import answers
from rlflow.exchange.matching.orders import OrderRefusedError, OrderView
from rlflow.exchange.rest.buckets import Kind
from rlflow.exchange.rest.desk import Desk
from rlflow.exchange.rest.market_json import Json
from rlflow.exchange.rest.messages import Answer, Request, ok
from rlflow.exchange.rest.order_bodies import (
    AmendBody,
    Batch,
    CancelBody,
    CreateBody,
    DecreaseBody,
    batch_size,
    decode,
)
from rlflow.exchange.rest.refusals import RefusedError
from rlflow.exchange.rest.routes import Route
from rlflow.units import format_count

B = TypeVar("B", bound=msgspec.Struct)

_BASE = "/portfolio/events/orders"
_CANCEL_COST = 2


def create(desk: Desk, request: Request) -> Answer:
    """Place an order."""
    return Answer(201, _created(desk, request, decode(request.body, CreateBody)))


def create_batch(desk: Desk, request: Request) -> Answer:
    """Place several orders; each has its own answer or error."""
    return Answer(201, {"orders": _each(request, CreateBody, partial(_created, desk, request))})


def cancel(desk: Desk, request: Request) -> Answer:
    """Cancel an order."""
    body = CancelBody(order_id=request.where["order_id"], market_ticker=request.query.text("market_ticker"))
    return Answer(200, _canceled(desk, request, body))


def cancel_batch(desk: Desk, request: Request) -> Answer:
    """Cancel several orders; each has its own answer or error."""
    return ok(orders=_each(request, CancelBody, partial(_canceled, desk, request)))


def cancel_all(desk: Desk, request: Request) -> Answer:
    """Cancel everything that rests."""
    desk.venue.cancel_all(request.account, request.now_ns)
    return Answer(204, None)


def amend(desk: Desk, request: Request) -> Answer:
    """Change an order; `fill_count` and the averages are of what the change itself traded."""
    body = decode(request.body, AmendBody)
    done = desk.venue.amend(request.account, request.where["order_id"], body.request(), request.now_ns)
    return Answer(200, _acknowledged(done, request))


def decrease(desk: Desk, request: Request) -> Answer:
    """Make an order smaller."""
    body = decode(request.body, DecreaseBody)
    done = desk.venue.decrease(request.account, request.where["order_id"], body.request(), request.now_ns)
    return ok(**_named(done.order, request), remaining_count=format_count(done.order.remaining_count))


def _created(desk: Desk, request: Request, body: CreateBody) -> Json:
    return _acknowledged(desk.venue.place(request.account, body.request(), request.now_ns), request)


def _canceled(desk: Desk, request: Request, body: CancelBody) -> Json:
    body.check_place()
    done = desk.venue.cancel(request.account, body.order_id, request.now_ns, ticker=body.market_ticker or "")
    return {**_named(done.order, request), "reduced_by": format_count(done.reduced_by)}


def _each(request: Request, kind: type[B], carry_out: Callable[[B], Json]) -> list[Json]:
    """Return the answer for each order of a batch; one that is refused does not hold up the others."""
    results: list[Json] = []
    for raw in decode(request.body, Batch).orders:
        try:
            results.append(carry_out(decode(raw, kind)))
        except RefusedError as error:
            results.append({"error": error.refusal.fields()})
        except OrderRefusedError as error:
            results.append({"error": Refusal(error.status, error.code, error.message).fields()})
    return results


def _acknowledged(done: answers.Answer, request: Request) -> Json:
    fields: Json = {
        **_named(done.order, request),
        "fill_count": format_count(done.fill_count),
        "remaining_count": format_count(done.order.remaining_count),
    }
    if done.average_fill_price is not None and done.average_fee_paid is not None:
        fields["average_fill_price"] = money_text(done.average_fill_price)
        fields["average_fee_paid"] = money_text(done.average_fee_paid)
    return fields


def _named(order: OrderView, request: Request) -> Json:
    fields: Json = {"order_id": order.order_id, "ts_ms": request.now_ns // 1_000_000}
    return fields | ({"client_order_id": order.client_order_id} if order.client_order_id else {})


def gone(_desk: Desk, _request: Request) -> Answer:
    """Refuse the writes of the first version, which the venue removed in July 2026."""
    raise RefusedError(410, "deprecated_v1_order_endpoint", f"this endpoint was removed; use {_BASE}")


ROUTES = (
    Route("POST", _BASE, create, kind=Kind.WRITE),
    Route("DELETE", _BASE, cancel_all, kind=Kind.WRITE, cost=_CANCEL_COST),
    Route("POST", f"{_BASE}/batched", create_batch, kind=Kind.WRITE, count=lambda request: batch_size(request.body)),
    Route(
        "DELETE",
        f"{_BASE}/batched",
        cancel_batch,
        kind=Kind.WRITE,
        cost=_CANCEL_COST,
        count=lambda request: batch_size(request.body),
    ),
    Route("DELETE", f"{_BASE}/<order_id>", cancel, kind=Kind.WRITE, cost=_CANCEL_COST),
    Route("POST", f"{_BASE}/<order_id>/amend", amend, kind=Kind.WRITE),
    Route("POST", f"{_BASE}/<order_id>/decrease", decrease, kind=Kind.WRITE),
    *(
        Route(method, f"/portfolio/orders{path}", gone, kind=Kind.WRITE)
        for method, path in (
            ("POST", ""),
            ("POST", "/batched"),
            ("DELETE", "/batched"),
            ("DELETE", "/<order_id>"),
            ("POST", "/<order_id>/amend"),
            ("POST", "/<order_id>/decrease"),
        )
    ),
)
