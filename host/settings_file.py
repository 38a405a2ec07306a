"""`--settings FILE.yaml`: a webui's settings.yaml, of which we read `NAME-param: value`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host.errors import HostError

log = logging.getLogger(__name__)


def read(path: Path, flag: str = "--settings") -> dict[str, Any]:
    """The keys and values of the file that `flag` names. Raises HostError when it is missing, broken or not a
    mapping."""
    try:
        import yaml
    except ImportError:
        raise HostError(f"{flag} needs the package PyYAML: pip install PyYAML") from None

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HostError(f"{flag} {path}: {error.strerror or error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise HostError(f"{flag} {path}: not valid YAML{where}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise HostError(f"{flag} {path}: not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise HostError(f"{flag} {path}: lines of the form NAME-param: value were expected")
    return {key: value for key, value in content.items() if isinstance(key, str)}


def params_for(name: str, settings: Mapping[str, Any], loaded: Sequence[str]) -> dict[str, Any]:
    """The parameters that `settings` has for the extension `name`, one of those `loaded`.

    Keys of a longer name (`openai-extra-x` when `openai-extra` is loaded too) are not its own.
    """
    longer = tuple(f"{other}-" for other in loaded if other.startswith(f"{name}-"))
    prefix = f"{name}-"
    return {
        key.removeprefix(prefix): value
        for key, value in settings.items()
        if key.startswith(prefix) and not (longer and key.startswith(longer))
    }


def apply(params: dict[str, Any], wanted: Mapping[str, Any], name: str) -> None:
    """Set those of `wanted` that `params` knows; each other one is a warning without its value."""
    for param, value in wanted.items():
        if param in params:
            params[param] = value
        else:
            log.warning(
                "the settings have %s-%s, which the extension %s does not know", name, param, name
            )
