"""The README says what is so: commands, tests and set-up lines are the real ones."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rlflow.cli.main import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_two_set_up_commands_stand_on_the_first_screen() -> None:
    first_screen = README[:1500]
    assert "pip install -e . && python -m rlflow\n" in first_screen
    assert "pip install -e '.[dev]' && just test\n" in first_screen


@pytest.mark.parametrize(
    "command",
    ["", "doctor", "markets", "import", "export", "book", "audit", "reimport", "retention", "exchange", "db", "deploy"],
)
def test_the_help_texts_are_the_real_ones(command: str) -> None:
    result = CliRunner().invoke(commands, [*command.split(), "--help"], prog_name="rlflow", terminal_width=110)
    assert result.exit_code == 0
    assert result.output.strip() in README


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()
