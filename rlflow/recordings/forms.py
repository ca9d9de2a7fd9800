"""The forms of recordings, and how to tell them apart."""

import enum

import msgspec

from rlflow.recordings.envelopes import EnvelopeReader
from rlflow.recordings.exported import ExportedReader
from rlflow.recordings.items import Reader
from rlflow.recordings.lines import VerbatimReader, WrappedReader
from rlflow.recordings.rows import RowsReader
from rlflow.units import Nanos


class Form(enum.Enum):
    """How a recorder wrote down what it heard; the package docstring has the table."""

    WRAPPED = "wrapped"
    ENVELOPE = "envelope"
    VERBATIM = "verbatim"
    ROWS = "rows"
    EXPORTED = "exported"

    @property
    def tells_connections(self) -> bool:
        """Whether the recorder wrote down where connections begin; else a file is one."""
        return self in (Form.ENVELOPE, Form.EXPORTED)


def detect(text: bytes) -> Form | None:
    """Return the form that a recording's first line is of, None if it is of none."""
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys()
    except msgspec.DecodeError:
        return None
    known: tuple[tuple[Form, set[str]], ...] = (
        (Form.EXPORTED, {"recv_ns", "opened"}),
        (Form.WRAPPED, {"recv_ms", "event"}),
        (Form.WRAPPED, {"recv_ns", "event"}),
        (Form.ENVELOPE, {"event_type", "local_recv_ns", "payload_json"}),
        (Form.ROWS, {"type", "sid", "seq", "side", "price", "qty"}),
        (Form.VERBATIM, {"type"}),
    )
    return next((form for form, needed in known if needed <= keys), None)


def is_exported_table(row: bytes) -> bool:
    """Return whether the first row of a table is one that an export as Parquet has, of which no frames can be made."""
    keys = msgspec.json.decode(row, type=dict[str, msgspec.Raw]).keys()
    return {"kind", "capture_id", "frame_no", "yes_bids", "cause"} <= keys


def new_reader(form: Form, start_ns: Nanos = 0) -> Reader:
    """Return a reader; `start_ns` is the receive time of verbatim frames before the first that carries a time."""
    match form:
        case Form.WRAPPED:
            return WrappedReader()
        case Form.ENVELOPE:
            return EnvelopeReader()
        case Form.VERBATIM:
            return VerbatimReader(start_ns)
        case Form.ROWS:
            return RowsReader()
        case Form.EXPORTED:
            return ExportedReader()
