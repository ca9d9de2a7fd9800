"""A tape's way through the whole house: exchange and service as processes, then what the tables have of it."""

import json
import time
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from rlflow.data.database import Database
from rlflow.data.store.captures import CaptureRecord
from rlflow.data.store.postgres import Connection
from tests.oracle import Frame
from tests.raw_venue import loopback_authority
from tests.running import Running, exchange, service, wait_for
from tests.tapes import Levels, Message, Tape, is_data

SCHEMA = "rlflow_replay"
PLAY_LIMIT_S = 120.0


# -- playing --------------------------------------------------------------------------------------------------------


def play(tape: Tape, directory: Path, database_url: str, *, is_tls: bool) -> dict[str, Any]:
    """Let the exchange replay a tape to the service until all of it is stored, and stop both.

    Returns:
        The service's live books at the end, by market, as `/rl/orderbook/snapshot` has them.
    """
    *_, last = connections = tape.connections
    files = [argument for path in tape.paths for argument in ("--replay", str(path))]
    options = [*files, "--speed", "max", *(["--sparse-seq"] if tape.is_sparse else [])]
    environ = {"DATABASE_URL": database_url}
    if is_tls:
        certificate, authority = directory / "server.pem", directory / "authority.pem"
        certificate.write_bytes(loopback_authority().chain_pem)
        authority.write_text(loopback_authority().ca_pem)
        options += ["--tls-cert", str(certificate)]
        environ["SSL_CERT_FILE"] = str(authority)
    with exchange(directory / "venue", *options) as settings:
        assert settings["KALSHI_ENV"] == "replay"
        assert settings["KALSHI_WS_URL"].startswith("wss:" if is_tls else "ws:")
        with service(directory, **(settings | environ)) as running:
            _wait_stored(running, sum(is_data(frame) for frames in connections for frame in frames))
            markets = {frame["msg"]["market_ticker"] for frame in last if is_data(frame)}
            live = {market: running.ask(f"/rl/orderbook/snapshot?market={market}") for market in markets}
            assert running.stop() == 0
    return live


def _wait_stored(running: Running, count: int) -> None:
    """Wait until so many messages are in the database and nothing is on its way there."""

    def look() -> bool | None:
        # Asking more often would take time from the service on a small machine.
        time.sleep(0.1)
        figures = running.ask("/rl/status")["accounting"]
        assert figures["balances"], figures
        assert not figures["rejected"], running.said()
        return (figures["stored"] >= count and not figures["pending"]) or None

    wait_for(f"{count} messages stored", look, PLAY_LIMIT_S)


# -- reading back ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of one of the tables of data."""

    frame_no: int
    received_ns: int
    is_answer: bool
    """Made by the exchange when asked, not recorded: only its own frames tell when they were sent."""
    message: Message


_DELTAS = b"""
    SELECT frame_no, received_ns, sending_ts_ms, market_ticker, timestamp_ms, side, price_e4, (delta * 100)::bigint
    FROM rl_orderbook_deltas WHERE capture = %s"""
_TRADES = b"""
    SELECT frame_no, received_ns, sending_ts_ms, market_ticker, timestamp_ms,
           trade_id, yes_price_e4, (count * 100)::bigint, taker_side
    FROM rl_trades WHERE capture = %s"""
_SNAPSHOTS = b"""
    SELECT frame_no, received_ns, sending_ts_ms, market_ticker, yes_bids::text, no_bids::text
    FROM rl_orderbook_snapshots WHERE capture = %s AND origin = 'venue'"""


def rows_of(connection: Connection, key: int) -> list[Row]:
    """Return all that a capture brought, in the order of its frames; checkpoints are ours and left out."""
    rows = [
        Row(frame_no, at_ns, sent is not None, Message(kind, market, at_ms, tuple(content)))
        for kind, query in (("delta", _DELTAS), ("trade", _TRADES))
        for frame_no, at_ns, sent, market, at_ms, *content in connection.execute(query, [key], binary=True)
    ]
    rows += [
        Row(frame_no, at_ns, sent is not None, Message("snapshot", market, None, (_levels(yes), _levels(no))))
        for frame_no, at_ns, sent, market, yes, no in connection.execute(_SNAPSHOTS, [key])
    ]
    return sorted(rows, key=attrgetter("frame_no"))


def _levels(text: str) -> Levels:
    pairs = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return tuple((int(price * 100), int(size * 100)) for price, size in pairs)


class Gap(NamedTuple):
    """A row of the table of gaps."""

    channel: str
    market: str | None
    frame_no: int
    to_ns: int | None


def gaps_of(connection: Connection, key: int) -> list[Gap]:
    query = b"SELECT channel, market_ticker, frame_no, to_ns FROM rl_feed_gaps WHERE capture = %s ORDER BY id"
    return [Gap(*row) for row in connection.execute(query, [key])]


@attrs.frozen
class Played:
    """One connection as it was recorded, and the capture that it became."""

    frames: list[Frame]
    record: CaptureRecord
    rows: list[Row]
    gaps: list[Gap]


def read_back(database: Database, tape: Tape) -> list[Played]:
    """Return the tape's connections with the captures that they became, one for each."""
    connection, records = database.connection, database.captures()
    return [
        Played(frames, record, rows_of(connection, record.key), gaps_of(connection, record.key))
        for frames, record in zip(tape.connections, records, strict=True)
    ]
