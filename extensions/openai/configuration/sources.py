"""Reads settings from defaults, settings file, environment and flags, in ascending precedence.

Nothing else reads the environment.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from ..settings import RELOADABLE, Settings, SettingsError

OTHER_NAMES = {"api_port": "OPENEDAI_PORT", "use_mock_api": "USE_MOCK_API"}
"""Names of settings in the first extension; OPENEDAI_<NAME> takes precedence."""
GENERATE = "generate"
"""The value of `api_key` that generates a key."""


def load(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force: defaults, then `params` (settings file), environment, `flags`.

    Raises SettingsError with one line that names the option and never contains a key.
    """
    unknown = sorted(set(params) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}")
    environment = _older_names() | EnvSettingsSource(Settings)()
    try:
        settings = Settings(**{**params, **environment, **flags})
    except ValidationError as error:
        raise SettingsError("; ".join(_line(problem) for problem in error.errors())) from None
    if settings.api_key is None or settings.api_key.get_secret_value() != GENERATE:
        return settings
    return settings.model_copy(update={"api_key": SecretStr(generated_key())})


@cache
def generated_key() -> str:
    """The key of `--api-key generate`: the same for the whole process, so that a reload keeps it."""
    return "sk-" + secrets.token_urlsafe(32)


def key_hint(settings: Settings) -> str | None:
    """A hint if the clients' variable is set, and the server's was probably meant."""
    if settings.api_key is not None or not os.environ.get("OPENAI_API_KEY"):
        return None
    return "OPENAI_API_KEY is what clients send; the server's own key is OPENEDAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of reading the settings again."""

    settings: Settings
    changed: tuple[str, ...]
    """Names of changed settings that are in force."""
    kept: tuple[str, ...]
    """Names of changed settings that need a restart."""


def reloaded(old: Settings, new: Settings) -> Reloaded:
    """The old settings, updated with those of `new` that may change while the server runs."""
    differ = [name for name in Settings.model_fields if getattr(old, name) != getattr(new, name)]
    changed = tuple(filter(is_reloadable, differ))
    settings = old.model_copy(update={name: getattr(new, name) for name in changed})
    return Reloaded(settings, changed, tuple(name for name in differ if name not in changed))


def is_reloadable(name: str) -> bool:
    """Whether a setting may change while the server runs."""
    return Settings.model_fields[name].json_schema_extra == RELOADABLE


def _older_names() -> dict[str, str]:
    """The settings that the environment gives under OTHER_NAMES."""
    return {name: os.environ[other] for name, other in OTHER_NAMES.items() if os.environ.get(other)}


def _line(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    return f"setting {name}: {problem['msg'].removeprefix('Value error, ')}"
