"""The entry point: a host loads this folder under any name, as a package or by file path.

text-generation-webui and similar hosts fill `params` from their settings file and call `setup()`. Our own
host also calls `add_arguments` and sets `flags`, passes the model to `load_model`, prints `banner()`, and
calls `reload()` after SIGHUP, and `stop()`.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

FOLDER = Path(__file__).resolve().parent

flags: dict[str, Any] = {}
"""Settings from our own host's command line; they override all others."""

log = logging.getLogger("openedai")


def _package() -> str:
    """The name under which this folder's modules are imported; one is made if there is none."""
    package = sys.modules.get(__package__ or "")
    if package is not None and FOLDER in (
        Path(path).resolve() for path in getattr(package, "__path__", ())
    ):
        return package.__name__
    name = "openedai_extension"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return name


def _module(name: str) -> ModuleType:
    """Import one of this extension's modules. A missing or outdated library is reported in one line: our own
    host exits with it, a webui logs it and continues without us."""
    try:
        return importlib.import_module(f"{_package()}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == _package().split(".")[0]:
            raise
        requirements = FOLDER / "requirements.txt"
        # The installer brings the packages itself, without the list.
        fix = (
            f"pip install -r {requirements}" if requirements.exists() else "run its installer again"
        )
        if "host.shared" in sys.modules and (FOLDER.parents[1] / "Makefile").exists():
            fix = "start with `make run`, which installs what is needed"
        line = f"the openai extension needs the package {error.name}: {fix}"
        raise _fatal_error()(line) from error
    except ImportError as error:
        if error.name != "waitress":  # set by server/waitress_contract.py
            raise
        raise _fatal_error()(str(error)) from error


def _launcher() -> Any:
    """Starts and stops the server of this process."""
    return _module("hosts.launch").launcher


def _fatal_error() -> type[SystemExit] | type[ImportError]:
    return SystemExit if "host.shared" in sys.modules else ImportError


params: dict[str, Any] = {
    name: field.default for name, field in _module("settings").Settings.model_fields.items()
}
"""All settings; a host overrides those in its settings file (`NAME-api_port: 5001`)."""

DEFAULTS = dict(params)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    _module("configuration.flags").add_arguments(parser)


def setup() -> None:
    """Start the API in a thread and return. Errors that the operator can fix are reported in one line."""
    _launcher().setup(_changed(), flags)


def use_extensions(extensions: Any) -> None:
    """Apply the hooks of the host's other extensions, given as names and modules, to requests."""
    _launcher().use_extensions(extensions)


def load_model(spec: Any) -> None:
    """Load the host's model; until it is loaded the API responds 503."""
    _launcher().load_model(spec)


def reload() -> None:
    """Apply the settings in `params` that may change while the server runs."""
    _launcher().reload(_changed())


def banner() -> str:
    """The text to show the operator once the server is ready."""
    return str(_launcher().banner())


def stop(timeout: float) -> None:
    """End active answers and close the server, within `timeout` seconds."""
    _launcher().stop(timeout)


def _changed() -> dict[str, Any]:
    return {name: value for name, value in params.items() if value != DEFAULTS.get(name)}


def ui() -> None:
    """Add a panel to the host's UI: the API's URL, and whether it needs a key."""
    _module("hosts.gradio_panel").draw(_launcher())
