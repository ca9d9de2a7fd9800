"""Where settings come from."""

import os
from collections.abc import Mapping

import dotenv

from rlflow.errors import Problem, SettingsError


def environ() -> Mapping[str, str]:
    """Return the environment over what a .env file says; SettingsError if that cannot be read."""
    try:
        found = dotenv.dotenv_values(".env")
    except (OSError, UnicodeError) as error:
        raise SettingsError([Problem(".env", f"cannot be read: {error}")]) from error
    return {**{name: value or "" for name, value in found.items()}, **os.environ}
