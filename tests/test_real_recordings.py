"""What real recordings of the venue hold comes through whole: files, `Session`, import, and back out of the tables.

The recordings lie beside the project, not in it. Expected figures are counted here from the files, without our readers.
"""

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest

from rlflow.recordings import Form, Recording, read_recording
from rlflow.session.records import Closed, Kind

DATA = Path(__file__).parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}"),
]

GOLD = sorted(DATA.glob("ws_current_gold15m/*.ndjson.gz"))
BTC = sorted(DATA.glob("ws_current_btc15m_subpenny/*.ndjson.gz"))
DEMO = sorted(DATA.glob("ws_current_demo_multimarket/session.jsonl.gz"))
LEGACY = sorted(DATA.glob("ws_legacy_cents/*.parquet"))
ALL = [*GOLD, *BTC, *DEMO, *LEGACY]

_NAMES = {"orderbook_delta": "delta", "orderbook_snapshot": "snapshot", "trade": "trade"}


def name_of(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".ndjson")


def read(path: Path) -> Recording:
    return read_recording(path, sparse_seq=path in GOLD)


def count(path: Path) -> Counter[str]:
    """Count the frames in a file by kind: delta, snapshot, trade, other."""
    if path in LEGACY:
        table = pyarrow.parquet.read_table(path, columns=["type", "seq"]).to_pylist()
        return Counter(kind for kind, _seq in {(row["type"], row["seq"]) for row in table})
    with gzip.open(path) as file:
        lines = [json.loads(line) for line in file]
    if path in GOLD:
        kinds = [line["event"]["type"] for line in lines]
    elif path in BTC:
        own = {"watch_market", "ws_connected", "market_rotated"}
        kinds = [line["event_type"] for line in lines if line["event_type"] not in own]
    else:
        kinds = [line["type"] for line in lines]
    return Counter(_NAMES.get(kind, "other") for kind in kinds)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_every_line_is_a_numbered_frame(path: Path) -> None:
    frames, broken = 0, []
    for capture in read(path).captures():
        expected = 0
        for batch in capture.batches():
            assert batch.first_frame_no == expected
            expected = batch.last_frame_no + 1
            frames += len(batch.frames) if batch.kind is Kind.FRAMES else 0
            if batch.kind is Kind.CLOSED and batch.local() == Closed("the connection broke"):
                broken.append(capture.ordinal)
    assert frames == count(path).total()
    assert broken == ([0] if name_of(path) == "btc15m_20260514T043118Z_reconnect" else [])


@pytest.mark.parametrize("path", GOLD[:1] + DEMO, ids=name_of)
def test_frames_are_the_bytes_of_the_file(path: Path) -> None:
    (capture,) = read(path).captures()
    with gzip.open(path) as file:
        for frame, line in zip(capture.frames(), file, strict=True):
            assert frame.frame in line
            event = json.loads(line)
            assert json.loads(frame.frame) == event.get("event", event)


@pytest.mark.parametrize("path", BTC, ids=name_of)
def test_frames_taken_apart_are_put_together_as_the_venue_sends_them(path: Path) -> None:
    keys: dict[str, set[str]] = {}
    for capture in read(path).captures():
        for one in capture.frames():
            frame = json.loads(one.frame)
            keys.setdefault(frame["type"], set()).update(frame["msg"])
            assert {"type", "msg"} <= frame.keys() <= {"type", "id", "sid", "seq", "msg"}
    assert keys["orderbook_delta"] == {
        *("market_ticker", "market_id", "price_dollars", "delta_fp", "side", "ts", "ts_ms")
    }


def test_forms_are_told_apart() -> None:
    forms = Counter(read(path).form for path in ALL)
    assert forms == {Form.WRAPPED: 11, Form.ENVELOPE: 3, Form.VERBATIM: 1, Form.ROWS: 2}


def test_legacy_is_known_from_the_lines() -> None:
    assert [path for path in ALL if read(path).opened.legacy] == LEGACY


def test_identities_differ() -> None:
    assert len({read(path).identity for path in ALL}) == len(ALL)
