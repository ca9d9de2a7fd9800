"""Recorded files, read as captures: the same batches that a live connection gives.

A recording goes through four steps, each a generator over the one before, so that memory does not grow with the file:

1. `files`: a file, plain, gzip, zstd or Parquet, becomes numbered lines.
2. `forms`: a line becomes what the recorder heard: a frame with its receive time, or the begin or end of a connection.
   Frames are the venue's bytes: cut out where the file has them verbatim, rebuilt where the recorder took them apart.
3. `recording`: what was heard is divided into captures, numbered, and gathered into batches.
4. `identity`: the first 1,000 lines name the captures, so that the same recording is recognised under any file name,
   compressed or not, grown or repaired.

The forms:

=========  ==============================================================================================
form       one line is
=========  ==============================================================================================
wrapped    `{"recv_ms": 1785930336512, "event": {...the frame...}}`, or `recv_ns` instead
envelope   a recorder's own object: the frame's body in `payload_json`, its `seq` in `sequence_number`
verbatim   the frame itself; the venue's time has to serve as receive time
rows       a snapshot level or a delta in integer cents, as Parquet
exported   what `rlflow export` wrote: stored rows as frames, and what frames alone would not say
=========  ==============================================================================================

A damaged line ends a recording: everything before it is given out, then `RecordingError` names the line.
"""

from rlflow.recordings.files import Progress, check_sums
from rlflow.recordings.forms import Form
from rlflow.recordings.recording import RecordedCapture, RecordedFrame, Recording, read_recording

__all__ = ["Form", "Progress", "RecordedCapture", "RecordedFrame", "Recording", "check_sums", "read_recording"]
