"""The Model tab of the small webui: its models, their settings, and LoRAs."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .host import MiniHost

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def add_model_tab(host: MiniHost) -> None:
    """What the Model tab of the host calls. `broken` cannot be loaded, `missing` ends the program."""
    shared = host.shared
    models, utils, lora, tab = (
        ModuleType(f"modules.{n}") for n in ("models", "utils", "LoRA", "ui")
    )

    def load_model(name: str, loader: Any = None) -> tuple[Any, Any]:
        assert shared.model is None, "the one before is unloaded first"
        if name == "broken":
            return None, None
        if name == "missing":
            raise SystemExit(1)
        host.load(name)
        loaded = shared.model, shared.tokenizer
        shared.model = shared.tokenizer = None
        return loaded

    def unload_model() -> None:
        shared.model = shared.tokenizer = None
        shared.lora_names = []

    def add_lora_to_model(names: list[str]) -> None:
        if "broken-lora" in names:
            raise RuntimeError("no adapter")
        shared.lora_names = names

    old = host.age == "2023"
    vars(models).update(load_model=load_model, unload_model=unload_model)
    vars(utils).update(
        get_available_models=lambda: [
            *(["None"] if old else []),
            "tiny",
            "other",
            "broken",
            "missing",
        ],
        get_available_loras=lambda: ["None", "pirate", "broken-lora"],
    )
    vars(lora)["add_lora_to_model"] = add_lora_to_model
    vars(tab)["list_model_elements"] = lambda: ["loader", "cpu", "threads", "trust_remote_code"]
    added = [models, utils, lora, tab]
    shared.args.threads = 0
    shared.args.trust_remote_code = False
    if not old:
        settings = ModuleType("modules.models_settings")
        vars(utils)["get_available_instruction_templates"] = lambda: ["None", "Plain"]
        vars(settings).update(
            get_model_metadata=lambda name: {"loader": "Transformers", "threads": 4},
            update_model_parameters=lambda found: vars(shared.args).update(found),
            load_instruction_template=lambda name: TEMPLATE,
        )
        added.append(settings)
    for module in added:
        if module.__name__ in sys.modules:
            vars(sys.modules[module.__name__]).update(vars(module))
        else:
            host.modules[module.__name__] = sys.modules[module.__name__] = module
