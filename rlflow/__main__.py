"""`python -m rlflow`, and the command `rlflow`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it quietly from the first moment on: the imports alone take a second."""
    try:
        from rlflow.cli import main as run_command_line  # noqa: PLC0415

        run_command_line()
    except KeyboardInterrupt:
        sys.exit("error: interrupted")


if __name__ == "__main__":
    main()
