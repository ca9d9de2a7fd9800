"""Lists in pages (protocol 6.0)."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

import attrs

from rlflow.exchange.rest.query import Query

T = TypeVar("T")


@attrs.frozen
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    cursor: str
    """What asks for the next one; empty on the last."""


def page(
    items: Callable[[], Iterable[T]],
    query: Query,
    *,
    name: Callable[[T], str],
    keep: Callable[[T], bool] = lambda _: True,
    most: int = 1000,
) -> Page[T]:
    """Return the page that the query's `limit` and `cursor` ask for.

    The cursor is the name of the last item given out. One that means nothing gives the first page, as on the venue.

    Args:
        items: Gives the whole list in its order, at every call.
        query: Of the request.
        name: Tells items apart.
        keep: Whether an item is asked for; those that are not still have their place, so a cursor outlives a change.
        most: The highest limit.

    Raises:
        RefusedError: The limit is out of bounds.
    """
    limit = query.bounded("limit", min(100, most), 1, most)
    last = _decoded(query.text("cursor"))
    rest = _behind(items, lambda item: name(item) == last) if last else items()
    found = tuple(islice((item for item in rest if keep(item)), limit + 1))
    if len(found) <= limit:
        return Page(found, "")
    return Page(found[:limit], base64.urlsafe_b64encode(name(found[limit - 1]).encode()).decode())


def _behind(items: Callable[[], Iterable[T]], is_last: Callable[[T], bool]) -> Iterable[T]:
    rest: Iterator[T] = iter(items())
    for item in rest:
        if is_last(item):
            return rest
    return items()


def _decoded(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, UnicodeError):
        return ""
