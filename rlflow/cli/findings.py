"""What a check found, in one line, with the cure."""

import enum

import attrs


class Grade(enum.Enum):
    """How bad it is; the value is the word that people see."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong, but worth knowing."""
    WARNING = "warning"
    """It runs, with a risk."""
    PROBLEM = "problem"
    """It will not run, or not record."""


@attrs.frozen
class Finding:
    """One line of the report."""

    name: str
    grade: Grade
    text: str
    cure: str | None = None
    """What to do, for anything but OK."""


def ok(name: str, text: str) -> Finding:
    """Return that nothing is wrong."""
    return Finding(name, Grade.OK, text)


def note(name: str, text: str) -> Finding:
    """Return something worth knowing."""
    return Finding(name, Grade.NOTE, text)


def warning(name: str, text: str, cure: str) -> Finding:
    """Return a risk."""
    return Finding(name, Grade.WARNING, text, cure)


def problem(name: str, text: str, cure: str) -> Finding:
    """Return what keeps it from running."""
    return Finding(name, Grade.PROBLEM, text, cure)
