"""The commands: what people type, what they see, and the exit codes.

0: done; 1: found a difference, or failed; 2: the settings or the input cannot be used; 70: a stop took longer than its
deadline.
"""

from rlflow.cli.main import main

__all__ = ["main"]
