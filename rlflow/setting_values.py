"""What the text of a setting may be: each function returns the value, or refuses with a ValueError for people.

No refusal repeats what may hold a secret.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

# 64 bits if they are random hexadecimal digits: nobody tries so many over a network.
LEAST_TOKEN_CHARACTERS: Final = 16


def whole(low: int, high: int = 2**62) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds, which are included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII) or not low <= int(text) <= high:
            bound = f"from {low} to {high}" if high < 2**62 else f"of at least {low}"
            raise ValueError(f"must be a whole number {bound}, not {text[:40]!r}")
        return int(text)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of seconds within bounds, which are included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, not {text[:40]!r}")
        return value

    return parse


def tickers(text: str) -> tuple[str, ...]:
    """Read tickers between commas; repeats count once."""
    found = tuple(dict.fromkeys(ticker for part in text.split(",") if (ticker := part.strip())))
    for ticker in found:
        # Tickers hold letters, digits, dots and hyphens; the venue dropped its documented pattern, so only what can
        # break a log line, a URL or a JSON command is refused.
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f/?#%\"\\]{1,200}", ticker):
            raise ValueError(f"{ticker[:60]!r} is not a ticker")
    return found


def credential(text: str) -> str:
    """Read what is sent in an HTTP header."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be of printable ASCII characters without spaces")
    return text


def token(text: str) -> str:
    """Read a secret that we alone judge, and that anybody may guess at."""
    if len(credential(text)) < LEAST_TOKEN_CHARACTERS:
        raise ValueError(
            f"must have at least {LEAST_TOKEN_CHARACTERS} characters, such as `openssl rand -hex 16` makes"
        )
    return text


def url(*schemes: str) -> Callable[[str], str]:
    """Return a reader of addresses of a server, whose credentials stand elsewhere."""
    begin = " or ".join(f"{scheme}://" for scheme in schemes)

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(
                f"must be a URL that begins with {begin}: {str(error)[0].lower()}{str(error)[1:]}"
            ) from None
        if parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc or port == 0:
            raise ValueError(f"must be a URL that begins with {begin} and a host, without user and password")
        if not re.fullmatch(r"[!-~]+", text) or any(len(label) > 63 for label in parts.hostname.split(".")):
            raise ValueError("must be of printable ASCII characters without spaces, and no name longer than 63 of them")
        return text

    return parse


def database_url(text: str) -> str:
    """Read an address of PostgreSQL, as its own library does."""
    # A host is not needed: the address may name a socket's directory as a parameter, or nothing at all.
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL that begins with postgresql://")
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError as error:
        # Everything else that it says repeats parts of the address, the password for one.
        unknown = re.fullmatch(r'invalid URI query parameter: "(\w+)"\s*', str(error))
        what = f"; it has no parameter {unknown.group(1)!r}" if unknown else ""
        raise ValueError(
            f"is no valid address of PostgreSQL{what}; characters such as @ : / # ? % [ in a password must be "
            "percent-encoded"
        ) from None
    for port in filter(None, str(parts.get("port", "")).split(",")):
        whole(1, 65_535)(port) if port.isdigit() else _refuse_port()
    return text


def _refuse_port() -> None:
    # What stands there may be the rest of a password that begins with a colon.
    raise ValueError("has a port that is no number; a colon or slash in a password must be percent-encoded")


def path(text: str) -> Path:
    """Read a path that may begin with a home directory."""
    if "\0" in text:
        raise ValueError("must not hold a zero character")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text.partition('/')[0]} has no home directory") from None


def schema_name(text: str) -> str:
    """Read the name of a PostgreSQL schema that needs no quotes."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", text):
        raise ValueError(f"must be a lower-case SQL name of at most 63 characters, not {text[:80]!r}")
    if text.startswith("pg_") or text == "information_schema":
        raise ValueError(f"must not be a name of PostgreSQL's own, as {text!r} is")
    return text
