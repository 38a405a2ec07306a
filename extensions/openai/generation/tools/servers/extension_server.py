"""Python functions of an extension as tools: its hook `server_tools()`, which only this server calls.

It returns a list of `{"name", "description", "parameters", "run"}`; `run(arguments)` gets the arguments as a
dict and returns a text, or what JSON can say.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import Any

from ....engines.callback_bridge import TICK_S
from ....engines.protocol import Tool
from ....errors import ExtensionFailed, ToolServerUnavailable
from ...hooks.extension_hooks import Hooks, guarded
from .rows import ToolServerRow

log = logging.getLogger("openedai")

HOOK = "server_tools"
TOO_LONG = "The tool failed: it takes too long."


class ExtensionServer:
    """The tools of one extension. Thread-safe as far as the extension is."""

    def __init__(self, row: ToolServerRow, hooks: Callable[[], Hooks | None]) -> None:
        self.row, self._hooks = row, hooks

    def tools(self) -> Generator[None, None, tuple[Tool, ...]]:
        """Raises ToolServerUnavailable."""
        yield
        return tuple(
            Tool(each["name"], each.get("description"), each["parameters"])
            for each in self._given().values()
        )

    def call(self, name: str, arguments: dict[str, Any]) -> Generator[None, None, tuple[str, bool]]:
        """The result, and whether the call failed. A thread cannot be ended: a function that takes too long
        is left to itself."""
        done: Future[str] = Future()

        def work() -> None:
            try:
                result = self._given()[name]["run"](arguments)
                done.set_result(
                    result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
                )
            except BaseException as error:  # also one that would end the process
                done.set_exception(error)

        until = monotonic() + self.row.timeout
        Thread(target=work, name="openai-tool", daemon=True).start()
        while not wait([done], TICK_S).done:
            if monotonic() > until:
                return TOO_LONG, True
            yield
        error = done.exception()
        if error is None:
            return done.result(), False
        log.error("the tool %s of %s failed", name, self.row.label, exc_info=error)
        return f"The tool failed: {type(error).__name__}.", True

    def leave(self) -> None:
        """There is nothing to end."""

    def _given(self) -> dict[str, dict[str, Any]]:
        hooks = self._hooks()
        modules = [] if hooks is None else hooks.having(HOOK)
        for name, module in modules:
            if name == self.row.extension:
                try:
                    given = guarded(name, HOOK, getattr(module, HOOK))()
                    found = {each["name"]: each for each in given}
                    if all(map(_is_tool, found.values())):
                        return found
                except (ExtensionFailed, AttributeError, KeyError, TypeError):
                    break  # the log has what it raised
        log.warning("the extension %s has no tools that can be offered", self.row.extension)
        raise ToolServerUnavailable(self.row.label)


def _is_tool(given: dict[str, Any]) -> bool:
    """Whether it has all that a tool needs."""
    return (
        isinstance(given["name"], str)
        and isinstance(given.get("description"), str | None)
        and isinstance(given["parameters"], dict)
        and callable(given["run"])
    )
