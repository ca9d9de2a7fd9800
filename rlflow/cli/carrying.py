"""The settings as they stand in a unit and in the recipes: all that were set but the secrets, each in its syntax."""

import json
from collections.abc import Mapping

from rlflow.config import SECRETS, Settings


def carried(settings: Settings, own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to write down: the recipe's own, and what was set beside them and is no secret."""
    given = {name: value for name, value in settings.variables().items() if name not in SECRETS}
    return {**given, **own}


def secrets(settings: Settings, *needed: str) -> list[str]:
    """Return the names of the variables that somebody must fill in: those needed, and the secrets that were set.

    Where no market is named, a series belongs to them, lest a recorder start that has nothing to record.
    """
    given = [name for name in settings.variables() if name in SECRETS]
    unnamed = [] if settings.market_tickers or settings.series_tickers else ["RL_SERIES_TICKER"]
    return list(dict.fromkeys((*needed, *given, *unnamed)))


def unit_word(text: str) -> str:
    """Return a text as one word of a unit's line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{escaped}"'


def as_unit(variables: Mapping[str, str]) -> str:
    """Return the lines of a systemd unit that set variables."""
    return "\n".join(f"Environment={unit_word(f'{name}={value}')}" for name, value in variables.items())


def as_compose(variables: Mapping[str, str]) -> str:
    """Return the lines of a compose file's `environment`."""
    return "\n      ".join(f"{name}: {_scalar(value)}" for name, value in variables.items())


def as_pod(variables: Mapping[str, str]) -> str:
    """Return the lines of a container's `env`."""
    return "\n            ".join(f"- {{name: {name}, value: {_scalar(value)}}}" for name, value in variables.items())


def _scalar(text: str) -> str:
    """Return a text for YAML, as a string whatever it looks like; compose and k8s both read $$ as $."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)
