"""What the extension asks of the webui it runs in, besides answers: its flags, its log, its life.

text-generation-webui, from 2023 to 2026, is known by its `modules.shared`. Its generator is adapted in
`engines/webui.py`.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger("openedai")

SHARED_FLAGS = ("listen", "listen_host", "api_key", "admin_key")
"""Flags of the webui that hold for every API in it."""
API_FLAGS = ("api_port", "public_api", "public_api_id")
"""Flags of the API extension whose place we take; from March 2026 on they belong to the webui's own API."""


def inside() -> bool:
    """Whether a webui has loaded us."""
    shared = sys.modules.get("modules.shared")
    return hasattr(shared, "args") and not getattr(shared, "is_stand_in", False)


def flags() -> dict[str, Any]:
    """Settings that were given on the webui's own command line."""
    shared = sys.modules["modules.shared"]
    names = SHARED_FLAGS if importlib.util.find_spec("modules.api") else SHARED_FLAGS + API_FLAGS
    return {
        name: value
        for name in names
        if (value := getattr(shared.args, name, None)) and value != shared.parser.get_default(name)
    }


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
    # Both would tell it where the webui logs by way of the root.
    log.propagate = not log.handlers


def keep_alive(wait: Callable[[], None]) -> None:
    """Hold the webui until `wait` returns: without its page (`--nowebui`) it ends when all is loaded."""
    if not getattr(sys.modules["modules.shared"].args, "nowebui", False):
        return

    def hold() -> None:
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
        threading.Thread(target=wait, name="openai-keep-alive").start()


def at_end(stop: Callable[[], None]) -> None:
    """Call `stop` when the webui ends: it has no hook for that."""
    atexit.unregister(stop)
    atexit.register(stop)
