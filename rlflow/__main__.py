"""`python -m rlflow`, and the command `rlflow`."""

import os
import signal
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import FrameType


def main() -> None:
    """Run the command line. Ctrl-C ends it quietly from the first moment on: the imports alone take a second."""
    # As an exception it could come out of them as any other, or as two. One that is ignored, as nohup does, stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    _check_installed()
    from rlflow.cli import main as run_command_line  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command_line()


def _check_installed() -> None:
    # What it imports is most likely missing too, and would be named one package after the other.
    try:
        version("rlflow")
    except PackageNotFoundError:
        sys.stderr.write("error: rlflow is not installed here: pip install -e .\n")
        sys.exit(2)


def _leave(_number: int, _frame: FrameType | None) -> None:
    # Nothing is held yet.
    with suppress(OSError):
        os.write(2, b"error: interrupted\n")
    os._exit(1)


if __name__ == "__main__":
    main()
