"""The ways into a webui's loaders: a row for each class of model that has one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host import host_module
from .base import LoaderAdapter
from .exllamav3 import ExllamaWay
from .llama_cpp_python import LlamaCppPythonWay
from .llama_server import LlamaServerWay
from .transformers import TransformersWay

OWN: Mapping[str, LoaderAdapter] = {
    "LlamaServer": LlamaServerWay(),
    "LlamaCppModel": LlamaCppPythonWay(),
    "Exllamav3Model": ExllamaWay(),
}
"""By the name of the class that the host has for its loaded model."""

STEPWISE: LoaderAdapter = TransformersWay()


def way_of(model: Any) -> LoaderAdapter | None:
    """The way into a loaded model; None: it hands over the whole text so far, and that is all."""
    # The server of ik_llama.cpp (`--ik`) does not tell the tokens that it samples.
    if type(model).__name__ in OWN and not getattr(host_module("shared").args, "ik", False):
        return OWN[type(model).__name__]
    return None if hasattr(model, "generate_with_streaming") else STEPWISE
