"""rlflow records Kalshi order books without losing a message, and is the ground that trading agents learn on."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rlflow")
except PackageNotFoundError:
    # Only on the path, as in a checkout; `python -m rlflow` says so.
    __version__ = "not installed"
