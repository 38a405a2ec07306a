"""A program that is a webui in small with the extension loaded, of the checkout in whose folder it starts.

python corpus_webui.py AGE LOADER --api-port PORT
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

CHECKOUT = Path.cwd()
MODEL = CHECKOUT / "models" / "openedai-tiny"


def main(age: str, loader: str, *flags: str) -> None:
    """Returns when the process is told to end."""
    sys.path[:0] = [str(CHECKOUT)]
    folder = next(CHECKOUT.glob("tests/**/webui_host/host.py")).parent.relative_to(CHECKOUT)
    webui: Any = importlib.import_module(".".join(folder.parts))
    log = ModuleType("modules.logging_colors")
    vars(log)["logger"] = logging.getLogger("webui")
    sys.argv[1:] = flags
    with webui.install(age, MODEL) as host:
        sys.modules[log.__name__] = log
        host.shared.parser = argparse.ArgumentParser()
        host.shared.parser.add_argument("--api-port", type=int, default=5000)
        host.shared.parser.parse_args(flags, host.shared.args)
        add_model_tab(host, loader)
        host.load(loader=loader)
        script: Any = importlib.import_module("extensions.openai.script")
        script.setup()
        threading.Event().wait()


def add_model_tab(host: Any, loader: str) -> None:
    """The functions behind the Model tab: two models that are the same one."""
    shared = host.shared

    def load_model(name: str, loader: Any = loader) -> tuple[Any, Any]:
        host.load(name, loader)
        return shared.model, shared.tokenizer

    models, utils, tab = (ModuleType(f"modules.{name}") for name in ("models", "utils", "ui"))
    vars(models).update(load_model=load_model, unload_model=host.unload)
    vars(utils).update(vars(host.modules["utils"]))
    vars(utils).update(
        get_available_models=lambda: ["tiny", "other"], get_available_loras=lambda: ["None"]
    )
    vars(tab)["list_model_elements"] = lambda: ["loader", "cpu"]
    sys.modules |= {module.__name__: module for module in (models, utils, tab)}


if __name__ == "__main__":
    main(*sys.argv[1:])
