"""Exact integer units for prices, counts, money and time, and their text forms.

Kalshi speaks decimal strings ("0.4200" dollars, "12.50" contracts). Inside rlflow they are integers, so that sums are
exact and equal prices are equal keys:

========  ==========================  ========================
name      one unit is                 range
========  ==========================  ========================
`Price`   1/10,000 dollar             0 to 10,000
`Count`   1/100 contract              signed, below 2**53
`Money`   1/1,000,000 dollar          signed
`Nanos`   1 ns since 1970-01-01 UTC   signed 64 bit
========  ==========================  ========================

`Price` times `Count` is exactly `Money`.
"""

import re
from functools import lru_cache
from typing import Literal, TypeAlias

Price: TypeAlias = int
Count: TypeAlias = int
Money: TypeAlias = int
Nanos: TypeAlias = int
Side: TypeAlias = Literal["yes", "no"]

ONE_DOLLAR: Price = 10_000
ONE_CONTRACT: Count = 100
PRICE_PER_CENT = 100

# Beyond 2**53 a JSON number is no longer exact everywhere, and PostgreSQL's NUMERIC(16,2) ends soon after.
MAX_COUNT: Count = 2**53 - 1

_DECIMAL = re.compile(r"([+-]?)(\d{1,16})(?:\.(\d{1,6}))?", re.ASCII)


def _scaled(text: str, places: int) -> int:
    """Return the decimal number in `text` times 10**places; ValueError if that is not a whole number."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"not a decimal number: {text[:40]!r}")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    if fraction[places:].strip("0"):
        raise ValueError(f"finer than {places} decimals: {text!r}")
    value = int(whole + fraction[:places].ljust(places, "0"))
    return -value if sign == "-" else value


# A market has at most 10,001 prices, and few sizes make up most of the deltas, so nearly every call is a cache hit.
@lru_cache(maxsize=16_384)
def parse_price(dollars: str) -> Price:
    """Return a price from a dollar string such as "0.4200"; ValueError outside 0 to 1 or finer than 1/10,000."""
    price = _scaled(dollars, 4)
    if not 0 <= price <= ONE_DOLLAR:
        raise ValueError(f"price outside 0 to 1 dollar: {dollars!r}")
    return price


@lru_cache(maxsize=65_536)
def parse_count(contracts: str) -> Count:
    """Return a signed count from a contract string such as "-3.50"; ValueError if finer than 1/100 contract."""
    count = _scaled(contracts, 2)
    if not -MAX_COUNT <= count <= MAX_COUNT:
        raise ValueError(f"count out of range: {contracts!r}")
    return count


def format_price(price: Price) -> str:
    """Return the dollar string with four decimals, as the venue writes it: 4200 -> "0.4200"."""
    return f"{price // ONE_DOLLAR}.{price % ONE_DOLLAR:04d}"


def format_count(count: Count) -> str:
    """Return the contract string with two decimals, as the venue writes it: -350 -> "-3.50"."""
    sign, size = ("-", -count) if count < 0 else ("", count)
    return f"{sign}{size // ONE_CONTRACT}.{size % ONE_CONTRACT:02d}"


def hundredths(value: int) -> int | float:
    """Return value / 100 as the JSON number people expect: 4500 -> 45, 4510 -> 45.1.

    Serves prices in cents and counts in contracts alike, both being hundredths. The float prints exactly as long as the
    value is below 2**46, some 700 billion contracts.
    """
    return value // 100 if value % 100 == 0 else value / 100


def complement(price: Price) -> Price:
    """Return the same price seen from the other side: a NO bid at q is a YES ask at 1 - q."""
    return ONE_DOLLAR - price


def opposite(side: Side) -> Side:
    """Return the other side of the contract."""
    return "no" if side == "yes" else "yes"
