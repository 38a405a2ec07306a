"""The modules of the webui around us, found by name at each use."""

from __future__ import annotations

import importlib
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ModelLoading

OLD_CONTEXT_TOKENS = 2048  # where a host has no setting for it
STARTED = int(time.time())


@dataclass(frozen=True, slots=True)
class Loaded:
    """The host's model as it was at one moment."""

    name: str
    model: Any
    tokenizer: Any
    loader: str


def host_model() -> Loaded:
    """Raises ModelLoading while there is no model."""
    shared = host_module("shared")
    model, tokenizer, name = shared.model, shared.tokenizer, shared.model_name
    if model is None or tokenizer is None or name in (None, "None", ""):
        raise ModelLoading("No model is loaded. Load one in the web UI's Model tab.")
    if shared.generation_lock is None:
        raise ModelLoading("The web UI is still starting. Please try again in a moment.")
    return Loaded(name, model, tokenizer, str(getattr(shared.args, "loader", "")))


def host_module(name: str) -> Any:
    return importlib.import_module(f"modules.{name}")


def host_args() -> Any:
    """The host's command line."""
    return host_module("shared").args


def optional_module(name: str) -> ModuleType | None:
    """A module that only some versions have, else None."""
    try:
        return importlib.import_module(f"modules.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"modules.{name}":
            raise
        return None


def host_reply(text: str, state: dict[str, Any]) -> Any:
    """The host's generator, called by the names that its version has for things."""
    module = host_module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    known = inspect.signature(inner).parameters
    # As a chat: then it leaves the text's hooks to its caller.
    options = {"is_chat": True} if "is_chat" in known else {}
    return module.generate_reply(text, state, **options)


def custom_reply() -> Any:
    """The extension's function that generates in the model's place, if there is one."""
    return host_module("extensions").apply_extensions("custom_generate_reply")


def custom_reply_of() -> str:
    """The name of the extension that has it; empty where none has."""
    if custom_reply() is None:
        return ""
    having = (
        name
        for extension, name in host_module("extensions").iterator()
        if hasattr(extension, "custom_generate_reply")
    )
    return str(next(having, ""))


def context_length() -> int:
    """The tokens that a request may use, as the host has it set."""
    return int(host_module("shared").settings.get("truncation_length") or OLD_CONTEXT_TOKENS)


def sampler_of_host() -> str:
    return "webui" if "presence_penalty" in preset_defaults() else "webui-2023"


def honoured(loaded: Loaded) -> frozenset[str] | None:
    """The names of what the loader's samplers take, where the host has such a list."""
    loaders = optional_module("loaders")
    known = getattr(loaders, "loaders_samplers", {}).get(loaded.loader)
    return None if known is None else frozenset(known) | {"ban_eos_token", "skip_special_tokens"}


def preset_defaults() -> dict[str, Any]:
    """Every sampler parameter of this version, switched off."""
    presets = optional_module("presets")
    if presets is None or not hasattr(presets, "default_preset"):
        return {}
    return dict(presets.default_preset())


def model_path(shared: Any, name: str) -> Path:
    return Path(getattr(shared.args, "model_dir", "models")) / name


def created_at(shared: Any, name: str) -> int:
    try:
        return int(model_path(shared, name).stat().st_mtime)
    except OSError:
        return STARTED
