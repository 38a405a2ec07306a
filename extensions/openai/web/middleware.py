"""The operator's own WSGI middleware around the API, by import path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..settings import SettingsError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def wrapped(app: WSGIApplication, paths: Sequence[str]) -> WSGIApplication:
    """The application inside of the middleware at these paths (MODULE:NAME), of which the first is outermost.

    Raises SettingsError.
    """
    for path in reversed(paths):
        try:
            app = _factory(path)(app)
        except SettingsError:
            raise
        except Exception as error:  # whatever the operator's code raises
            raise SettingsError(
                f"setting middleware: {path} failed: {type(error).__name__}: {error}"
            ) from error
    return app


def _factory(path: str) -> Callable[[WSGIApplication], WSGIApplication]:
    """What takes an application and returns the one around it."""
    module, _, name = path.partition(":")
    if not (module and name):
        raise SettingsError(f"setting middleware: {path} is not of the form MODULE:NAME")
    found: Any = getattr(import_module(module), name, None)
    if not callable(found):
        raise SettingsError(f"setting middleware: {module} has no function or class {name}")
    return found  # type: ignore[no-any-return]  # what it takes and returns only a call shows
