"""Values inside REST answers, read exactly: money and counts as text or number, times as RFC 3339 or seconds.

The venue has at times sent numbers where it documents strings, and the reverse (protocol 9.2, point 8); an empty string
stands for "not known", as does Go's zero time. Everything else that is not what it should be is a ValueError.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

from rlflow.units import Count, Nanos, Price, parse_count, parse_price

WireNumber: TypeAlias = str | int | float | None
"""A float is what a JSON number with a point was read as; its shortest text is what the venue wrote (15 digits)."""
WireTime: TypeAlias = str | int | None

MAX_TEXT: Final = 200
"""Characters in a ticker or an id; real ones stay below 60."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Beyond it lies the end of what PostgreSQL's BIGINT can hold in nanoseconds.
_MAX_YEAR = 2200


def price(value: WireNumber) -> Price | None:
    """Return a price, None where none is given; ValueError outside 0 to 1 dollar or finer than 1/10,000."""
    found = decimal(value)
    return None if found is None else parse_price(f"{found:f}")


def count(value: WireNumber) -> Count | None:
    """Return a count of contracts, None where none is given; ValueError if finer than 1/100 contract."""
    found = decimal(value)
    return None if found is None else parse_count(f"{found:f}")


def decimal(value: WireNumber) -> Decimal | None:
    """Return a number of any kind, None where none is given; ValueError if it is none, or not finite."""
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {str(value)[:40]!r}") from None
    # The exponent too: written out, 1e999999 would be a megabyte.
    if not number.is_finite() or abs(number.adjusted()) > 20:
        raise ValueError(f"not a decimal number in range: {str(value)[:40]!r}")
    return number


def time_ns(value: WireTime) -> Nanos | None:
    """Return a time, None where none is given; ValueError if it is none."""
    if value is None or value == "":
        return None
    try:
        moment = _EPOCH + timedelta(seconds=value) if isinstance(value, int) else datetime.fromisoformat(value)
        since = moment - _EPOCH
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"not a time: {str(value)[:40]!r}") from None
    if moment.year == 1:
        return None
    if not 1970 <= moment.year <= _MAX_YEAR:
        raise ValueError(f"time out of range: {str(value)[:40]!r}")
    return since // _MICROSECOND * 1_000


def required(value: Nanos | Price | Count | None, name: str) -> int:
    """Return the value; ValueError where none is given."""
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def name(text: str, what: str) -> str:
    """Return a ticker or an id; ValueError if it is one that rows and logs cannot be built on."""
    if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
        raise ValueError(f"{what} of {len(text)} characters, empty, too long or not printable")
    return text
