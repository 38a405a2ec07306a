"""The extension's own packages in a web UI, without changes to its environment.

`scripts/install_into_webui.py` puts them into `openedai/packages/TAG` of the web UI's `user_data`. If the
environment has no conflict with our requirements, the folder has only the missing packages and comes last on
`sys.path`. If there is a conflict (such as pydantic 1, which the web UI needs), the folder has all packages,
and only this package's own modules see it: their `import pydantic` imports `openedai_packages.pydantic`, and
the web UI keeps its own. This module uses only the standard library.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

MANIFEST = "openedai-packages.json"
"""The installer's file beside the packages: `{"isolated": true, ...}`."""
PRIVATE = "openedai_packages"
"""The package of modules whose names the web UI also has."""


def interpreter_tag() -> str:
    """What compiled packages depend on: implementation, version, system and processor."""
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX") or sys.implementation.cache_tag)
    return f"{suffix.strip('.').split('.')[0]}-{platform.machine()}"


def is_package(root: Path) -> bool:
    """Whether a folder that contains `extensions` is the installed package, not a clone or a web UI."""
    return root.name == "openedai" and (root / "__init__.py").exists()


def data_root(folder: Path) -> Path:
    """`openedai` in the `user_data` of the app that has the extension's folder.

    The folder is `extensions/NAME` of the app or of its `user_data`, which may have any name; an app has a
    `server.py`. The package installed from a wheel has no `user_data` and uses XDG_DATA_HOME.
    """
    root = folder.parent.parent
    if is_package(root):
        return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "openedai"
    is_app = root.name != "user_data" and (root / "server.py").exists()
    return (root / "user_data" if is_app else root) / "openedai"


def packages_folder(folder: Path) -> Path:
    """The packages of the extension in this folder; it may not exist."""
    return data_root(folder) / "packages" / interpreter_tag()


def attach(package: str, folder: Path) -> None:
    """Make the installed packages available to the modules of `package`, which is in `folder`."""
    packages = packages_folder(folder)
    try:
        manifest = json.loads((packages / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return
    if not manifest["isolated"]:
        if str(packages) not in sys.path:
            sys.path.append(str(packages))
        return
    for finder in sys.meta_path:
        if isinstance(finder, IsolatedFinder) and finder.folder == packages:
            finder.packages.add(package)
            return
    sys.meta_path.insert(0, IsolatedFinder(packages, package))


class IsolatedFinder(MetaPathFinder):
    """Finds the private packages, and gives them and our own modules an `import` that prefers them.

    A name that the web UI's environment also has becomes a module of PRIVATE, so that both can be loaded;
    other names stay, because compiled modules look themselves up by name.
    """

    def __init__(self, folder: Path, package: str) -> None:
        self.folder = folder
        self.packages = {package}
        names = _top_level_names(folder)
        self.renamed = frozenset(name for name in names if _exists_elsewhere(name))
        self.plain = names - self.renamed
        self.builtins = {**vars(builtins), "__import__": self.import_}
        self._importlib = _Importlib(self.import_module)
        spec = ModuleSpec(PRIVATE, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[PRIVATE] = module_from_spec(spec)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        is_private = top in self.plain or (top == PRIVATE and fullname != PRIVATE)
        if not is_private and not any(fullname.startswith(f"{name}.") for name in self.packages):
            return None
        spec = PathFinder.find_spec(fullname, [str(self.folder)] if path is None else path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path, self.builtins)
        return spec

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterator[Distribution]:
        """Let `importlib.metadata.version("llguidance")` find what the web UI does not have."""
        name = None if context is None else context.name
        if name is None or any(
            MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name))
        ):
            return
        yield from MetadataPathFinder.find_distributions(
            DistributionFinder.Context(name=name, path=[str(self.folder)])
        )

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """The `__import__` of the private packages and our own modules."""
        if level == 0 and name.partition(".")[0] == "importlib" and not (fromlist and "." in name):
            builtins.__import__(name, globals, locals, fromlist or (), level)
            return self._importlib
        private = self._private(name)
        if level or private == name:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(private, globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[self._private(name.partition(".")[0])]

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Their `importlib.import_module`."""
        if name.startswith("."):
            return importlib.import_module(name, package and self._private(package))
        return importlib.import_module(self._private(name))

    def _private(self, name: str) -> str:
        """The name of the module to import: the private one if the web UI has another version."""
        return f"{PRIVATE}.{name}" if name.partition(".")[0] in self.renamed else name


class _Importlib(ModuleType):
    """`importlib` with another `import_module`."""

    def __init__(self, import_module: Callable[..., ModuleType]) -> None:
        super().__init__("importlib", importlib.__doc__)
        self.import_module = import_module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


class _Loader(SourceFileLoader):
    """Executes a module with its own builtins, where `import` statements look up `__import__`."""

    def __init__(self, fullname: str, path: str, namespace: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._builtins = namespace

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)
        if module.__name__ == f"{PRIVATE}.pydantic_core":
            _cache_self_lookup(module)


def _cache_self_lookup(pydantic_core: Any) -> None:
    """Make the compiled module look itself up by its public name now; it caches the result.

    It does so at its first serialization (`pydantic-core/src/common/missing_sentinel.rs`), and would
    otherwise find the web UI's version, or none.
    """
    public = sys.modules.get("pydantic_core")
    sys.modules["pydantic_core"] = pydantic_core
    try:
        field = {"type": "typed-dict-field", "schema": {"type": "any"}}
        schema = {"type": "typed-dict", "fields": {"field": field}}
        pydantic_core.SchemaSerializer(schema).to_json({"field": 1})
    finally:
        if public is None:
            del sys.modules["pydantic_core"]
        else:
            sys.modules["pydantic_core"] = public


def _top_level_names(folder: Path) -> frozenset[str]:
    """The names that can be imported from a folder: `flask`, `typing_extensions`, `_cffi_backend`."""
    names = set()
    for entry in folder.iterdir():
        if entry.is_dir():
            names.add(entry.name)
        elif entry.suffix == ".py":
            names.add(entry.stem)
        elif any(entry.name.endswith(suffix) for suffix in EXTENSION_SUFFIXES):
            names.add(entry.name.partition(".")[0])
    return frozenset(
        name for name in names if name.isidentifier() and name not in ("bin", "__pycache__")
    )


def _exists_elsewhere(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
