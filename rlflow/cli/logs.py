"""Structured events on stderr, one line each."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import attrs
import structlog


@attrs.frozen
class LossyStream:
    """A text stream that loses what cannot be written: a disk full of logs must not end a recording."""

    _stream: TextIO

    def write(self, text: str) -> int:
        """Write the text if that can be."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered if that can be; what cannot is tried again, up to the size of the buffer."""
        with suppress(OSError):
            self._stream.flush()


def configure_logging(log_format: str) -> None:
    """Send structured events to stderr, one line each."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if log_format == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LossyStream(sys.stderr))),
    )
    # Hypercorn logs through the standard library, which loses by itself what cannot be written; its one line about the
    # address is ours to give.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def drop_unwritten() -> None:
    """Forget what stderr cannot take, or the interpreter would end with an exit code of its own, 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
