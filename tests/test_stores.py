from pathlib import Path

import pytest

from rlflow.config import Settings
from rlflow.data.stores import Stores
from rlflow.errors import DatabaseAwayError


def test_nobody_starts_the_embedded_server_again_after_it_was_let_go(tmp_path: Path) -> None:
    """A check that was given up at a stop may still be running in its thread."""
    stores = Stores(Settings.from_environ({"RL_DATA_DIR": str(tmp_path)}))
    stores.close()
    with pytest.raises(DatabaseAwayError, match="let go"):
        stores.connect("sim")
    assert list(tmp_path.iterdir()) == []
