"""The modules of the webui that runs us, looked up by name at each use."""

from __future__ import annotations

import importlib
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ModelLoading

OLD_CONTEXT_TOKENS = 2048  # if the host has no setting for it
STARTED_AT = int(time.time())


@dataclass(frozen=True, slots=True)
class Loaded:
    """The host's model at one moment."""

    name: str
    model: Any
    tokenizer: Any
    loader: str


def host_model() -> Loaded:
    """The loaded model. Raises ModelLoading while there is none."""
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
    """A module that only some versions have; None if it is missing."""
    try:
        return importlib.import_module(f"modules.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"modules.{name}":
            raise
        return None


def host_reply(text: str, state: dict[str, Any]) -> Any:
    """Call the host's generator with the parameters that its version has."""
    module = host_module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    known = inspect.signature(inner).parameters
    # For a chat it leaves the hooks on texts to its caller.
    options = {"is_chat": True} if "is_chat" in known else {}
    return module.generate_reply(text, state, **options)


def custom_reply() -> Any:
    """The extensions' function that generates in the model's place, if there is one."""
    return host_module("extensions").apply_extensions("custom_generate_reply")


def custom_reply_extension() -> str:
    """The name of the extension that defines `custom_reply`; empty if none does."""
    if custom_reply() is None:
        return ""
    names = (
        name
        for extension, name in host_module("extensions").iterator()
        if hasattr(extension, "custom_generate_reply")
    )
    return str(next(names, ""))


def context_length() -> int:
    """The host's setting of how many tokens a request may use."""
    return int(host_module("shared").settings.get("truncation_length") or OLD_CONTEXT_TOKENS)


def sampler_of_host() -> str:
    return "webui" if "presence_penalty" in preset_defaults() else "webui-2023"


def honoured(loaded: Loaded) -> frozenset[str] | None:
    """The sampler parameters that the loader supports, if the host lists them."""
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
        return STARTED_AT
