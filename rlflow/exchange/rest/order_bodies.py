"""The bodies of order requests: prices and counts are strings, and JSON numbers are refused (protocol 6.3)."""

from typing import TypeVar

import msgspec

from rlflow.exchange.matching.orders import (
    AmendRequest,
    BookSide,
    DecreaseRequest,
    OrderRequest,
    SelfTradePrevention,
    TimeInForce,
)
from rlflow.exchange.rest.refusals import RefusedError, bad_parameter, check_place, not_found
from rlflow.units import Count, Nanos, Price, parse_count, parse_price

B = TypeVar("B", bound=msgspec.Struct)

_SECOND_NS: Nanos = 1_000_000_000
# Seconds beyond the year 2200 are not meant; in nanoseconds they would soon not fit anywhere.
_LAST_SECOND = 7_258_118_400
_LONGEST_ID = 128

# ValueError covers malformed JSON, broken UTF-8 and failed validation; nesting beyond the stack is a RecursionError.
UNREADABLE = (ValueError, RecursionError)


def decode(body: bytes | msgspec.Raw, kind: type[B]) -> B:
    """Return a body, or a part of one; RefusedError for what is not of its form."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise bad_parameter(str(error)) from error


class _Routed(msgspec.Struct, kw_only=True):
    """What says where an order is."""

    subaccount: int | None = None
    exchange_index: int | None = None

    def check_place(self) -> None:
        """Raise RefusedError for a shard or subaccount that does not exist."""
        check_place(self.subaccount, self.exchange_index)


class CreateBody(_Routed, kw_only=True):
    """A new order."""

    ticker: str
    side: BookSide
    count: str
    price: str
    time_in_force: TimeInForce
    self_trade_prevention_type: SelfTradePrevention
    client_order_id: str | None = None
    expiration_time: int | None = None
    post_only: bool | None = None
    reduce_only: bool | None = None
    cancel_order_on_pause: bool | None = None
    order_group_id: str | None = None
    """Of a group that exists; none can be made here."""

    def request(self) -> OrderRequest:
        """Return it for the engine."""
        self.check_place()
        if self.order_group_id:
            raise not_found(f"order group {self.order_group_id}")
        return OrderRequest(
            self.ticker,
            self.side,
            _price(self.price),
            _count(self.count),
            self.time_in_force,
            self.self_trade_prevention_type,
            _client_id(self.client_order_id),
            _time_ns(self.expiration_time),
            post_only=bool(self.post_only),
            reduce_only=bool(self.reduce_only),
            cancel_on_pause=bool(self.cancel_order_on_pause),
        )


class AmendBody(_Routed, kw_only=True):
    """What an order is to become."""

    ticker: str
    side: BookSide
    price: str
    count: str
    client_order_id: str | None = None
    updated_client_order_id: str | None = None
    expiration_time: int | None = None

    def request(self) -> AmendRequest:
        """Return it for the engine."""
        self.check_place()
        return AmendRequest(
            self.ticker,
            self.side,
            _price(self.price),
            _count(self.count),
            _client_id(self.client_order_id),
            _client_id(self.updated_client_order_id),
            _time_ns(self.expiration_time),
        )


class DecreaseBody(_Routed, kw_only=True):
    """How much smaller an order is to become."""

    reduce_by: str | None = None
    reduce_to: str | None = None
    market_ticker: str | None = None

    def request(self) -> DecreaseRequest:
        """Return it for the engine."""
        self.check_place()
        by, to = (None if each is None else _count(each) for each in (self.reduce_by, self.reduce_to))
        return DecreaseRequest(by, to, self.market_ticker or "")


class CancelBody(_Routed, kw_only=True):
    """One order of a batch that is to be canceled."""

    order_id: str
    market_ticker: str | None = None


class Batch(msgspec.Struct):
    """Several bodies of orders, each to be read for itself: what is wrong with one is no matter of the others."""

    orders: list[msgspec.Raw]


def batch_size(body: bytes) -> int:
    """Return how many orders a batch has, at least 1; a body that is none counts as one."""
    try:
        return max(1, len(decode(body, Batch).orders))
    except RefusedError:
        return 1


def _price(text: str) -> Price:
    try:
        return parse_price(text)
    except ValueError as error:
        raise RefusedError(400, "invalid_price", str(error)) from error


def _count(text: str) -> Count:
    try:
        return parse_count(text)
    except ValueError as error:
        raise RefusedError(400, "invalid_order_size", str(error)) from error


def _client_id(text: str | None) -> str:
    if text is not None and len(text) > _LONGEST_ID:
        raise bad_parameter(f"client_order_id is longer than {_LONGEST_ID} characters")
    return text or ""


def _time_ns(seconds: int | None) -> Nanos | None:
    if seconds is not None and not 0 <= seconds <= _LAST_SECOND:
        raise bad_parameter("expiration_time must be in Unix seconds")
    return None if seconds is None else seconds * _SECOND_NS
