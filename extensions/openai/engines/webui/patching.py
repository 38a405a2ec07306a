"""Wraps functions of a host, each at most once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

WRAPPED_ATTRIBUTE = "wrapped_by_openedai"
"""An attribute of each wrapper. Other copies of this extension in the same process see it, too."""

_lock = threading.Lock()


def wrap_once(target: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Replace `target.name`, a function or class that the host calls, by `wrapper(target.name)`.

    `target` is a module, a class or an object; inherited names count. Does nothing if it is already wrapped.
    Thread-safe.
    """
    if is_wrapped(target, name):
        return
    with _lock:
        if not is_wrapped(target, name):
            wrapped = wrapper(getattr(target, name))
            setattr(wrapped, WRAPPED_ATTRIBUTE, True)
            setattr(target, name, wrapped)


def is_wrapped(target: Any, name: str) -> bool:
    # A mock may have any attribute, but not with the value True.
    return getattr(getattr(target, name), WRAPPED_ATTRIBUTE, None) is True
