"""A request as handlers see it, and what they answer."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

import attrs
import msgspec

from rlflow.exchange.rest.query import Query
from rlflow.units import Nanos


@attrs.frozen
class Request:
    """One HTTP request that has arrived whole."""

    method: str
    target: str
    """As it was sent: path from the root, and perhaps a query."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    now_ns: Nanos
    """The exchange's time at its arrival."""
    account: str = ""
    """The API key id that signed it; empty: nobody did."""
    where: Mapping[str, str] = attrs.field(factory=dict)
    """The variable parts of the path, by the names in the route."""

    @property
    def raw_path(self) -> str:
        """The path as it was sent, which is what is signed."""
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        """The path with its percent signs resolved."""
        return unquote(self.raw_path)

    @property
    def query(self) -> Query:
        """The query's parameters; a name that comes several times is a list, as if separated by commas."""
        values: dict[str, str] = {}
        for name, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True):
            values[name] = f"{values[name]},{value}" if name in values else value
        return Query(values)


@attrs.frozen
class Answer:
    """A status and a JSON body; None: no body at all."""

    status: int
    body: object

    def encoded(self) -> bytes:
        """Return the body's bytes."""
        return b"" if self.body is None else msgspec.json.encode(self.body)


def ok(**fields: object) -> Answer:
    """Return the usual answer: status 200 and an object."""
    return Answer(200, fields)
