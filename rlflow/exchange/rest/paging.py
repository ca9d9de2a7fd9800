"""Lists in pages (protocol 6.0)."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

import attrs

from rlflow.exchange.rest.query import Query

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    cursor: str
    """What asks for the next one; empty on the last."""


class Records(Protocol[T_co]):
    """What is kept for ever, the oldest first: a list, or the values of a dict."""

    def __len__(self) -> int: ...

    def __reversed__(self) -> Iterator[T_co]: ...


def page(
    items: Iterable[tuple[int, T]], query: Query, *, keep: Callable[[T], bool] = lambda _: True, most: int = 1000
) -> Page[T]:
    """Return the page that the query's `limit` and `cursor` ask for.

    The cursor is the number of the last item given out, and the next page begins behind that number, even if the item
    is forgotten by then. One that means nothing gives the first page, as on the venue.

    Args:
        items: The whole list in its order, with numbers that ascend and never change.
        query: Of the request.
        keep: Whether an item is asked for.
        most: The highest limit.

    Raises:
        RefusedError: The limit is out of bounds.
    """
    limit = query.bounded("limit", min(100, most), 1, most)
    last = _decoded(query.text("cursor"))
    found = tuple(islice((each for each in items if (last is None or each[0] > last) and keep(each[1])), limit + 1))
    some = tuple(item for _, item in found[:limit])
    return Page(some, _encoded(found[limit - 1][0]) if len(found) > limit else "")


def newest_first(records: Records[T]) -> Iterable[tuple[int, T]]:
    """Return records in the order in which most lists are, with their numbers: 0 for the oldest, -1 for the next."""
    return enumerate(reversed(records), 1 - len(records))


def _encoded(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode()


def _decoded(cursor: str) -> int | None:
    try:
        return int(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (binascii.Error, ValueError):
        return None
