"""A process that uses the embedded server of a directory until its standard input ends, for tests to kill.

Says `ready <pid of the server> <address of a database>` once it may use it, and `released` at the end. With a second
argument it gives up being root and becomes that account; it starts as root, because only root may be able to read it.
"""

import os
import pwd
import sys
from pathlib import Path

from rlflow.data.embedded.shared_server import EmbeddedPostgres


def main() -> None:
    if len(sys.argv) > 2:
        _become(sys.argv[2])
    with EmbeddedPostgres.start(Path(sys.argv[1]), durable=False) as embedded:
        _say("ready", str(embedded.status().process_id), embedded.url("rlflow_sim"))
        sys.stdin.read()
    _say("released")


def _become(account: str) -> None:
    entry = pwd.getpwnam(account)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
