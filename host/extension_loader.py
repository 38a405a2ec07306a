"""Loads extensions the way a webui does, and calls what they define.

An extension is a folder with a `script.py`. All of these are optional in it:

- `params`: a dict; `NAME-param: value` from the settings file is set in it before `setup()`.
- `add_arguments(parser)`: adds flags to the command line. Those that were given are in the dict
  `flags` of the module, by `dest`, before `setup()`.
- `setup()`: starts it.
- `use_extensions(others)`: gets the other extensions that were set up, pairs of name and module, in
  the order of the command line, and may call what hooks they have.
- `load_model(spec)`: loads the model of a `host.models.spec.ModelSpec`; returns when it can answer. A
  signal ends the process at once meanwhile (`host.lifecycle` says why).
- `reload()`: the settings file was read again (SIGHUP) and `params` are as they were before
  `setup()`, from the new file. Called from a thread of its own.
- `banner()`: text to print once everything is ready.
- `stop(timeout)`: ends it within `timeout` seconds. Called from a thread of its own, once, and only
  after `setup()` has returned.

`SystemExit("one line")` from any of them is a refusal that needs no traceback.
"""

import argparse
import importlib
import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from host import command_line, settings_file
from host.command_line import ExtensionFlags, Flags
from host.errors import HostError
from host.models.spec import ModelSpec
from host.output import report

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Extension:
    """A loaded extension: its folder's name, its module, and the flags it declared."""

    name: str
    module: ModuleType
    flags: ExtensionFlags
    defaults: Mapping[str, Any]
    """Its `params` before any settings were in them."""

    def hook(self, name: str) -> Callable[..., Any] | None:
        """The function `name` of the extension, None when it has none."""
        function = getattr(self.module, name, None)
        return function if callable(function) else None


def load_all(names: Iterable[str], root: Path, user_data: Path) -> list[Extension]:
    """Import the extensions in order, from `extensions` in `root` or in `user_data`.

    One that fails is reported and left out.
    """
    loaded: list[Extension] = []
    for name in names:
        extension = _guarded(name, partial(load, name, root, user_data, loaded))
        if extension is not None:
            loaded.append(extension)
    return loaded


def load(name: str, root: Path, user_data: Path, earlier: Sequence[Extension] = ()) -> Extension:
    """Import one extension and let it declare its flags.

    Raises HostError when there is no such extension or when it declares a flag that the host or one
    of the `earlier` extensions has; else whatever the extension raises.
    """
    module = _import(name, root, user_data)
    add_arguments = getattr(module, "add_arguments", None) or (lambda parser: None)
    flags = command_line.declare_flags(name, add_arguments)
    try:
        command_line.build_parser([*(extension.flags for extension in earlier), flags])
    except argparse.ArgumentError as error:
        raise HostError(f"extension {name}: a flag of it is taken already: {error}") from error
    return Extension(name, module, flags, dict(_params(module)))


def set_up(
    extensions: Sequence[Extension], flags: Mapping[str, Flags], settings: Mapping[str, Any]
) -> list[Extension]:
    """Give the extensions their flags and params and call `setup()`, in order.

    Returns those that started; a failure is reported and leaves the others alone.
    """
    names = [extension.name for extension in extensions]
    started: list[Extension] = []
    for extension in extensions:
        wanted = settings_file.params_for(extension.name, settings, names)
        given = flags.get(extension.name, {})
        if _guarded(extension.name, partial(_set_up, extension, given, wanted)):
            started.append(extension)
    for extension in started:
        use_extensions = extension.hook("use_extensions")
        if use_extensions is not None:
            others = [(each.name, each.module) for each in started if each is not extension]
            _guarded(extension.name, partial(use_extensions, others))
    return started


def reload_all(extensions: Sequence[Extension], settings: Mapping[str, Any]) -> None:
    """Give the extensions that can read them again their params. A failure leaves the others."""
    names = [extension.name for extension in extensions]
    for extension in extensions:
        reload = extension.hook("reload")
        if reload is None:
            continue
        params = _params(extension.module)
        params.clear()
        params.update(extension.defaults)
        wanted = settings_file.params_for(extension.name, settings, names)
        settings_file.apply(params, wanted, extension.name)
        _guarded(extension.name, reload)


def load_model(extensions: Sequence[Extension], spec: ModelSpec) -> None:
    """Call `load_model` of every extension that has it. Raises HostError when one fails."""
    for extension in extensions:
        load_model = extension.hook("load_model")
        if load_model is None:
            continue
        try:
            load_model(spec)
        except HostError:  # of a further model that it has asked for
            raise
        except SystemExit as refusal:
            raise HostError(_reason(refusal, f"extension {extension.name} gave up")) from refusal
        except Exception as error:
            log.exception("extension %s could not load the model", extension.name)
            raise HostError(f"extension {extension.name} could not load the model") from error


def banners(extensions: Sequence[Extension]) -> list[str]:
    """What the extensions want printed when all is ready."""
    texts: list[str] = []
    for extension in extensions:
        banner = extension.hook("banner")
        if banner is None:
            continue
        try:
            texts.append(str(banner()))
        except Exception:
            # The server runs; a missing greeting is no reason to take it down.
            log.exception("extension %s has a broken banner", extension.name)
    return texts


def stop_all(extensions: Sequence[Extension], seconds: float) -> None:
    """Call `stop` of every extension, the last one first, and return after `seconds` at most.

    Each runs in a thread of its own, so that one that hangs takes only its share of the time.
    """
    deadline = time.monotonic() + seconds
    for extension in reversed(extensions):
        stop = extension.hook("stop")
        if stop is None:
            continue
        left = max(0.1, deadline - time.monotonic())
        thread = threading.Thread(
            target=_stop,
            args=(extension.name, stop, left),
            name=f"stop-{extension.name}",
            daemon=True,
        )
        thread.start()
        thread.join(left)
        if thread.is_alive():
            log.warning("extension %s did not stop in time", extension.name)


def _import(name: str, root: Path, user_data: Path) -> ModuleType:
    ours = root / "extensions" / name / "script.py"
    users = user_data / "extensions" / name / "script.py"
    if ours.is_file():
        return importlib.import_module(f"extensions.{name}.script")
    if not users.is_file():
        raise HostError(f"no extension {name}: there is neither {ours} nor {users}")
    # By path and without a package, exactly as text-generation-webui does it, so that an extension
    # which runs here runs there.
    module_name = f"user_ext_{name}"
    spec = importlib.util.spec_from_file_location(module_name, users)
    if spec is None or spec.loader is None:
        raise HostError(f"extension {name}: {users} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _set_up(extension: Extension, flags: Flags, params: Mapping[str, Any]) -> bool:
    if not isinstance(getattr(extension.module, "flags", None), dict):
        vars(extension.module)["flags"] = {}
    extension.module.flags.update(flags)
    settings_file.apply(_params(extension.module), params, extension.name)
    setup = extension.hook("setup")
    if setup is not None:
        setup()
    return True


def _params(module: ModuleType) -> dict[str, Any]:
    known = getattr(module, "params", None)
    return known if isinstance(known, dict) else {}


def _guarded(name: str, step: Callable[[], T]) -> T | None:
    """The result of `step`, or None after reporting why the extension `name` could not take it."""
    try:
        return step()
    except HostError as error:
        report(str(error))
    except SystemExit as refusal:
        report(_reason(refusal, f"extension {name} refused to start"))
    except Exception as error:
        log.exception("extension %s failed", name)
        report(f"extension {name} failed to load{_missing_package(error, name)}")
    return None


def _reason(refusal: SystemExit, fallback: str) -> str:
    return refusal.code if isinstance(refusal.code, str) else fallback


def _missing_package(error: Exception, name: str) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return f": {error} (pip install -r extensions/{name}/requirements.txt)"


def _stop(name: str, stop: Callable[[float], Any], seconds: float) -> None:
    try:
        stop(seconds)
    except (Exception, SystemExit):
        log.exception("extension %s failed to stop", name)
