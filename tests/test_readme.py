"""The README says what is so: commands, tests and set-up lines are the real ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rlflow.cli.main import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_two_set_up_commands_stand_on_the_first_screen() -> None:
    first_screen = README[:1500]
    assert "pip install -e . && python -m rlflow\n" in first_screen
    assert "pip install -e '.[dev]' && just test\n" in first_screen


def every_command(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, of sub-commands too."""
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from every_command(command, *before, name)


@pytest.mark.parametrize("command", [(), *every_command(commands)], ids=" ".join)
def test_the_help_texts_are_the_real_ones(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(commands, [*command, "--help"], prog_name="rlflow", terminal_width=110)
    assert result.exit_code == 0
    shown = " ".join(("$ python -m rlflow", *command, "--help"))
    assert f"{shown}\n{result.output.strip()}\n" in README


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert {name for name in pictures if not (ROOT / name).is_file()} == set()


def test_no_line_stands_twice_that_says_something() -> None:
    lines = [line for line in outside_blocks(README) if len(line) > 60 and not line.startswith("|")]
    assert {line for line in lines if lines.count(line) > 1} == set()


def outside_blocks(text: str) -> list[str]:
    return "".join(text.split("```")[::2]).splitlines()
