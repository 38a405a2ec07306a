"""The ways into a webui's loaders: a row for each class of model that has one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .webui_exllamav3 import ExllamaWay
from .webui_host_modules import host_module
from .webui_llamacpp import LlamaServerWay
from .webui_llamacpp_python import LlamaCppPythonWay
from .webui_transformers import TransformersWay
from .webui_ways import Way

OWN: Mapping[str, Way] = {
    "LlamaServer": LlamaServerWay(),
    "LlamaCppModel": LlamaCppPythonWay(),
    "Exllamav3Model": ExllamaWay(),
}
"""By the name of the class that the host has for its loaded model."""

STEPWISE: Way = TransformersWay()


def way_of(model: Any) -> Way | None:
    """The way into a loaded model; None: it hands over the whole text so far, and that is all."""
    # The server of ik_llama.cpp (`--ik`) does not tell the tokens that it samples.
    if type(model).__name__ in OWN and not getattr(host_module("shared").args, "ik", False):
        return OWN[type(model).__name__]
    return None if hasattr(model, "generate_with_streaming") else STEPWISE
