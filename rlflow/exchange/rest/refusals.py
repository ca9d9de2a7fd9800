"""Refused requests, and the three shapes in which the venue says so (protocol 6.0)."""

import enum

from rlflow.exchange.handshake import Refusal


class RefusedError(Exception):
    """A request is refused; the answer is the refusal."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        self.refusal = Refusal(status, code, message, details)
        super().__init__(f"{status} {code}: {message}")


class ErrorShape(enum.Enum):
    """How an error's body looks; all three are seen on the venue."""

    FLAT = "flat"
    """The documented one: code, message, perhaps details."""
    NESTED = "nested"
    """The same under `error`."""
    MSG = "msg"
    """Nothing but a sentence."""


def refusal_body(refusal: Refusal, shape: ErrorShape) -> object:
    """Return what is sent for a refusal. Too many requests have a body of their own, a string under `error`."""
    if refusal.status == 429:
        return {"error": "too many requests"}
    if shape is ErrorShape.MSG:
        return {"msg": refusal.message}
    return {"error": refusal.fields()} if shape is ErrorShape.NESTED else refusal.fields()


def bad_parameter(message: str) -> RefusedError:
    """Return the refusal of a request that is at fault itself."""
    return RefusedError(400, "invalid_parameters", message)


def not_found(what: str) -> RefusedError:
    """Return the refusal of a request for something that does not exist."""
    return RefusedError(404, "not_found", f"{what[:200]} not found")


def check_place(subaccount: int | None, exchange_index: int | None) -> None:
    """Refuse a subaccount but the first, 0, and a shard but the only one, 0; -1 leaves the shard to the venue."""
    if subaccount or exchange_index not in {None, -1, 0}:
        raise bad_parameter("there is one subaccount, 0, and one shard, 0")
