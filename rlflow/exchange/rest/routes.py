"""Which function answers which path."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import attrs
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from rlflow.exchange.rest.buckets import DEFAULT_COST, Kind
from rlflow.exchange.rest.messages import Answer, Request
from rlflow.exchange.rest.refusals import RefusedError, not_found

D = TypeVar("D")


@attrs.frozen
class Route(Generic[D]):
    """One line of a table of routes."""

    method: str
    path: str
    """Below the base of all routes of the table; `<name>` is a variable part."""
    handler: Callable[[D, Request], Answer]
    is_public: bool = False
    """Whether it may be asked without a signature."""
    works_in_maintenance: bool = False
    kind: Kind = Kind.READ
    cost: int = DEFAULT_COST
    """In tokens; 0: free."""
    count: Callable[[Request], int] = lambda _: 1
    """How many times the cost a request takes: the items of a batch."""


class Router(Generic[D]):
    """Finds the route of a request."""

    def __init__(self, base: str, routes: Iterable[Route[D]]) -> None:
        rules = [Rule(f"{base}{route.path}", methods=[route.method], endpoint=route) for route in routes]
        self._map = Map(rules, strict_slashes=False, merge_slashes=False).bind("exchange")

    def find(self, request: Request) -> tuple[Route[D], Request]:
        """Return the route, and the request with its variable parts; RefusedError if there is none."""
        try:
            route, where = self._map.match(request.path, request.method)
        except MethodNotAllowed as error:
            raise RefusedError(405, "method_not_allowed", f"{request.method[:20]} is not for this path") from error
        except HTTPException as error:
            raise not_found(request.path) from error
        return route, attrs.evolve(request, where=where)
