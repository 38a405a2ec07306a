"""Stand-ins for the webui modules that extensions import: as much as hooks need, and no more.

An extension written for a webui begins with `from modules import shared` and its kin. Here they find the
state that a webui keeps in `modules.shared`, as far as we have it, and its logger. What reaches into the
webui's own generator fails to import and is reported as any extension that cannot be loaded.
"""

import logging
import sys
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any


def install(settings: Mapping[str, Any]) -> None:
    """Put the modules in place. `settings` are those of the settings file. Nothing is done twice."""
    if "modules" in sys.modules:
        return
    package = ModuleType("modules")
    package.__path__ = []
    shared = ModuleType("modules.shared")
    vars(shared).update(
        args=SimpleNamespace(extensions=[], verbose=False),
        settings=dict(settings),
        model=None,
        model_name="None",
        tokenizer=None,
        lora_names=[],
        gradio={},
        persistent_interface_state={},
        stop_everything=False,
        is_stand_in=True,
    )
    colors = ModuleType("modules.logging_colors")
    vars(colors)["logger"] = logging.getLogger("extensions")
    for module in (shared, colors):
        vars(package)[module.__name__.partition(".")[2]] = module
        sys.modules[module.__name__] = module
    sys.modules["modules"] = package


def tell(model: str, extensions: list[str], *, verbose: bool) -> None:
    """What is known once the command line is read."""
    shared = sys.modules["modules.shared"]
    vars(shared)["model_name"] = model
    vars(shared)["args"] = SimpleNamespace(extensions=extensions, verbose=verbose)
