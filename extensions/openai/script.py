"""The door: how a host loads this folder, under whatever name, as a package or by file path.

text-generation-webui and its kin fill `params` from their settings file and call `setup()`. Our own host
also lets us add flags (`add_arguments`, `flags`), hands over the model (`load_model`), prints `banner()`,
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
"""What our own host's command line says; wins over all else."""

log = logging.getLogger("openedai")


def _package() -> str:
    """The name under which this folder's modules are imported, making one if there is none."""
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
    """One of this extension's modules. A library that is missing, or too old, is one line: our own host
    ends with it, a webui logs it and goes on without us."""
    try:
        return importlib.import_module(f"{_package()}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == _package().split(".")[0]:
            raise
        requirements = FOLDER / "requirements.txt"
        # The installer brings the packages itself, and leaves the list out.
        way = (
            f"pip install -r {requirements}" if requirements.exists() else "run its installer again"
        )
        line = f"the openai extension needs the package {error.name}: {way}"
        raise _end()(line) from error
    except ImportError as error:
        if error.name != "waitress":  # which server/waitress_contract.py says
            raise
        raise _end()(str(error)) from error


def _launcher() -> Any:
    """What starts and stops the server of this process."""
    return _module("hosts.launch").launcher


def _end() -> type[SystemExit] | type[ImportError]:
    return SystemExit if "host.shared" in sys.modules else ImportError


params: dict[str, Any] = {
    name: field.default for name, field in _module("settings").Settings.model_fields.items()
}
"""All settings; a host changes those that its settings file names (`NAME-api_port: 5001`)."""

DEFAULTS = dict(params)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    _module("configuration.flags").add_arguments(parser)


def setup() -> None:
    """Start the API in a thread and return. A problem that the operator can mend is one clear line."""
    _launcher().setup(_changed(), flags)


def use_extensions(extensions: Any) -> None:
    """The host's other extensions, as names and modules: their hooks act on requests."""
    _launcher().use_extensions(extensions)


def load_model(spec: Any) -> None:
    """Load the model that the host has chosen; until then the API answers 503."""
    _launcher().load_model(spec)


def reload() -> None:
    """Settings that may change while the server runs, as `params` have them now."""
    _launcher().reload(_changed())


def banner() -> str:
    """What to show the operator once everything is there."""
    return str(_launcher().banner())


def stop(timeout: float) -> None:
    """End the answers under way and close the server, within `timeout` seconds."""
    _launcher().stop(timeout)


def _changed() -> dict[str, Any]:
    return {name: value for name, value in params.items() if value != DEFAULTS.get(name)}


def ui() -> None:
    """A block in the host's web page: where the API is, and whether it asks for a key."""
    _module("hosts.gradio_panel").draw(_launcher())
