"""Integration with the webui that runs the extension: its flags, log, and start and end.

text-generation-webui, versions from 2023 to 2026, is recognised by its `modules.shared`. Its generator is
adapted in `engines/webui/engine.py`.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger("openedai")

OWN_API = "openai"
"""The extension that was the webui's own API before March 2026."""
SHARED_FLAGS = ("listen", "listen_host", "api_key", "admin_key")
"""The webui's flags for every API in it."""
API_FLAGS = ("api_port", "public_api", "public_api_id")
"""Flags of the webui's own API: they apply to us if we replace it, or if it does not run."""


def inside() -> bool:
    """Whether we run in a webui."""
    shared = sys.modules.get("modules.shared")
    return hasattr(shared, "args") and not getattr(shared, "is_stand_in", False)


def flags() -> dict[str, Any]:
    """Settings from the webui's command line."""
    shared = sys.modules["modules.shared"]
    names = SHARED_FLAGS if _own_api_exists() else SHARED_FLAGS + API_FLAGS
    explicit = _explicit_flags(shared.parser, names)
    return {
        name: value
        for name in names
        if (value := getattr(shared.args, name, None)) not in (None, "")
        and (name in explicit or (value and value != shared.parser.get_default(name)))
    }


def _own_api_exists() -> bool:
    """Whether the webui has its own API, built in or as another extension, which gets its flags."""
    if importlib.util.find_spec("modules.api") is not None:
        return True
    extensions = getattr(sys.modules["modules.shared"].args, "extensions", None) or ()
    return OWN_API in extensions and __package__.split(".")[-2] != OWN_API


_NOT_GIVEN = object()


def _explicit_flags(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> frozenset[str]:
    """The flags that are on the command line, even with their default value.

    A webui adds the lines of its CMD_FLAGS.txt there. It has already parsed the command line, so there is no
    error in it.
    """
    # argparse sets a default only if the namespace does not have the name yet.
    found = argparse.Namespace(**dict.fromkeys(names, _NOT_GIVEN))
    parser.parse_known_args(sys.argv[1:], found)
    return frozenset(name for name in names if getattr(found, name) is not _NOT_GIVEN)


def preset_folder() -> str | None:
    """The webui's folder of presets; None: it has none."""
    if not inside():
        return None
    root = Path(getattr(sys.modules["modules.shared"], "user_data_dir", "."))
    folders = (root / "presets", Path("user_data/presets"))
    return next((str(folder) for folder in folders if folder.is_dir()), None)


def join_log() -> None:
    """Log through the webui's handlers, which do not show other libraries' logs."""
    for handler in sys.modules["modules.logging_colors"].logger.handlers:
        if handler not in log.handlers:
            log.addHandler(handler)
    log.setLevel(logging.INFO)
    # Else lines would appear twice if the webui's handlers are those of the root logger.
    log.propagate = not log.handlers


def keep_alive(wait: Callable[[], None]) -> None:
    """Keep the webui alive until `wait` returns: without its UI (`--nowebui`) it ends once loaded.

    Not after a signal to end, and not if its own API kept it alive and has ended: then the signal was for the
    whole process.
    """
    args = sys.modules["modules.shared"].args
    if not getattr(args, "nowebui", False):
        return
    signalled = _watch_signals()
    asks_for_api = (
        getattr(args, "api", False)
        or getattr(args, "public_api", False)
        or OWN_API in (getattr(args, "extensions", None) or ())
    )
    runs_own_api = bool(asks_for_api) and _own_api_exists()

    def hold() -> None:
        failed = getattr(sys, "last_value", None) is not None  # its API may have failed to start
        if signalled.is_set() or (runs_own_api and not failed):
            return
        with suppress(SystemExit, KeyboardInterrupt):
            wait()

    for kind in ("thread", "process"):
        importlib.import_module(f"concurrent.futures.{kind}")
    # A thread would keep the process alive, but not the thread pools that libraries load models with: Python
    # shuts those down as soon as the main thread ends, in functions that it calls last in, first out.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(hold)
    else:
        threading.Thread(target=hold, name="openai-keep-alive").start()


def _watch_signals() -> threading.Event:
    """An event that is set once a signal asks the process to end. The webui's own handlers still run."""
    signalled = threading.Event()

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def handle(number: int, frame: Any) -> Any:
            signalled.set()
            return original(number, frame)

        return handle

    if threading.current_thread() is threading.main_thread():  # others cannot set handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            original = signal.getsignal(number)
            if callable(original):
                signal.signal(number, watched(original))
    return signalled


def at_end(stop: Callable[[], None]) -> None:
    """Call `stop` when the process ends: webuis have no hook for that."""
    atexit.unregister(stop)
    atexit.register(stop)
