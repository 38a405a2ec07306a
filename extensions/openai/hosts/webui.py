"""What the extension asks of the webui it runs in, besides answers: its flags, its log, its life.

text-generation-webui, from 2023 to 2026, is known by its `modules.shared`. Its generator is adapted in
`engines/webui/engine.py`.
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
"""Flags of the webui that hold for every API in it."""
API_FLAGS = ("api_port", "public_api", "public_api_id")
"""Flags of the webui's own API: ours where we took its place, or where it does not run."""


def inside() -> bool:
    """Whether a webui has loaded us."""
    shared = sys.modules.get("modules.shared")
    return hasattr(shared, "args") and not getattr(shared, "is_stand_in", False)


def flags() -> dict[str, Any]:
    """Settings that were given on the webui's own command line."""
    shared = sys.modules["modules.shared"]
    names = SHARED_FLAGS if _own_api_exists() else SHARED_FLAGS + API_FLAGS
    written = _written(shared.parser, names)
    return {
        name: value
        for name in names
        if (value := getattr(shared.args, name, None)) not in (None, "")
        and (name in written or (value and value != shared.parser.get_default(name)))
    }


def _own_api_exists() -> bool:
    """Whether the webui's own API is there to take its flags: part of it, or an extension beside us."""
    if importlib.util.find_spec("modules.api") is not None:
        return True
    extensions = getattr(sys.modules["modules.shared"].args, "extensions", None) or ()
    return OWN_API in extensions and __package__.split(".")[-2] != OWN_API


_NOT_WRITTEN = object()


def _written(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> frozenset[str]:
    """Those of the flags that stand on the command line, be it with their default value.

    A webui puts the lines of its CMD_FLAGS.txt there as well. It has read the command line before us, so
    there is no mistake in it.
    """
    # argparse sets a default only where the namespace does not have the name yet.
    found = argparse.Namespace(**dict.fromkeys(names, _NOT_WRITTEN))
    parser.parse_known_args(sys.argv[1:], found)
    return frozenset(name for name in names if getattr(found, name) is not _NOT_WRITTEN)


def preset_folder() -> str | None:
    """Where the webui keeps its presets; None where it has none."""
    if not inside():
        return None
    root = Path(getattr(sys.modules["modules.shared"], "user_data_dir", "."))
    folders = (root / "presets", Path("user_data/presets"))
    return next((str(folder) for folder in folders if folder.is_dir()), None)


def join_log() -> None:
    """Write our log where the webui writes its own, which shows nothing of other libraries."""
    for handler in sys.modules["modules.logging_colors"].logger.handlers:
        if handler not in log.handlers:
            log.addHandler(handler)
    log.setLevel(logging.INFO)
    # Both would be logged twice where the webui logs by way of the root.
    log.propagate = not log.handlers


def keep_alive(wait: Callable[[], None]) -> None:
    """Hold the webui until `wait` returns: without its UI (`--nowebui`) it ends when all is loaded.

    It is not held once a signal has asked it to end, nor where its own API has kept it until now and has
    ended: then one signal was for the whole process.
    """
    args = sys.modules["modules.shared"].args
    if not getattr(args, "nowebui", False):
        return
    asked = _signals_noted()
    asks_for_api = (
        getattr(args, "api", False)
        or getattr(args, "public_api", False)
        or OWN_API in (getattr(args, "extensions", None) or ())
    )
    runs_own_api = bool(asks_for_api) and _own_api_exists()

    def hold() -> None:
        failed = getattr(sys, "last_value", None) is not None  # its API may not have started at all
        if asked.is_set() or (runs_own_api and not failed):
            return
        with suppress(SystemExit, KeyboardInterrupt):
            wait()

    for kind in ("thread", "process"):
        importlib.import_module(f"concurrent.futures.{kind}")
    # A thread would keep the process, but not the pools of threads that libraries load models with: Python
    # closes those as soon as the main thread ends, by functions that are called last in, first out.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(hold)
    else:
        threading.Thread(target=hold, name="openai-keep-alive").start()


def _signals_noted() -> threading.Event:
    """Set once the process is asked to end. What the webui does about it stays as it is."""
    asked = threading.Event()

    def noting(before: Callable[..., Any]) -> Callable[..., Any]:
        def handle(number: int, frame: Any) -> Any:
            asked.set()
            return before(number, frame)

        return handle

    if threading.current_thread() is threading.main_thread():  # only there may handlers be set
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, noting(before))
    return asked


def at_end(stop: Callable[[], None]) -> None:
    """Call `stop` when the webui ends: it has no hook for that."""
    atexit.unregister(stop)
    atexit.register(stop)
