"""The one place that wires everything together: opens every channel, starts every long-lived task, stops them in order.

    root ─ signals │ http │ watch │ pipeline ─ writer ─ books ─ feeds

Stopping closes upstream first: the feeds say goodbye to the venue and end, their channel closes, the books drain, the
writer commits or leaves the rest to the journal, and HTTP, which shows all this, stops last. A second signal stops at
once, and a deadline ends the process with exit code 70; neither loses anything that the journal had room for. Only
feeds and the database connection start again by themselves; any other error ends the process.
"""

from rlflow.supervisor.service import run_service

__all__ = ["run_service"]
