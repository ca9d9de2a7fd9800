"""rlflow records Kalshi order books without losing a message, and is the ground that trading agents learn on."""

from importlib.metadata import version

__version__ = version("rlflow")
