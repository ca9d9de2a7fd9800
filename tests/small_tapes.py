"""Our own small recordings in every form, with what real ones are known to hold; made anew for each run of tests."""

import random
from collections.abc import Iterable
from pathlib import Path

import attrs

from tests.oracle import Frame
from tests.recordings import make
from tests.recordings.make import MARKETS, Scene, Take
from tests.tapes import Tape


@attrs.frozen
class Recording:
    """A file, and the frames of each connection in it."""

    path: Path
    connections: list[list[Frame]]


def _frames(takes: Iterable[Take]) -> list[Frame]:
    return [take.frame for take in takes]


def _wrapped(directory: Path, rng: random.Random) -> Recording:
    """Return a tape that goes on behind a break of the line: numbers begin anew; at the end a market is cleared."""
    scene = Scene(rng)
    takes = [*scene.play(400), *scene.play(300)]
    scene._say({"type": "orderbook_snapshot", "sid": 1, "msg": {"market_ticker": MARKETS[0]}})
    takes.append(scene.takes[-1])
    return Recording(make.write(directory / "wrapped.ndjson.gz", make.wrapped(takes)), [_frames(takes)])


def _verbatim(directory: Path, rng: random.Random) -> Recording:
    """Return a tape in which the answers to somebody's commands take numbers of the subscription."""
    scene = Scene(rng)
    takes = scene.play(150)
    for _ in range(3):
        scene._say({"type": "ok", "sid": 1, "msg": {"market_tickers": list(MARKETS)}})
        for _ in range(50):
            scene._step()
    return Recording(make.write(directory / "verbatim.jsonl", make.verbatim(takes)), [_frames(takes)])


def _envelopes(directory: Path, rng: random.Random) -> Recording:
    """Return a tape of one recorder that lost its connection, and left the second one for another market."""
    first, second = Scene(rng, MARKETS[1:]), Scene(rng, MARKETS[:1])
    lost, left, other = first.play(200), first.play(100), second.play(100)
    lines = [*make.envelopes(lost), *make.envelopes(left), make.rotated(first.now_ms), *make.envelopes(other)]
    path = make.write(directory / "envelope.ndjson.zst", lines)
    return Recording(path, [_frames(takes) for takes in (lost, left, other)])


def _rows(directory: Path, rng: random.Random) -> Recording:
    """Return a tape of the cents era, which has no trades, and its own receive times in place of the venue's."""
    takes = Scene(rng, MARKETS[:1], is_whole_cents=True).play(400)
    path = make.write_rows(directory / "rows.parquet", make.rows(takes))
    frames = [
        take.frame | {"msg": take.frame["msg"] | {"ts_ms": take.received_ms}}
        for take in takes
        if take.frame["type"] in {"orderbook_snapshot", "orderbook_delta"}
    ]
    return Recording(path, [frames])


def whole(directory: Path) -> list[Tape]:
    """Return two tapes of two files each: together they have every form and every way for a connection to end."""
    rng = random.Random(1)
    return [
        _tape("wrapped and verbatim", _wrapped(directory, rng), _verbatim(directory, rng)),
        _tape("envelope and rows", _envelopes(directory, rng), _rows(directory, rng)),
    ]


def sparse(directory: Path) -> Tape:
    """Return a tape of one market whose subscription had two, so that its numbers have holes."""
    takes = [take for take in Scene(random.Random(3)).play(600) if take.frame["msg"].get("market_ticker") == MARKETS[0]]
    path = make.write(directory / "sparse.ndjson", make.wrapped(takes))
    return _tape("sparse", Recording(path, [_frames(takes)]), is_sparse=True)


def _tape(name: str, *recordings: Recording, is_sparse: bool = False) -> Tape:
    connections = [frames for recording in recordings for frames in recording.connections]
    return Tape(name, tuple(recording.path for recording in recordings), lambda: connections, is_sparse)
