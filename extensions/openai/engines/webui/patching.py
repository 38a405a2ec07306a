"""Wrap a function of a host: once, however often that is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

MARK = "wrapped_by_openedai"
"""An attribute of each wrapper. Another copy of this extension in the same process finds it, too."""

_lock = threading.Lock()


def wrap_once(target: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put `wrapper(what is there)` in the place of `target.name`, a function or class that the host calls.

    `target` is a module, a class, or an object; what it inherits is there, too. Nothing is done where a
    such a wrapper is there already. From any thread.
    """
    if is_wrapped(target, name):
        return
    with _lock:
        if not is_wrapped(target, name):
            made = wrapper(getattr(target, name))
            setattr(made, MARK, True)
            setattr(target, name, made)


def is_wrapped(target: Any, name: str) -> bool:
    # A stand-in for a function may have any attribute, but not this value.
    return getattr(getattr(target, name), MARK, None) is True
