"""What an embedded PostgreSQL of a test's own leaves, and who clears it away."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlflow.data.embedded.files import locate
from rlflow.data.embedded.programs import find_programs
from rlflow.data.embedded.server import Server


@contextmanager
def cleared_home(data_dir: Path) -> Iterator[None]:
    """In the end stop the server of a data directory, if one still runs, and remove its files, wherever they are.

    Root's are below /var/lib and not in `data_dir` if that is closed to others, as pytest's directories are: they would
    stay when it is gone. For a data directory that nobody else uses.
    """
    try:
        yield
    finally:
        home = locate(data_dir)
        server = Server(home, find_programs())
        if server.is_alive():
            server.stop()
        shutil.rmtree(home.directory)
